// Package bench measures Isolde against what it stands on: a session's start
// against the bare sandbox, a call through the gateway against a call straight
// to the agent and one through nginx and Caddy, a sandbox's memory against the
// agent's own. RESULTS.md holds what came out, and how to read it.
//
//	make bench                                                    # everything, about seven minutes
//	go test -run '^$' -bench Call -benchtime 20x ./bench          # one of Start, Call, Stream, Bulk, Memory, Control, Signature
//	go test -run '^$' -bench Call/process/32 ./bench -serverprofile /tmp/server.pprof
//
// One iteration of the benchmark loop is a round: every side is measured once,
// one after the other and in turning order, so that what else the machine does
// meets all of them. A figure is taken over all rounds; a ratio is the median
// of the rounds' own ratios. Nothing here fails for being slow.
//
// The server is a process of its own: this test binary, run as the isolde
// command. Sessions, servers and namespaces are gone afterwards, which is
// checked. What stays is the cache of images in the user's cache folder.
package bench
