//go:build linux

package bench

import (
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/isolde-run/isolde"
)

// BenchmarkBulk measures the largest payload, 100 MB: up in a call's body, down
// in its answer, and down in chunks, as an agent sends what it does not know
// the length of.
func BenchmarkBulk(b *testing.B) {
	for _, driver := range []string{"process", "gvisor"} {
		b.Run(driver, func(b *testing.B) { benchmarkBulk(b, driver) })
	}
}

func benchmarkBulk(b *testing.B, driver string) {
	c := startCarrying(b, driver)
	clients := c.clients(1)
	payload := make([]byte, isolde.MaxPayload)
	ways := []struct {
		name string
		body []byte
		back int64 // bytes of the answer
		took []series
		used []usage
	}{
		{name: "up", body: payload, back: int64(len(fmt.Sprintf(`{"received":%d}`, isolde.MaxPayload)))},
		{name: "down", body: fmt.Appendf(nil, `{"bytes":%d}`, isolde.MaxPayload), back: isolde.MaxPayload},
		{name: "chunked", body: fmt.Appendf(nil, `{"bytes":%d,"chunked":true}`, isolde.MaxPayload), back: isolde.MaxPayload},
	}
	for i := range ways {
		ways[i].took, ways[i].used = c.series(), make([]usage, len(c.routes))
	}
	buf := make([]byte, 256<<10)
	u := newBudget(25 * time.Second)
	for b.Loop() {
		if !u.round() {
			continue
		}
		for i := range ways {
			way := &ways[i]
			inTurn(u.rounds, len(clients), func(side int) {
				before := c.used[side]()
				client := clients[side][0]
				d, err := client.move(way.body, way.back, buf)
				if client.again(err) {
					d, err = client.move(way.body, way.back, buf)
				}
				way.used[side] = way.used[side].plus(c.used[side]().minus(before))
				if err != nil {
					b.Fatalf("%s, %s: %v", c.routes[side].name, way.name, err)
				}
				way.took[side].round(samples{float64(d)})
			})
		}
	}
	noTime(b)
	b.ReportMetric(float64(u.rounds), "rounds")
	for i := range ways {
		for side, t := range c.routes {
			ways[i].took[side].times(b, t.name+"-"+ways[i].name, time.Millisecond)
			if side != direct {
				b.ReportMetric(float64(ways[i].used[side].CPU.Milliseconds())/float64(u.rounds), t.name+"-"+ways[i].name+"-cpu-ms")
			}
		}
		c.ratios(ways[i].took, ways[i].name)
	}
}

// move makes a call and reads the whole answer, which must have so many bytes.
func (c *client) move(body []byte, back int64, buf []byte) (time.Duration, error) {
	return c.moveAll(c.request(body), back, buf)
}

// moveAll is move for a request that is ready to be sent.
func (c *client) moveAll(request []byte, back int64, buf []byte) (time.Duration, error) {
	t0 := time.Now()
	resp, _, err := c.do(request)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	for {
		n, err := resp.Body.Read(buf)
		back -= int64(n)
		if err == io.EOF && back == 0 {
			return time.Since(t0), nil
		}
		if err != nil {
			return 0, fmt.Errorf("%d bytes missing: %w", back, err)
		}
	}
}
