package session

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

// Health is how an agent is asked for its health.
type Health string

const (
	// HealthPing is the contract of HTTP, A2A and AG-UI agents: GET /ping is
	// answered 200 with {"status": "Healthy" | "HealthyBusy",
	// "time_of_last_update": Unix seconds}.
	HealthPing Health = ""
	// HealthAnswers is for MCP servers, which have no /ping: they are healthy
	// if the port speaks HTTP, whatever it answers. The question is GET /ping
	// still: it cannot begin an MCP session, as a request to the server's own
	// path would, and a server that does have a /ping can say that it is busy.
	HealthAnswers Health = "answers"
)

// demand is what an agent must do to be healthy, for people.
func (h Health) demand(port int) string {
	if h == HealthAnswers {
		return fmt.Sprintf("port %d must answer HTTP", port)
	}
	return fmt.Sprintf("GET /ping on port %d must answer 200", port)
}

// maxPong bounds how much of a ping's answer is read.
const maxPong = 64 << 10

func (h Health) ping(ctx context.Context, wire http.RoundTripper) (p pong) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "/ping", nil)
	if err != nil {
		return pong{at: time.Now(), err: err}
	}
	resp, err := wire.RoundTrip(req)
	if err != nil {
		return pong{at: time.Now(), err: err}
	}
	defer resp.Body.Close()
	if h == HealthAnswers && (resp.StatusCode != http.StatusOK || resp.ContentLength < 0) {
		if 0 < resp.ContentLength && resp.ContentLength <= maxPong { // for the connection's sake; others may have no end
			_, _ = io.Copy(io.Discard, resp.Body)
		}
		return pong{at: time.Now(), answered: true, status: resp.StatusCode}
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxPong))
	p = pong{at: time.Now(), answered: true, status: resp.StatusCode, body: body}
	if err != nil {
		p.answered, p.err = false, err
		return p
	}
	if resp.StatusCode != http.StatusOK {
		p.err = fmt.Errorf("GET /ping answered %s", resp.Status)
		return p
	}
	var status struct {
		Status     string  `json:"status"`
		LastUpdate float64 `json:"time_of_last_update"`
	}
	if json.Unmarshal(body, &status) != nil {
		return p // 200 with another body is an agent of the plain contract: healthy
	}
	switch status.Status {
	case "HealthyBusy":
		p.busy = true
	case "Healthy", "":
	default:
		if h == HealthPing {
			p.err = fmt.Errorf("GET /ping answered status %q", status.Status)
		}
	}
	if status.LastUpdate > 0 {
		p.changed = time.UnixMilli(int64(status.LastUpdate * 1000))
	}
	return p
}
