package session

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// logIndex is the file beside a log that tells when its parts were written: an
// agent's output has no times of its own. It has lines of two kinds, each with
// Unix microseconds:
//
//	at TIME SIZE             the log had that many bytes
//	ran REQUEST BEGAN ENDED  an invocation was under way
//
// A running session adds to it once a ping interval, when there is something
// to add.
type logIndex struct {
	path string
	size int64 // of the log at the last line "at"

	mu  sync.Mutex
	ran []ranRequest // since the last write
}

// ranRequest is an invocation that is over.
type ranRequest struct {
	id           string
	began, ended time.Time
}

const (
	// maxLogIndex bounds an index on disk: some 30,000 lines, which are 16 h of
	// output without a pause. Its older half is dropped.
	maxLogIndex = 1 << 20
	// maxRan bounds the requests that are kept between two writes, the first
	// ones. Those that are not are still found by their id in the output.
	maxRan = 256
)

// request notes an invocation that is over.
func (x *logIndex) request(r ranRequest) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.ran) < maxRan {
		x.ran = append(x.ran, r)
	}
}

// write adds what is new. Only the actor calls it. An index that cannot be
// written must not stop a session, so errors are dropped.
func (x *logIndex) write(now time.Time, size int64) {
	x.mu.Lock()
	ran := x.ran
	x.ran = nil
	x.mu.Unlock()
	if size == x.size && len(ran) == 0 {
		return
	}
	var b bytes.Buffer
	for _, r := range ran {
		fmt.Fprintf(&b, "ran %s %d %d\n", r.id, r.began.UnixMicro(), r.ended.UnixMicro())
	}
	fmt.Fprintf(&b, "at %d %d\n", now.UnixMicro(), size)
	x.size = size
	f, err := os.OpenFile(x.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return
	}
	defer f.Close()
	if _, err := f.Write(b.Bytes()); err != nil {
		return
	}
	if fi, err := f.Stat(); err == nil && fi.Size() > maxLogIndex {
		x.halve()
	}
}

// halve drops the older half.
func (x *logIndex) halve() {
	text, err := os.ReadFile(x.path)
	if err != nil {
		return
	}
	_, text, _ = bytes.Cut(text[len(text)/2:], []byte{'\n'})
	half := x.path + ".half"
	if os.WriteFile(half, text, 0o600) == nil {
		_ = os.Rename(half, x.path)
	}
}

// logMoments is what an index tells. An index that is not there tells nothing.
type logMoments struct {
	at  []logMoment // in the order of time
	ran []ranRequest
}

type logMoment struct {
	at   time.Time
	size int64
}

func readLogIndex(path string) (m logMoments) {
	text, err := os.ReadFile(path)
	if err != nil {
		return m
	}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		switch {
		case len(fields) == 3 && fields[0] == "at":
			size, err := strconv.ParseInt(fields[2], 10, 64)
			if t := moment(fields[1]); err == nil && !t.IsZero() {
				m.at = append(m.at, logMoment{t, size})
			}
		case len(fields) == 4 && fields[0] == "ran":
			m.ran = append(m.ran, ranRequest{fields[1], moment(fields[2]), moment(fields[3])})
		}
	}
	return m
}

// moment is a time of the index; zero for what is none.
func moment(s string) time.Time {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.UnixMicro(n)
}

// before is how long the log was at most at a time: what was written later
// begins there or further on. 0 if the index does not go back that far.
func (m logMoments) before(t time.Time) (size int64) {
	for _, x := range m.at {
		if x.at.After(t) {
			break
		}
		size = x.size
	}
	return size
}

// after is how long the log was at least at a time; -1 if that is not known yet.
func (m logMoments) after(t time.Time) int64 {
	for _, x := range m.at {
		if !x.at.Before(t) {
			return x.size
		}
	}
	return -1
}
