package sandboxtest

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/sandbox/sandboxtest/order"
)

// withVolume adds a volume to a spec, whose file is in the state folder.
func (b *bench) withVolume(spec sandbox.Spec, name string) sandbox.Spec {
	return addVolume(spec, b.state, name)
}

func addVolume(spec sandbox.Spec, dir, name string) sandbox.Spec {
	spec.Volumes = append(spec.Volumes, sandbox.Volume{Path: "/mnt/" + name, File: filepath.Join(dir, name+".volume"), Bytes: 32 << 20})
	return spec
}

func testVolume(t *testing.T, b *bench) {
	if why := b.driver.Capabilities().Volumes; why != nil {
		if _, err := b.driver.Start(t.Context(), b.withVolume(b.spec(t), "data")); isolde.CodeOf(err) != isolde.CodeUnsupported {
			t.Errorf("start with a volume: %v; the driver has none: %v", err, why)
		}
		return
	}
	p := b.start(t, b.withVolume(b.spec(t), "data"))
	if got := p.do(t, order.Order{Do: "list", Path: "/mnt/data"}).Value; got != "" {
		t.Errorf("a new volume holds %q", got)
	}
	p.do(t, order.Order{Do: "write", Path: "/mnt/data/note.txt", Value: "kept"})
	p.do(t, order.Order{Do: "link", Path: "/mnt/data/link", Value: "note.txt"})
	if got, err := p.try(order.Order{Do: "disk", Path: "/mnt/data/large", Count: 64 << 20}); err != nil || !strings.Contains(got.Error, "no space left") {
		t.Errorf("wrote 64 MiB: %+v, %v; the volume holds 32 MiB", got, err)
	}
	p.do(t, order.Order{Do: "remove", Path: "/mnt/data/large"})
	if got := p.do(t, order.Order{Do: "disk", Path: "/mnt/data/fits", Count: 30 << 20}); got.Error != "" {
		t.Errorf("30 MiB do not fit in a volume of 32: %s", got.Error)
	}

	// Not two at once: each would damage what the other writes.
	if b.driver.Capabilities().MaxSandboxes != 1 {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if s, err := b.driver.Start(ctx, b.withVolume(b.spec(t), "data")); err == nil {
			b.peer(t, s, p.spec)
			t.Error("two sandboxes have one volume")
		}
		other := b.start(t, b.withVolume(b.spec(t), "other"))
		if got := other.do(t, order.Order{Do: "list", Path: "/mnt/other"}).Value; got != "" {
			t.Errorf("another volume holds %q", got)
		}
		if got, err := other.try(order.Order{Do: "list", Path: "/mnt/data"}); err != nil || got.Error == "" {
			t.Errorf("another sandbox sees %q, %v", got.Value, err)
		}
		other.stop(t, b, 0)
	}

	// A new server carries on; the end comes without a warning.
	p = b.recovered(t, p.spec)
	p.do(t, order.Order{Do: "write", Path: "/mnt/data/later.txt", Value: "kept, too"})
	p.stop(t, b, 0)
	p = b.start(t, b.withVolume(b.spec(t), "data"))
	for path, want := range map[string]string{"link": "kept", "later.txt": "kept, too"} {
		if got := p.do(t, order.Order{Do: "read", Path: "/mnt/data/" + path}).Value; got != want {
			t.Errorf("%s holds %q, want %q", path, got, want)
		}
	}
	if got := p.do(t, order.Order{Do: "list", Path: "/mnt/data"}).Value; got != "fits later.txt link note.txt" {
		t.Errorf("the volume holds %q", got)
	}
	p.do(t, order.Order{Do: "exit", Code: 0})
	p.waitExit(t)
	p.stop(t, b, time.Second)
}

func testMounts(t *testing.T, b *bench) {
	host := TempDir(t)
	if err := os.Chmod(host, 0o755); err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{"secret": "of the host", "open/model": "weights", "open/box/note": "in a box"} {
		path = filepath.Join(host, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	// The agent may do what others may, since none of it is its own.
	shared := filepath.Join(host, "open", "box")
	if err := errors.Join(os.Chmod(shared, 0o777), os.Chmod(filepath.Join(shared, "note"), 0o666)); err != nil {
		t.Fatal(err)
	}
	for name, to := range map[string]string{"out": host, "in": "box"} {
		if err := os.Symlink(to, filepath.Join(host, "open", name)); err != nil {
			t.Fatal(err)
		}
	}
	open := filepath.Join(host, "open")
	spec := b.spec(t)
	spec.Mounts = []sandbox.Mount{
		{Path: "/mnt/models", Root: open, Folder: ".", ReadOnly: true},
		{Path: "/mnt/box", Root: open, Folder: "in"},
	}
	if why := b.driver.Capabilities().Mounts; why != nil {
		if _, err := b.driver.Start(t.Context(), spec); isolde.CodeOf(err) != isolde.CodeUnsupported {
			t.Errorf("start with mounts: %v; the driver has none: %v", err, why)
		}
		return
	}
	p := b.start(t, spec)
	if got := p.do(t, order.Order{Do: "read", Path: "/mnt/models/model"}).Value; got != "weights" {
		t.Errorf("read %q", got)
	}
	if got, err := p.try(order.Order{Do: "write", Path: "/mnt/models/box/note", Value: "changed"}); err != nil || !strings.Contains(got.Error, "read-only") {
		t.Errorf("wrote to a read-only mount: %+v, %v", got, err)
	}
	p.do(t, order.Order{Do: "write", Path: "/mnt/box/note", Value: "changed"})
	if got, err := os.ReadFile(filepath.Join(shared, "note")); err != nil || string(got) != "changed" {
		t.Errorf("the host reads %q, %v", got, err)
	}
	// Both sides see what the other does.
	if err := os.WriteFile(filepath.Join(shared, "more"), []byte("later"), 0o644); err != nil {
		t.Fatal(err)
	}
	if got := p.do(t, order.Order{Do: "read", Path: "/mnt/box/more"}).Value; got != "later" {
		t.Errorf("read %q", got)
	}
	if b.driver.Capabilities().Isolated {
		for _, path := range []string{"/mnt/models/out/secret", "/mnt/models/../../" + host + "/secret", "/mnt/box/../secret"} {
			if got, err := p.try(order.Order{Do: "read", Path: path}); err != nil || got.Error == "" {
				t.Errorf("read %q, %v from %s", got.Value, err, path)
			}
		}
		p.do(t, order.Order{Do: "link", Path: "/mnt/box/escape", Value: filepath.Join(host, "secret")})
		if got, err := p.try(order.Order{Do: "read", Path: "/mnt/box/escape"}); err != nil || got.Error == "" {
			t.Errorf("read %q, %v through a link of its own", got.Value, err)
		}
	}
	p.stop(t, b, 0)

	// A link that leads out is no way in.
	spec = b.spec(t)
	spec.Mounts = []sandbox.Mount{{Path: "/mnt/out", Root: open, Folder: "out"}}
	if s, err := b.driver.Start(t.Context(), spec); err == nil {
		b.peer(t, s, spec)
		t.Error("mounted a folder that is outside of what is allowed")
	}
	b.checkGone(t, spec.ID)
}
