package session

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde/sandbox/sandboxtest"
)

// logged is what a session's log holds from where seek leads.
func (b *bed) logged(seek func(r *LogReader)) []string {
	b.t.Helper()
	r, err := b.m.OpenLog(key)
	if err != nil {
		b.t.Fatal(err)
	}
	defer r.Close()
	seek(r)
	return readAll(b.t, r, true)
}

func TestLogKnowsWhenItWasWritten(t *testing.T) {
	inBubble(t, sandboxtest.Script{}, func(t *testing.T, b *bed) {
		b.invoke(key, "x")
		began := time.Now()
		for i := range 5 {
			write(t, &Log{path: b.m.LogPath(key)}, fmt.Sprintf("minute %d\n", i))
			time.Sleep(time.Minute)
		}
		since := func(d time.Duration) []string {
			return b.logged(func(r *LogReader) {
				if err := r.SeekSince(began.Add(d)); err != nil {
					t.Error(err)
				}
			})
		}
		for d, want := range map[time.Duration][]string{
			-time.Hour:                    {"minute 0", "minute 1", "minute 2", "minute 3", "minute 4"},
			90 * time.Second:              {"minute 2", "minute 3", "minute 4"},
			3*time.Minute + 3*time.Second: {"minute 4"},
			time.Hour:                     nil,
		} {
			if diff := cmp.Diff(want, since(d)); diff != "" {
				t.Errorf("since %v (-want +got):\n%s", d, diff)
			}
		}
		b.m.Close()
		b.open() // a restart forgets nothing of it
		if diff := cmp.Diff([]string{"minute 4"}, since(3*time.Minute+3*time.Second)); diff != "" {
			t.Errorf("after a restart (-want +got):\n%s", diff)
		}
	})
}

func TestLogKnowsWhatWasWrittenDuringARequest(t *testing.T) {
	var b *bed
	agent := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		write(b.t, &Log{path: b.m.LogPath(key)}, string(body)+"\n")
		time.Sleep(5 * time.Second)
	})
	synctest.Test(t, func(t *testing.T) {
		b = newBed(t, sandboxtest.Script{Agent: agent})
		call := func(id string) {
			l := b.acquire(key)
			defer l.Release()
			l.Identify(id, "")
			if _, err := roundTrip(t.Context(), l, "of "+id); err != nil {
				t.Error(err)
			}
		}
		const pause = time.Minute + 300*time.Millisecond // no call begins in the instant of a ping
		call("first")
		time.Sleep(pause)
		go call("third")
		call("second")
		time.Sleep(pause)
		call("last")
		time.Sleep(time.Minute)
		r, err := b.m.OpenLog(key)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		text, err := os.ReadFile(b.m.LogPath(key))
		if err != nil {
			t.Fatal(err)
		}
		for id, others := range map[string][]string{"first": nil, "second": {"third"}, "third": {"second"}, "last": nil} {
			from, to, got, ok := r.Request(id)
			if !ok || to < from {
				t.Fatalf("%s: %d to %d, %v", id, from, to, ok)
			}
			part := string(text[from:to])
			if !strings.Contains(part, "of "+id) || strings.Count(part, "\n") != 1+len(others) {
				t.Errorf("while %s ran was written: %q", id, part)
			}
			if diff := cmp.Diff(others, got); diff != "" {
				t.Errorf("beside %s ran (-want +got):\n%s", id, diff)
			}
		}
		if _, _, _, ok := r.Request("nobody"); ok {
			t.Error("the log knows a request that never was")
		}
	})
}

func TestLogIndexIsBounded(t *testing.T) {
	l, _ := writtenLog(t, "")
	now := time.Now()
	var lines strings.Builder
	for i := range 60_000 {
		fmt.Fprintf(&lines, "at %d %d\n", now.Add(time.Duration(i)*time.Second).UnixMicro(), i+1)
	}
	if err := os.WriteFile(l.index.path, []byte(lines.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	l.index.write(now.Add(60_000*time.Second), 60_001)
	fi, err := os.Stat(l.index.path)
	if err != nil || fi.Size() > maxLogIndex {
		t.Fatalf("the index has %d bytes, %v", fi.Size(), err)
	}
	m := readLogIndex(l.index.path)
	if got := m.before(now.Add(60_000 * time.Second)); got != 60_001 || len(m.at) < 29_000 {
		t.Errorf("the newest part is not known: %d", got)
	}
	for range maxRan + 5 {
		l.index.request(ranRequest{id: "x"})
	}
	if n := len(l.index.ran); n != maxRan {
		t.Errorf("%d requests are kept in memory", n)
	}
}
