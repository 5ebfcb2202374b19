//go:build linux

package bench

import (
	"testing"
	"time"

	"github.com/isolde-run/isolde"
)

// starter is one way to start an agent.
type starter struct {
	name string
	run  func() time.Duration // until it answers
	series
}

// BenchmarkStart measures a session's start as a client sees it: a call with a
// new session id until the first byte of its answer, over a connection that is
// there. The baselines end with the first healthy ping instead:
//
//	native         the agent's process alone, as the process driver runs it
//	runsc          runsc alone, with the bundle of a session, and
//	runsc-returns  until its command returned
//
// Network namespaces of the baselines are made before the clock starts; a
// session's own is part of its start. Nothing is cold: images are built,
// files in the page cache, and another session of the agent runs idle.
func BenchmarkStart(b *testing.B) {
	for _, c := range []struct {
		name, driver, agent string
		repeat              int
		budget              time.Duration
	}{
		{"process/go", "process", goAgent, 5, 20 * time.Second},
		{"gvisor/go", "gvisor", goAgent, 3, 35 * time.Second},
		{"process/python", "process", pythonAgent, 1, 35 * time.Second},
		{"gvisor/python", "gvisor", pythonAgent, 1, 60 * time.Second},
	} {
		b.Run(c.name, func(b *testing.B) { benchmarkStart(b, c.driver, c.agent, c.repeat, c.budget) })
	}
}

func benchmarkStart(b *testing.B, driver, agent string, repeat int, limit time.Duration) {
	s := startServer(b, driver)
	path := s.deploy(agent)
	l := openLinks(b)
	model := s.session(path)
	s.profile()

	session := &starter{name: "session", run: func() time.Duration { return s.firstByte(path) }}
	starters := []*starter{session}
	returned := &starter{name: "runsc-returns"}
	host, onHost := s, model
	if driver == "gvisor" {
		host = startServer(b, "process")
		onHost = host.session(host.deploy(agent))
		bare := newBareRunsc(b, s, model.Sandbox)
		starters = append(starters, &starter{name: "runsc", run: func() time.Duration {
			r, answered := bare.start(l)
			returned.round(samples{float64(r)})
			return answered
		}})
	}
	program := findProgram(b, host, onHost.Sandbox)
	starters = append(starters, &starter{name: "native", run: func() time.Duration { return program.start(l) }})
	u := newBudget(limit)
	for b.Loop() {
		for range repeat {
			if !u.round() {
				break
			}
			inTurn(u.rounds, len(starters), func(i int) {
				starters[i].round(samples{float64(starters[i].run())})
			})
		}
	}
	noTime(b)
	b.ReportMetric(float64(u.rounds), "rounds")
	for _, t := range starters {
		t.times(b, t.name, time.Millisecond)
		if t != session {
			b.ReportMetric(session.over(&t.series), "session/"+t.name)
		}
	}
	if len(returned.all) > 0 {
		returned.times(b, returned.name, time.Millisecond)
	}
}

// firstByte starts a session with a call and ends it.
func (s *server) firstByte(path string) time.Duration {
	id := isolde.NewSessionID()
	c := dial(s.b, s.through(path, id))
	defer c.close()
	took := c.call(s.b, hello)
	s.stopSession(id)
	return took
}
