//go:build linux

package bench

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"
)

// BenchmarkStream measures event streams of 25 events, one each 20 ms, as
// language models speak: how long the first event takes from the call on, and
// each event from the agent's write until the client has read it. Agent and
// client share the machine's clock.
func BenchmarkStream(b *testing.B) {
	for _, streams := range []int{1, 100, 1000} {
		b.Run(fmt.Sprintf("process/%d", streams), func(b *testing.B) { benchmarkStream(b, streams) })
	}
}

const events = 25

var streamRequest = fmt.Appendf(nil, `{"events":%d,"micros":20000}`, events)

func benchmarkStream(b *testing.B, streams int) {
	c := startCarrying(b, "process")
	clients := c.clients(streams)
	for side := range clients {
		listen(b, clients[side])
	}
	first, delay := c.series(), c.series()
	u := newBudget(25 * time.Second)
	for b.Loop() {
		if !u.round() {
			continue
		}
		inTurn(u.rounds, len(clients), func(side int) {
			f, d := listen(b, clients[side])
			first[side].round(f)
			delay[side].round(d)
		})
	}
	noTime(b)
	b.ReportMetric(float64(u.rounds), "rounds")
	for side, t := range c.routes {
		first[side].times(b, t.name+"-first", time.Microsecond)
		delay[side].times(b, t.name+"-event", time.Microsecond)
	}
	c.ratios(first, "first")
	c.ratios(delay, "event")
}

// listen asks for a stream on every connection at once.
func listen(b *testing.B, clients []*client) (first, delay samples) {
	b.Helper()
	firsts, delays := make([]time.Duration, len(clients)), make([]samples, len(clients))
	var all errgroup.Group
	for i, c := range clients {
		all.Go(func() (err error) {
			firsts[i], delays[i], err = c.listen()
			if c.again(err) {
				firsts[i], delays[i], err = c.listen()
			}
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			return nil
		})
	}
	if err := all.Wait(); err != nil {
		b.Fatal(err)
	}
	for i := range clients {
		first.add(firsts[i])
		delay = append(delay, delays[i]...)
	}
	return first, delay
}

// listen reads one stream. The first event is not among the delays.
func (c *client) listen() (first time.Duration, delay samples, err error) {
	t0 := time.Now()
	resp, _, err := c.do(c.request(streamRequest))
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	buf := make([]byte, 4096)
	var pending []byte
	for seen := 0; ; {
		n, err := resp.Body.Read(buf)
		now := time.Now()
		pending = append(pending, buf[:n]...)
		for {
			event, rest, whole := bytes.Cut(pending, []byte("\n\n"))
			if !whole {
				break
			}
			pending = rest
			sent, err := strconv.ParseInt(string(bytes.TrimPrefix(event, []byte("data: "))), 10, 64)
			if err != nil {
				return 0, nil, fmt.Errorf("event %q: %w", event, err)
			}
			if seen++; seen == 1 {
				first = now.Sub(t0)
			} else {
				delay.add(now.Sub(time.Unix(0, sent)))
			}
		}
		if err == io.EOF && seen == events {
			return first, delay, nil
		}
		if err != nil {
			return 0, nil, fmt.Errorf("stream ended after %d events: %w", seen, err)
		}
	}
}
