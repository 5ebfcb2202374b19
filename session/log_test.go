package session

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func writtenLog(t *testing.T, text string) (*Log, *LogReader) {
	t.Helper()
	l := newLog(filepath.Join(t.TempDir(), "runtime", "session.log"))
	if err := l.open(); err != nil {
		t.Fatal(err)
	}
	write(t, l, text)
	f, err := os.Open(l.path)
	if err != nil {
		t.Fatal(err)
	}
	r := &LogReader{f: f, index: indexPath(l.path)}
	t.Cleanup(func() { r.Close() })
	return l, r
}

func write(t *testing.T, l *Log, text string) {
	t.Helper()
	f, err := os.OpenFile(l.path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

func readAll(t *testing.T, r *LogReader, final bool) []string {
	t.Helper()
	var lines []string
	for {
		line, err := r.Next(final)
		if errors.Is(err, io.EOF) {
			return lines
		}
		if err != nil {
			t.Fatal(err)
		}
		lines = append(lines, line)
	}
}

func TestTail(t *testing.T) {
	for _, test := range []struct {
		text string
		n    int
		want []string
	}{
		{"a\nb\nc\n", 2, []string{"b", "c"}},
		{"a\nb\nc", 2, []string{"b", "c"}},
		{"a\nb\n", 5, []string{"a", "b"}},
		{"a\nb\n", 0, nil},
		{"a\nb\n", -1, []string{"a", "b"}},
		{"", 3, nil},
		{"\n\n", 1, []string{""}},
		{strings.Repeat("x", 40<<10) + "\ny\n", 2, []string{strings.Repeat("x", 40<<10), "y"}},
	} {
		_, r := writtenLog(t, test.text)
		if err := r.SeekTail(test.n); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(test.want, readAll(t, r, true)); diff != "" {
			t.Errorf("last %d of %.20q (-want +got):\n%s", test.n, test.text, diff)
		}
	}
}

func TestLineIsHeldBackUntilItIsWhole(t *testing.T) {
	l, r := writtenLog(t, "one\ntw")
	if diff := cmp.Diff([]string{"one"}, readAll(t, r, false)); diff != "" {
		t.Error(diff)
	}
	offset := r.Offset()
	write(t, l, "o\nthree")
	if diff := cmp.Diff([]string{"two"}, readAll(t, r, false)); diff != "" {
		t.Error(diff)
	}
	r.SeekTo(offset)
	if diff := cmp.Diff([]string{"two", "three"}, readAll(t, r, true)); diff != "" {
		t.Error(diff)
	}
}

func TestLongLineLosesNothing(t *testing.T) {
	long := strings.Repeat("0123456789", maxLine/5)
	_, r := writtenLog(t, long+"\nend\n")
	lines := readAll(t, r, true)
	if got := strings.Join(lines, ""); got != long+"end" || len(lines) < 3 {
		t.Errorf("%d lines with %d bytes, want %d bytes", len(lines), len(got), len(long)+3)
	}
}

func TestLogIsBoundedOnDisk(t *testing.T) {
	l, r := writtenLog(t, "")
	line := strings.Repeat("x", 1<<20-1) + "\n"
	for range 3 * maxLog >> 20 {
		write(t, l, line)
		l.tend(time.Now())
	}
	write(t, l, "the end\n")
	if used := blocks(t, l.path); used > maxLog+keepLog {
		t.Errorf("the log takes %d bytes of disk", used)
	}
	if err := r.SeekTail(1); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"the end"}, readAll(t, r, true)); diff != "" {
		t.Error(diff)
	}
	if err := r.SeekTail(-1); err != nil {
		t.Fatal(err)
	}
	if n := len(readAll(t, r, true)); n < keepLog>>20 || n > 40*maxLog>>20 {
		t.Errorf("%d lines are left", n)
	}
}

func TestOwnLines(t *testing.T) {
	l, r := writtenLog(t, "agent\n")
	l.Append("session ended")
	if diff := cmp.Diff([]string{"agent", "isolde: session ended"}, readAll(t, r, true)); diff != "" {
		t.Error(diff)
	}
	if got := l.tail(2, 100); got != "ent\nisolde: session ended" {
		t.Errorf("tail = %q", got)
	}
	(&Log{path: filepath.Join(t.TempDir(), "none")}).Append("goes nowhere")
}
