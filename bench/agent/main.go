// Command bench-agent is the agent behind the carrying benchmarks: it does as
// little as an agent can, so that what is measured is the way to it.
//
// A payload of more than 64 KiB is read and counted. A shorter one is a
// [Request]: it asks for an event stream, for many bytes, or, when it is empty,
// for the shortest answer there is.
package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"strconv"
	"time"
)

// Request is a payload of at most 64 KiB.
type Request struct {
	Events  int   `json:"events"`  // stream this many events
	Micros  int   `json:"micros"`  // between two of them
	Bytes   int64 `json:"bytes"`   // answer with this many bytes
	Chunked bool  `json:"chunked"` // and do not say how many
}

const smallest = 64 << 10

func main() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /ping", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"status":"Healthy"}`)
	})
	mux.HandleFunc("POST /invocations", invoke)
	log.Fatal(http.ListenAndServe(":8080", mux))
}

func invoke(w http.ResponseWriter, r *http.Request) {
	if r.ContentLength > smallest {
		n, err := drain(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		fmt.Fprintf(w, `{"received":%d}`, n)
		return
	}
	var req Request
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	switch {
	case req.Events > 0:
		stream(w, req)
	case req.Bytes > 0:
		pour(w, req)
	default:
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"answer":"hello"}`)
	}
}

// stream sends events that tell when they were sent, in Unix nanoseconds. The
// second comes early at random, so that streams which began together do not
// stay in step.
func stream(w http.ResponseWriter, req Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	rc := http.NewResponseController(w)
	pause := time.Duration(req.Micros) * time.Microsecond
	for i := range req.Events {
		switch i {
		case 0:
		case 1:
			time.Sleep(rand.N(pause + 1))
		default:
			time.Sleep(pause)
		}
		if _, err := fmt.Fprintf(w, "data: %d\n\n", time.Now().UnixNano()); err != nil {
			return
		}
		if err := rc.Flush(); err != nil {
			return
		}
	}
}

var block = make([]byte, 256<<10)

func pour(w http.ResponseWriter, req Request) {
	w.Header().Set("Content-Type", "application/octet-stream")
	if !req.Chunked {
		w.Header().Set("Content-Length", strconv.FormatInt(req.Bytes, 10))
	}
	for left := req.Bytes; left > 0; {
		n, err := w.Write(block[:min(left, int64(len(block)))])
		if err != nil {
			return
		}
		left -= int64(n)
	}
}

func drain(r io.Reader) (n int64, err error) {
	buf := make([]byte, 256<<10)
	for {
		got, err := r.Read(buf)
		n += int64(got)
		if err == io.EOF {
			return n, nil
		}
		if err != nil {
			return n, err
		}
	}
}
