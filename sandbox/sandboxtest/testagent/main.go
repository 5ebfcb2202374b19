// Command testagent is the agent of the conformance suite: it serves the
// AgentCore contract on 0.0.0.0:8080 and does what it is told, so that a test
// can look at a sandbox from within.
//
// POST /invocations takes an [order.Order] and answers with an [order.Reply];
// "stream" and "hangup" answer with an event stream, and ?do=echo-body sends
// any body back as it is. GET /ping says Healthy until told otherwise. The
// agent is built without cgo and uses the standard library only, and so runs
// in an empty root.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"

	"github.com/isolde-run/isolde/sandbox/sandboxtest/order"
)

type agent struct {
	mu         sync.Mutex
	memory     map[string]string
	pingCode   int
	pingStatus string
	hoard      [][]byte // what the order "memory" holds
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == childArg {
		child(os.Args[2:])
		return
	}
	port := os.Getenv("TESTAGENT_PORT")
	if port == "" {
		port = "8080"
	}
	fmt.Println("testagent: starts with port", port)
	if ms, err := strconv.Atoi(os.Getenv("TESTAGENT_LISTEN_AFTER_MILLIS")); err == nil {
		time.Sleep(time.Duration(ms) * time.Millisecond)
	}
	a := &agent{memory: map[string]string{}, pingCode: http.StatusOK, pingStatus: "Healthy"}
	go a.waitForTerm()
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ping", a.ping)
	mux.HandleFunc("POST /invocations", a.invoke)
	listener, err := net.Listen("tcp", "0.0.0.0:"+port)
	if err != nil {
		fmt.Fprintln(os.Stderr, "testagent:", err)
		os.Exit(3)
	}
	fmt.Fprintln(os.Stderr, "testagent:", http.Serve(listener, mux))
	os.Exit(4)
}

// waitForTerm says goodbye and exits with 0 on SIGTERM.
func (a *agent) waitForTerm() {
	term := make(chan os.Signal, 1)
	signal.Notify(term, syscall.SIGTERM)
	<-term
	fmt.Println("testagent: asked to terminate, says goodbye")
	os.Exit(0)
}

func (a *agent) ping(w http.ResponseWriter, _ *http.Request) {
	a.mu.Lock()
	code, status := a.pingCode, a.pingStatus
	a.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_ = json.NewEncoder(w).Encode(map[string]string{"status": status})
}

func (a *agent) invoke(w http.ResponseWriter, r *http.Request) {
	if r.URL.Query().Get("do") == "echo-body" {
		w.Header().Set("Content-Type", r.Header.Get("Content-Type"))
		_, _ = io.Copy(w, r.Body)
		return
	}
	var o order.Order
	if err := json.NewDecoder(r.Body).Decode(&o); err != nil {
		reply(w, order.Reply{Error: "decode order: " + err.Error()})
		return
	}
	switch o.Do {
	case "stream":
		stream(w, o)
	case "hangup":
		stream(w, o)
		panic(http.ErrAbortHandler) // closes the connection without an end of the body
	default:
		run, ok := orders[o.Do]
		if !ok {
			reply(w, order.Reply{Error: fmt.Sprintf("no order %q", o.Do)})
			return
		}
		answer, err := run(a, o)
		if err != nil {
			answer.Error = err.Error()
		}
		reply(w, answer)
	}
}

// stream sends Count events, Millis apart.
func stream(w http.ResponseWriter, o order.Order) {
	w.Header().Set("Content-Type", "text/event-stream")
	for i := range o.Count {
		if i > 0 {
			time.Sleep(time.Duration(o.Millis) * time.Millisecond)
		}
		fmt.Fprintf(w, "data: %d\n\n", i)
		http.NewResponseController(w).Flush()
	}
}

func reply(w http.ResponseWriter, r order.Reply) {
	w.Header().Set("Content-Type", "application/json")
	if r.Error != "" {
		w.WriteHeader(http.StatusInternalServerError)
	}
	_ = json.NewEncoder(w).Encode(r)
}
