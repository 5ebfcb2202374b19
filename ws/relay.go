package ws

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"sync/atomic"
	"time"
)

// MaxDuration bounds a connection, of the AgentCore limits page.
const MaxDuration = 60 * time.Minute

// The patience of a relay that ends.
const (
	// closeWait is how long the second Close may take after the first.
	closeWait = 10 * time.Second
	// linger is how long a peer that was told to close may take to do so.
	// Closing at once on one that sends would reset the connection, and with
	// it the Close on its way.
	linger = 3 * time.Second
)

// Relay is a client's connection joined to an agent's. Reading from a side
// stops while the other does not take what was read, so that it holds one
// frame in each direction and no more.
type Relay struct {
	Client, Agent *Conn
	// Passed is called for each frame as it arrives, from either side.
	Passed func()
	// Lost says what to tell a client whose agent's connection ended without
	// a Close; err is what was met.
	Lost func(err error) *Closure

	// over is set once the peers are being told to close. What they answer is
	// not passed on: an echoed Close would reach the other side before its own.
	over atomic.Bool
}

// side says whose fault an end is.
type side int

const (
	client side = iota
	agent
)

// AgentFault is an end that is the agent's fault: it sent what may not be sent,
// or its connection ended without a Close.
type AgentFault struct{ Closure *Closure }

// Error says what the agent did.
func (f *AgentFault) Error() string { return "the agent sent " + f.Closure.Reason }

// end is how one direction ended.
type end struct {
	from side
	read bool // err is of reading; else of writing to the other side
	err  error
}

// mayClose reports whether a direction ended such that the other may yet be
// closed in order: it was closed itself, or it cannot write to a side whose
// last words are still to be read.
func (e end) mayClose() bool { return errors.Is(e.err, errClosed) || !e.read }

// errClosed is the proper end of a direction: its Close was passed on.
var errClosed = errors.New("closed")

// Run relays until the connection is over and both sides are closed. When ctx
// ends, its cause, if it is a *Closure, is what the client is told. It returns
// nil after a closing handshake of the peers or when the client went away, and
// else the *Closure that the client was told or, if the agent broke the rules,
// an *AgentFault.
func (r *Relay) Run(ctx context.Context) error {
	r.Client.masks = true
	r.Client.turn, r.Agent.turn = make(chan struct{}, 1), make(chan struct{}, 1)
	ctx, cancel := context.WithTimeoutCause(ctx, MaxDuration, &Closure{CodePolicy, fmt.Sprintf("the connection lasted %v, the most allowed", MaxDuration)})
	defer cancel()
	ends := make(chan end, 2)
	var pumps [2]sync.WaitGroup // by where they read
	pumps[client].Go(func() { ends <- r.pump(ctx, client) })
	pumps[agent].Go(func() { ends <- r.pump(ctx, agent) })

	toClient, toAgent, err := r.wait(ctx, ends)
	r.over.Store(true)
	cancel() // a frame that is held back goes nowhere now
	deadline := time.Now().Add(linger)
	var wg sync.WaitGroup
	for at, c := range []*Conn{r.Client, r.Agent} {
		closure := []*Closure{toClient, toAgent}[at]
		wg.Go(func() {
			if closure != nil {
				c.tell(closure, deadline)
				_ = c.SetReadDeadline(deadline)
				pumps[at].Wait()
				_, _ = io.Copy(io.Discard, c.Conn)
			}
			c.Close()
			pumps[at].Wait()
		})
	}
	wg.Wait()
	return err
}

// wait waits for the end, and says what each side is to be told, if anything.
func (r *Relay) wait(ctx context.Context, ends <-chan end) (toClient, toAgent *Closure, err error) {
	var first end
	select {
	case <-ctx.Done():
		return overBy(ctx)
	case first = <-ends:
	}
	switch {
	case ctx.Err() != nil:
		return overBy(ctx)
	case !first.mayClose():
		return r.judge(first)
	}
	// The other direction ends soon, and tells more.
	late := time.NewTimer(closeWait)
	defer late.Stop()
	select {
	case second := <-ends:
		switch {
		case errors.Is(first.err, errClosed):
			return nil, nil, nil // the handshake is whole, or cut short by a peer who had said all
		case errors.Is(second.err, errClosed) && second.from == agent:
			return &Closure{}, nil, nil // it was the agent's own; the client, which was writing, is to get it
		case errors.Is(second.err, errClosed):
			return nil, nil, nil
		}
		return r.judge(second)
	case <-late.C:
		if errors.Is(first.err, errClosed) {
			return nil, nil, nil
		}
		return r.judge(first)
	case <-ctx.Done():
		return overBy(ctx)
	}
}

func overBy(ctx context.Context) (toClient, toAgent *Closure, err error) {
	c, ok := errors.AsType[*Closure](context.Cause(ctx))
	if !ok {
		c = &Closure{CodeGoingAway, "the connection is over"}
	}
	return c, &Closure{CodeGoingAway, c.Reason}, c
}

// judge says what one direction's end means.
func (r *Relay) judge(e end) (toClient, toAgent *Closure, err error) {
	broken, bad := errors.AsType[*Closure](e.err)
	gone := e.from // whose connection is gone, if nobody broke a rule
	if !e.read {
		gone = agent - e.from
	}
	switch {
	case bad && e.from == client:
		return broken, &Closure{CodeGoingAway, "the client sent " + broken.Reason}, broken
	case bad:
		fault := &AgentFault{broken}
		return &Closure{CodeInternal, fault.Error()}, broken, fault
	case gone == agent:
		told := r.Lost(e.err)
		return told, nil, told
	default: // the agent sees its client's connection end, as it would without a relay
		return nil, nil, nil
	}
}

// pump passes the frames of one side to the other until one of them ends.
func (r *Relay) pump(ctx context.Context, from side) end {
	src, dst := r.Client, r.Agent
	if from == agent {
		src, dst = dst, src
	}
	var rate rate
	for {
		h, frame, done, err := src.receive()
		if err != nil {
			return end{from, true, err}
		}
		r.Passed()
		if early := rate.take(time.Now()); early > 0 {
			if from == client {
				done()
				return end{from, true, &Closure{CodePolicy, fmt.Sprintf("more than %d frames in a second", FramesPerSecond)}}
			}
			// An agent that is quick with its words is held back.
			if !sleep(ctx, early) {
				done()
				return end{from, true, errEnded}
			}
		}
		if r.over.Load() {
			done()
			return end{from, true, errEnded}
		}
		err = dst.send(frame, h.op == opClose)
		done()
		if err != nil {
			return end{from, false, err}
		}
		if h.op == opClose {
			return end{from, true, errClosed}
		}
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
