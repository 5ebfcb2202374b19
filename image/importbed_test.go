package image

import (
	"bytes"
	"compress/gzip"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	registrytest "github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"
)

// host is a registry on loopback, which notes what is asked of it.
type host struct {
	*httptest.Server
	name string // HOST:PORT

	mu   sync.Mutex
	asks []string // "GET /v2/…", without pings
	// instead answers before the registry does, if it is set and wants to.
	instead func(w http.ResponseWriter, r *http.Request) (answered bool)
}

func newRegistry(t *testing.T) *host {
	t.Helper()
	t.Setenv("DOCKER_CONFIG", t.TempDir())
	h := &host{}
	inner := registrytest.New(registrytest.Logger(log.New(io.Discard, "", 0)))
	h.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h.mu.Lock()
		if r.URL.Path != "/v2/" {
			h.asks = append(h.asks, r.Method+" "+r.URL.Path)
		}
		instead := h.instead
		h.mu.Unlock()
		if instead != nil && instead(w, r) {
			return
		}
		inner.ServeHTTP(w, r)
	}))
	t.Cleanup(h.Close)
	h.name = strings.TrimPrefix(h.URL, "http://")
	return h
}

// asked counts requests whose path holds text, and forgets them.
func (h *host) asked(text string) (n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, a := range h.asks {
		if strings.Contains(a, text) {
			n++
		}
	}
	h.asks = nil
	return n
}

// push puts an image or index under a name and returns its reference.
func (h *host) push(t *testing.T, repo string, what remote.Taggable, options ...remote.Option) string {
	t.Helper()
	ref, err := name.ParseReference(h.name + "/" + repo)
	if err != nil {
		t.Fatal(err)
	}
	// A transport of the push's own, so that no connection of it stays.
	connections := &http.Transport{}
	defer connections.CloseIdleConnections()
	switch what := what.(type) {
	case v1.ImageIndex:
		err = remote.WriteIndex(ref, what, append(options, remote.WithTransport(connections))...)
	case v1.Image:
		err = remote.Write(ref, what, append(options, remote.WithTransport(connections))...)
	}
	if err != nil {
		t.Fatal(err)
	}
	h.asked("")
	return ref.String()
}

// containerOf makes an image for this machine of layers, lowest first, which runs
// /agent unless config says otherwise.
func containerOf(t *testing.T, config v1.Config, layers ...v1.Layer) v1.Image {
	t.Helper()
	if config.Cmd == nil && config.Entrypoint == nil {
		config.Cmd = []string{"/agent"}
	}
	var add []mutate.Addendum
	for _, l := range layers {
		add = append(add, mutate.Addendum{Layer: l})
	}
	img, err := mutate.Append(empty.Image, add...)
	if err != nil {
		t.Fatal(err)
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
	return img
}

// packedLayer is a layer as a registry has it.
type packedLayer struct {
	v1.Layer
	diffID v1.Hash
}

func (p packedLayer) DiffID() (v1.Hash, error) { return p.diffID, nil }

// asLayer makes a layer of a tar: "gzip", "zstd", or as it is.
func asLayer(t *testing.T, plain []byte, compression string) v1.Layer {
	t.Helper()
	id, _, err := v1.SHA256(bytes.NewReader(plain))
	if err != nil {
		t.Fatal(err)
	}
	var b bytes.Buffer
	kind := types.OCIUncompressedLayer
	switch compression {
	case "gzip":
		kind = types.OCILayer
		w := gzip.NewWriter(&b)
		_, _ = w.Write(plain)
		err = w.Close()
	case "zstd":
		kind = types.OCILayerZStd
		w, _ := zstd.NewWriter(&b)
		_, _ = w.Write(plain)
		err = w.Close()
	default:
		b.Write(plain)
	}
	if err != nil {
		t.Fatal(err)
	}
	return packedLayer{static.NewLayer(b.Bytes(), kind), id}
}

func mustImport(t *testing.T, s *Store, ref string) Image {
	t.Helper()
	img, err := s.Import(t.Context(), ref, nil)
	if err != nil {
		t.Fatalf("import %s: %v", ref, err)
	}
	return img
}

func glob(t *testing.T, s *Store, folder string) []string {
	t.Helper()
	all, err := filepath.Glob(filepath.Join(s.dir, folder, "*"))
	if err != nil {
		t.Error(err)
	}
	return all
}
