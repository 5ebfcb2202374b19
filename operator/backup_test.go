package operator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"testing"

	"github.com/isolde-run/isolde"
)

func TestBackup(t *testing.T) {
	b := newBed(t)
	b.handler.Backup = func(_ context.Context, w io.Writer, databaseOnly bool) error {
		text := "all"
		if databaseOnly {
			text = "database"
		}
		_, err := io.WriteString(w, text)
		return err
	}
	for databaseOnly, want := range map[bool]string{false: "all", true: "database"} {
		var got bytes.Buffer
		if err := b.Backup(t.Context(), &got, databaseOnly); err != nil || got.String() != want {
			t.Errorf("backup = %q, %v", &got, err)
		}
	}
}

func TestBackupThatFails(t *testing.T) {
	full := isolde.Errorf(isolde.CodeInternal, "the disk is full").WithHint("free space")
	// A stream that breaks off must not look like a short backup, whether or
	// not it was still in the server's buffers.
	for written, want := range map[int]isolde.Code{0: isolde.CodeInternal, 1: isolde.CodeUnavailable, 10 << 20: isolde.CodeUnavailable} {
		b := newBed(t)
		b.handler.Backup = func(_ context.Context, w io.Writer, _ bool) error {
			if written > 0 {
				if _, err := w.Write(make([]byte, written)); err != nil {
					return err
				}
			}
			return full
		}
		err := b.Backup(t.Context(), io.Discard, false)
		wantCode(t, fmt.Sprintf("after %d bytes", written), err, want)
		if e, ok := errors.AsType[*isolde.Error](err); written == 0 && (!ok || e.Message != full.Message || e.Hint != full.Hint) {
			t.Errorf("before the first byte: %v", err)
		}
	}
}

func TestBackupThatCannotBeWritten(t *testing.T) {
	b := newBed(t)
	b.handler.Backup = func(ctx context.Context, w io.Writer, _ bool) error {
		for { // until the client is gone
			if _, err := w.Write(make([]byte, 1<<20)); err != nil {
				return err
			}
		}
	}
	full := errors.New("disk full")
	if err := b.Backup(t.Context(), failingWriter{full}, false); !errors.Is(err, full) {
		t.Errorf("backup = %v", err)
	}
	cause := isolde.Errorf(isolde.CodeUnavailable, "enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	if err := b.Backup(ctx, cancelingWriter{cancel, cause}, false); !errors.Is(err, cause) {
		t.Errorf("backup of an impatient caller = %v", err)
	}
}

type failingWriter struct{ err error }

func (f failingWriter) Write([]byte) (int, error) { return 0, f.err }

type cancelingWriter struct {
	cancel context.CancelCauseFunc
	cause  error
}

func (c cancelingWriter) Write(p []byte) (int, error) {
	c.cancel(c.cause)
	return len(p), nil
}
