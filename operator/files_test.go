package operator

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/sandbox/sandboxtest"
)

// onThisMachine runs the commands of a fake sandbox as programs of this one.
func onThisMachine(sandbox.Spec) sandboxtest.Script {
	return sandboxtest.Script{Exec: func(ctx context.Context, cmd sandbox.Command) (int, error) {
		run := exec.CommandContext(ctx, cmd.Args[0], cmd.Args[1:]...)
		run.Stdin, run.Stdout, run.Stderr = cmd.Stdin, cmd.Stdout, cmd.Stderr
		err := run.Run()
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			return exit.ExitCode(), nil
		}
		return 0, err
	}}
}

func TestFilesAreCopiedBothWays(t *testing.T) {
	b := newBed(t)
	b.fake.Script = onThisMachine
	key := b.use(t, b.deploy(t, "weather", "one").ID, "", 0, 1)[0]
	here, there := t.TempDir(), t.TempDir()
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<18) // 4 MiB
	if err := os.MkdirAll(filepath.Join(here, "data", "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(here, "data", "sub", "big"), big, 0o600); err != nil {
		t.Fatal(err)
	}
	read, write := io.Pipe()
	go func() {
		write.CloseWithError(b.ReadFiles(t.Context(), "", key.Session, filepath.Join(here, "data"), write))
	}()
	if err := b.WriteFiles(t.Context(), "weather", key.Session, there, read); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(there, "data", "sub", "big")); err != nil || !bytes.Equal(got, big) {
		t.Errorf("%d of %d bytes came back, %v", len(got), len(big), err)
	}
}

func TestFilesThatCannotBeCopied(t *testing.T) {
	b := newBed(t)
	b.fake.Script = onThisMachine
	key := b.use(t, b.deploy(t, "weather", "one").ID, "", 0, 1)[0]
	dir := t.TempDir()
	ctx := t.Context()
	wantCode(t, "nothing there", b.ReadFiles(ctx, "", key.Session, dir+"/nothing", io.Discard), isolde.CodeNotFound)
	wantCode(t, "no such session", b.ReadFiles(ctx, "", "nobody", dir, io.Discard), isolde.CodeNotFound)
	for _, path := range []string{"", "/", ".", "..", "a/../.."} {
		wantCode(t, "path "+path, b.ReadFiles(ctx, "", key.Session, path, io.Discard), isolde.CodeInvalid)
	}
	wantCode(t, "no such folder", b.WriteFiles(ctx, "", key.Session, dir+"/nothing", anArchive(t)), isolde.CodeNotFound)
	wantCode(t, "no folder named", b.WriteFiles(ctx, "", key.Session, "", anArchive(t)), isolde.CodeInvalid)
	wantCode(t, "no archive", b.WriteFiles(ctx, "", key.Session, dir, strings.NewReader(strings.Repeat("no tar", 1000))), isolde.CodeInvalid)

	// Something is missing from the archive, and the rest is there.
	if err := os.WriteFile(filepath.Join(dir, "file"), []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	b.fake.Script = func(sandbox.Spec) sandboxtest.Script {
		return sandboxtest.Script{Exec: func(_ context.Context, cmd sandbox.Command) (int, error) {
			return 2, errors.Join(cmd.Stdout([]byte("archive")), cmd.Stderr([]byte("tar: secret: Cannot open: Permission denied\n")))
		}}
	}
	partly := b.use(t, key.Runtime, "", 1, 2)[0]
	var got bytes.Buffer
	err := b.ReadFiles(ctx, "", partly.Session, dir, &got)
	if wantCode(t, "partly", err, isolde.CodeInvalid); got.String() != "archive" || !strings.Contains(err.Error(), "secret") {
		t.Errorf("got %q, %v", got.String(), err)
	}

	b.fake.Script = func(sandbox.Spec) sandboxtest.Script {
		return sandboxtest.Script{Exec: func(context.Context, sandbox.Command) (int, error) {
			return -1, isolde.Errorf(isolde.CodeAgent, "no such program").WithCause(sandbox.ErrNotExecutable)
		}}
	}
	bare := b.use(t, key.Runtime, "", 2, 3)[0]
	wantCode(t, "image without tar", b.ReadFiles(ctx, "", bare.Session, dir, io.Discard), isolde.CodeUnsupported)
	b.stop(t, bare)
	wantCode(t, "session that ended", b.WriteFiles(ctx, "", bare.Session, dir, anArchive(t)), isolde.CodeNotFound)
}

func anArchive(t *testing.T) io.Reader {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	if err := w.WriteHeader(&tar.Header{Name: "file", Mode: 0o600, Typeflag: tar.TypeReg}); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return &b
}
