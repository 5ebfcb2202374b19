// Package http1 carries HTTP/1.1 calls on the goroutine that makes them: a
// [Transport] to an agent and a [Server] to clients, both in the types of
// net/http and both for plain messages only. Whatever is unusual about a
// message (a head that is not of the strictest form, a body of unknown length,
// an expectation, an upgrade) goes to net/http's own code with all its bytes,
// so that nothing is understood here that is understood otherwise there: fuzz
// tests compare the two.
//
// What it saves over net/http is hand-overs between goroutines, writes and
// allocations; bench/RESULTS.md has the figures.
package http1
