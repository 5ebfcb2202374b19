package session

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/isolde-run/isolde"
)

// The bounds of a session's log on disk. What is older than keepLog is
// punched out of the file, so that offsets stay and the sandbox, which holds
// the file open for appending, notices nothing.
const (
	maxLog  = 32 << 20
	keepLog = 16 << 20
)

// Log is the output of a session's agent: one file for all sandboxes the
// session has had, written by the sandboxes themselves and, for what Isolde
// adds, by the server.
type Log struct {
	path    string
	trimmed int64 // everything before it is punched out
	index   logIndex
}

func newLog(path string) *Log { return &Log{path: path, index: logIndex{path: indexPath(path)}} }

// indexPath is where the index of a log is.
func indexPath(log string) string { return strings.TrimSuffix(log, ".log") + ".times" }

// LogPath is the file with the output of a session.
func (m *Manager) LogPath(key isolde.SessionKey) string {
	return filepath.Join(m.cfg.LogDir, string(key.Runtime), fileName(key.Session)+".log")
}

// RemoveLogs removes the logs of all sessions of an agent runtime.
func (m *Manager) RemoveLogs(id isolde.RuntimeID) error {
	return os.RemoveAll(filepath.Join(m.cfg.LogDir, string(id)))
}

// keepLogs is how long the log of a session that does not run is kept, like
// the store's record of it.
const keepLogs = 14 * 24 * time.Hour

// removeOld removes, now and daily, what was kept long enough.
func (m *Manager) removeOld() {
	tick := time.NewTicker(24 * time.Hour)
	defer tick.Stop()
	for {
		m.removeOldLogs()
		m.removeOldStorage()
		select {
		case <-tick.C:
		case <-m.actors.Done():
			return
		}
	}
}

// removeOldLogs removes logs that nothing was written to for keepLogs. A
// session cannot run that long without a line of its end.
func (m *Manager) removeOldLogs() {
	files, _ := filepath.Glob(filepath.Join(m.cfg.LogDir, "*", "*.log"))
	for _, f := range files {
		if fi, err := os.Stat(f); err == nil && time.Since(fi.ModTime()) > keepLogs {
			os.Remove(f)
			os.Remove(indexPath(f))
		}
	}
}

// OpenLog opens the log of a session, running or not; CodeNotFound if it has
// never had one.
func (m *Manager) OpenLog(key isolde.SessionKey) (*LogReader, error) {
	f, err := os.Open(m.LogPath(key))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, isolde.Errorf(isolde.CodeNotFound, "session %s has no log", key.Session)
	}
	if err != nil {
		return nil, fmt.Errorf("open log: %w", err)
	}
	return &LogReader{f: f, index: indexPath(f.Name())}, nil
}

func (l *Log) open() error {
	if err := os.MkdirAll(filepath.Dir(l.path), 0o700); err != nil {
		return fmt.Errorf("create log folder: %w", err)
	}
	f, err := os.OpenFile(l.path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("create log: %w", err)
	}
	return f.Close()
}

// Append adds a line of Isolde's own. A log that cannot be written must not
// stop a session, so errors are dropped.
func (l *Log) Append(line string) {
	f, err := os.OpenFile(l.path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return
	}
	defer f.Close()
	fmt.Fprintf(f, "isolde: %s\n", line)
}

// Size is the length of the log in bytes, trimmed bytes included.
func (l *Log) Size() int64 {
	fi, err := os.Stat(l.path)
	if err != nil {
		return 0
	}
	return fi.Size()
}

// tail returns the output since an offset, the last limit bytes of it.
func (l *Log) tail(from int64, limit int64) string {
	f, err := os.Open(l.path)
	if err != nil {
		return ""
	}
	defer f.Close()
	from = max(from, l.Size()-limit)
	b, err := io.ReadAll(io.NewSectionReader(f, from, limit))
	if err != nil {
		return ""
	}
	return string(bytes.TrimSpace(b))
}

// tend keeps the log's index, and frees the disk of all but the last keepLog
// bytes once the log holds more than maxLog. Only the actor calls it.
func (l *Log) tend(now time.Time) {
	size := l.Size()
	l.index.write(now, size)
	if size-l.trimmed <= maxLog {
		return
	}
	f, err := os.OpenFile(l.path, os.O_WRONLY, 0)
	if err != nil {
		return
	}
	defer f.Close()
	if punchHole(f, size-keepLog) != nil {
		// A file system without holes: begin anew.
		if f.Truncate(0) != nil {
			return
		}
		l.trimmed = 0
		return
	}
	l.trimmed = size - keepLog
}

// LogReader reads a log by lines.
type LogReader struct {
	f     *os.File
	index string
	at    int64
	rest  []byte
}

// Close closes the log.
func (r *LogReader) Close() error { return r.f.Close() }

// SeekTail moves to the last n lines; all lines if n is negative.
func (r *LogReader) SeekTail(n int) error {
	size, err := r.f.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	first := firstData(r.f) // nobody counts lines in a hole
	r.rest, r.at = nil, size
	switch {
	case n == 0:
		return nil
	case n < 0:
		r.at = first
		return nil
	}
	const block = 32 << 10
	buf := make([]byte, block)
	for end := size; end > first; {
		start := max(first, end-block)
		k, err := r.f.ReadAt(buf[:end-start], start)
		if err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		for i := k - 1; i >= 0; i-- {
			if buf[i] != '\n' || start+int64(i) == size-1 {
				continue
			}
			if n--; n == 0 {
				r.at = start + int64(i) + 1
				return nil
			}
		}
		end = start
	}
	r.at = first
	return nil
}

// SeekSince moves to what was written since a time, or a ping interval before.
func (r *LogReader) SeekSince(t time.Time) error {
	fi, err := r.f.Stat()
	if err != nil {
		return err
	}
	at := readLogIndex(r.index).before(t)
	if at > fi.Size() { // the log was begun anew
		at = 0
	}
	r.at, r.rest = max(at, firstData(r.f)), nil
	return nil
}

// Request tells which part of the log was written while an invocation ran,
// give or take a ping interval: from an offset to another, -1 for the end.
// others are the invocations that ran then as well. It is not ok if the log
// does not know the invocation, as when it is not over yet.
func (r *LogReader) Request(id string) (from, to int64, others []string, ok bool) {
	m := readLogIndex(r.index)
	i := slices.IndexFunc(m.ran, func(x ranRequest) bool { return x.id == id })
	if i < 0 {
		return 0, 0, nil, false
	}
	from, to = m.before(m.ran[i].began), m.after(m.ran[i].ended)
	for j, x := range m.ran {
		last := m.after(x.ended)
		if j != i && m.before(x.began) < to && (last < 0 || last > from) {
			others = append(others, x.id)
		}
	}
	return from, to, others, true
}

// SeekTo moves to an offset that [LogReader.Offset] returned.
func (r *LogReader) SeekTo(offset int64) { r.at, r.rest = offset, nil }

// Offset is where the next line begins.
func (r *LogReader) Offset() int64 { return r.at - int64(len(r.rest)) }

// maxLine bounds a line of a log; a longer one is cut into several.
const maxLine = 64 << 10

// Next returns the next line without its newline, or io.EOF. A last line
// without a newline is held back, as more of it may come, unless final is set.
func (r *LogReader) Next(final bool) (string, error) {
	buf := make([]byte, 32<<10)
	for {
		if line, rest, ok := bytes.Cut(r.rest, []byte{'\n'}); ok || len(line) >= maxLine {
			if len(line) > maxLine {
				line, rest = r.rest[:maxLine], r.rest[maxLine:]
			}
			r.rest = rest
			return string(bytes.TrimLeft(line, "\x00")), nil // a hole's last block may be partly zeros
		}
		n, err := r.f.ReadAt(buf, r.at)
		r.at += int64(n)
		r.rest = append(r.rest, buf[:n]...)
		if n > 0 || err == nil {
			continue
		}
		if !errors.Is(err, io.EOF) {
			return "", err
		}
		if fi, err := r.f.Stat(); err == nil && fi.Size() < r.at {
			r.at, r.rest = 0, nil // begun anew
			continue
		}
		if final && len(r.rest) > 0 {
			line := string(r.rest)
			r.rest = nil
			return line, nil
		}
		return "", io.EOF
	}
}
