package image_test

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/image"
	"github.com/isolde-run/isolde/internal/need"
	"github.com/isolde-run/isolde/network"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/sandbox/gvisor"
	"github.com/isolde-run/isolde/sandbox/sandboxtest"
	"github.com/isolde-run/isolde/sandbox/sandboxtest/order"
)

// TestImportedImagesRun pushes images to a registry, imports and runs them.
func TestImportedImagesRun(t *testing.T) {
	runsc := need.GVisor(t)
	state := sandboxtest.TempDir(t)
	router, err := network.Open(t.Context(), network.Config{Name: "import-test", Dir: filepath.Join(state, "net")})
	if err != nil {
		t.Fatal(err)
	}
	defer router.Close()
	driver, err := gvisor.Open(t.Context(), gvisor.Config{StateDir: filepath.Join(state, "s"), Runsc: runsc, Router: router})
	if err != nil {
		t.Fatal(err)
	}
	defer driver.Close()
	store, err := image.Open(image.Config{Dir: filepath.Join(state, "images")})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	hub := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer hub.Close()
	executable, err := os.ReadFile(sandboxtest.BuildAgent(t))
	if err != nil {
		t.Fatal(err)
	}

	run := func(t *testing.T, config v1.Config, layers ...[]byte) (ask func(order.Order) (order.Reply, error)) {
		img, err := store.Import(t.Context(), push(t, hub, config, layers), nil)
		if err != nil {
			t.Fatal(err)
		}
		s, err := driver.Start(t.Context(), sandbox.Spec{
			ID: sandbox.NewID(), Root: img.Root, Command: img.Command, Env: img.Env, Dir: img.Dir, UID: img.UID, GID: img.GID,
			Ports: []int{8080}, Network: isolde.Network{Egress: isolde.EgressNone}, LogFile: filepath.Join(t.TempDir(), "log"),
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := s.Stop(context.Background(), 0); err != nil {
				t.Error(err)
			}
		})
		waitForPing(t, s)
		return func(o order.Order) (order.Reply, error) { return invoke(t, s, o) }
	}

	t.Run("user", func(t *testing.T) {
		ask := run(t, v1.Config{User: "ann", WorkingDir: "/srv/app", Entrypoint: []string{"./agent"}, Cmd: []string{"--flag"}, Env: []string{"GREETING=hi"}},
			layer(t, entry{name: "etc/passwd", data: "root:x:0:0::/root:/bin/sh\nann:x:1001:1002::/home/ann:/bin/sh\n"},
				entry{name: "srv/app/agent", data: string(executable), mode: 0o755}, entry{name: "gone", data: "x"},
				entry{name: "home/ann/", owner: 1001, mode: 0o700}, entry{name: "tmp/", mode: 0o755}),
			layer(t, entry{name: ".wh.gone"}, entry{name: "srv/app/mine", data: "for ann", mode: 0o400, owner: 1001},
				entry{name: "srv/app/locked", data: "for nobody", mode: 0o001}, entry{name: "linked", link: "srv/app/mine"}))
		reply, err := ask(order.Order{Do: "info"})
		if err != nil {
			t.Fatal(err)
		}
		in := reply.Info
		if in.UID != 1001 || in.GID != 1002 || in.Dir != "/srv/app" || !slices.Equal(in.Args, []string{"./agent", "--flag"}) {
			t.Errorf("runs as %d:%d in %s with %q", in.UID, in.GID, in.Dir, in.Args)
		}
		for _, kv := range []string{"HOME=/home/ann", "GREETING=hi", "DOCKER_CONTAINER=1"} {
			if !slices.Contains(in.Env, kv) {
				t.Errorf("%s is not in its environment %q", kv, in.Env)
			}
		}
		expect(t, ask, "read", "mine", "for ann")
		expect(t, ask, "read", "/linked", "for ann")
		expect(t, ask, "write", "/home/ann/new", "")
		expect(t, ask, "write", "/tmp/new", "")
		for _, wrong := range []order.Order{{Do: "read", Path: "locked"}, {Do: "read", Path: "/gone"}, {Do: "write", Path: "/srv/app/new"}} {
			if reply, err := ask(wrong); err == nil {
				t.Errorf("%s %s: %q", wrong.Do, wrong.Path, reply.Value)
			}
		}
	})

	t.Run("root from scratch", func(t *testing.T) {
		ask := run(t, v1.Config{Cmd: []string{"/agent"}}, layer(t, entry{name: "agent", data: string(executable), mode: 0o755},
			entry{name: "locked", data: "for root", mode: 0o001, owner: 5}, entry{name: "tmp", link: "/var/scratch", symbolic: true}))
		reply, err := ask(order.Order{Do: "info"})
		if err != nil {
			t.Fatal(err)
		}
		if in := reply.Info; in.UID != 0 || in.GID != 0 || in.Dir != "/" || len(in.PIDs) == 0 {
			t.Errorf("as root: %+v", in)
		}
		expect(t, ask, "read", "/locked", "for root")
		expect(t, ask, "write", "/new", "")
		expect(t, ask, "write", "/tmp/new", "")
		expect(t, ask, "write", "/dev/null", "")
		if reply, err := ask(order.Order{Do: "read", Path: "/etc/hosts"}); err != nil || !strings.Contains(reply.Value, "localhost") {
			t.Errorf("/etc/hosts: %q, %v", reply.Value, err)
		}
	})
}

// entry is what a layer holds: a file, a folder if its name ends in a slash, or a link.
type entry struct {
	name, data, link string
	symbolic         bool
	mode             int64 // 0: 0644
	owner            int
}

func layer(t *testing.T, entries ...entry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		h := &tar.Header{Name: e.name, Typeflag: tar.TypeReg, Mode: e.mode, Uid: e.owner, Gid: e.owner, Size: int64(len(e.data)), Linkname: e.link}
		switch {
		case e.symbolic:
			h.Typeflag = tar.TypeSymlink
		case e.link != "":
			h.Typeflag = tar.TypeLink
		case strings.HasSuffix(e.name, "/"):
			h.Typeflag = tar.TypeDir
		}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, e.data); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// push puts an image into a registry and returns its reference.
func push(t *testing.T, hub *httptest.Server, config v1.Config, layers [][]byte) string {
	t.Helper()
	img := empty.Image
	for _, b := range layers {
		l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b)), nil })
		if err != nil {
			t.Fatal(err)
		}
		if img, err = mutate.AppendLayers(img, l); err != nil {
			t.Fatal(err)
		}
	}
	file, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", runtime.GOARCH, config
	if img, err = mutate.ConfigFile(img, file); err != nil {
		t.Fatal(err)
	}
	ref, err := name.ParseReference(strings.TrimPrefix(hub.URL, "http://") + "/agents/" + strings.ToLower(filepath.Base(t.Name())) + ":1")
	if err != nil {
		t.Fatal(err)
	}
	connections := &http.Transport{}
	defer connections.CloseIdleConnections()
	if err := remote.Write(ref, img, remote.WithTransport(connections)); err != nil {
		t.Fatal(err)
	}
	return ref.String()
}

func agentClient(s sandbox.Sandbox) *http.Client {
	return &http.Client{Timeout: time.Minute, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return s.Dial(ctx, 8080) },
	}}
}

func waitForPing(t *testing.T, s sandbox.Sandbox) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		resp, err := agentClient(s).Get("http://agent/ping")
		if err == nil {
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK {
				t.Errorf("ping: %s", resp.Status)
			}
			return
		}
		select {
		case <-s.Done():
			t.Fatalf("the agent %s", s.Exit())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatalf("ping: %v", err)
		}
	}
}

func invoke(t *testing.T, s sandbox.Sandbox, o order.Order) (reply order.Reply, err error) {
	t.Helper()
	body, err := json.Marshal(o)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := agentClient(s).Post("http://agent/invocations", "application/json", bytes.NewReader(body))
	if err != nil {
		return reply, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(resp.Body).Decode(&reply); err != nil {
		return reply, err
	}
	if reply.Error != "" {
		err = errors.New(reply.Error)
	}
	return reply, err
}

func expect(t *testing.T, ask func(order.Order) (order.Reply, error), do, path, want string) {
	t.Helper()
	if reply, err := ask(order.Order{Do: do, Path: path, Value: "x"}); err != nil || reply.Value != want {
		t.Errorf("%s %s: %q, %v", do, path, reply.Value, err)
	}
}
