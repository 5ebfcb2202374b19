package image

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/isolde-run/isolde"
)

func TestImportRefuses(t *testing.T) {
	h, s := newRegistry(t), open(t, Config{})
	unused, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	unused.Close()
	none := containerOf(t, v1.Config{Cmd: []string{}}, asLayer(t, archive(t), "gzip"))
	h.push(t, "there:1", containerOf(t, v1.Config{}))
	chart, err := mutate.Append(mutate.ConfigMediaType(empty.Image, "application/vnd.cncf.helm.config.v1+json"))
	if err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		ref, want string
		code      isolde.Code
	}{
		"no reference":  {"https://example.com/agent", `"https://example.com/agent" is no image reference`, isolde.CodeInvalid},
		"upper case":    {h.name + "/Agent", "is no image reference", isolde.CodeInvalid},
		"empty":         {"", `"" is no image reference`, isolde.CodeInvalid},
		"no tag":        {h.name + "/there:2", h.name + "/there:2: " + h.name + " answers MANIFEST_UNKNOWN", isolde.CodeNotFound},
		"no repository": {h.name + "/nowhere", "answers NAME_UNKNOWN", isolde.CodeNotFound},
		"no registry":   {unused.Addr().String() + "/agent", unused.Addr().String() + " refuses connections", isolde.CodeUnavailable},
		"no command":    {h.push(t, "nothing", none), "ENTRYPOINT and CMD are both empty", isolde.CodeInvalid},
		"no image":      {h.push(t, "chart", chart), "no container image but application/vnd.cncf.helm.config.v1+json", isolde.CodeInvalid},
		"zero byte":     {h.push(t, "zero", containerOf(t, v1.Config{Env: []string{"A=\x00"}})), "zero byte", isolde.CodeInvalid},
		"a folder that is gone": {
			isolde.FolderImageURI("hello", "sha256:"+strings.Repeat("0", 64)), "isolde.invalid/hello@sha256:000", isolde.CodeNotFound,
		},
		"a folder without a digest": {"isolde.invalid/hello@sha256:12", "must end with @sha256:", isolde.CodeInvalid},
	} {
		t.Run(what, func(t *testing.T) {
			_, err := s.Import(t.Context(), c.ref, nil)
			refused(t, err, c.code, c.want)
		})
	}
}

// TestExplain tells what cannot be tried on loopback.
func TestExplain(t *testing.T) {
	ref, err := name.ParseReference("registry.example/agent:1")
	if err != nil {
		t.Fatal(err)
	}
	r := &registry{ref: ref}
	for _, c := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("get: %w", &net.DNSError{Err: "no such host", Name: "registry.example"}), "the host registry.example is not found"},
		{errors.New("tls: failed to verify certificate: x509: certificate signed by unknown authority"), "x509: certificate signed by unknown authority"},
		{errors.New("http: server gave HTTP response to HTTPS client"), "HTTP response to HTTPS client"},
		{errors.New(strings.Repeat("long ", 1000) + "\nsecond line"), "long long"},
	} {
		err := r.explain(t.Context(), c.err)
		refused(t, err, isolde.CodeUnavailable, c.want)
		if n := len(isolde.AsError(err).Message); n > 300 {
			t.Errorf("a message of %d bytes", n)
		}
	}
}

// TestImportSizes: what is too large is refused before it is fetched, or as
// soon as too much of it came.
func TestImportSizes(t *testing.T) {
	zeros := make([]byte, 3_000_000)
	var bomb bytes.Buffer
	w := gzip.NewWriter(&bomb)
	_, _ = w.Write(zeros)
	_ = w.Close()
	small := limits{packed: 100_000, unpacked: 1_000_000, entries: 100, layers: 3, stall: time.Minute}
	for what, c := range map[string]struct {
		layers []v1.Layer
		want   string
		asks   int // for layers
		kept   int // layers that another import can use; -1: one or none
	}{
		"packed":   {[]v1.Layer{asLayer(t, zeros[:60_000], ""), asLayer(t, zeros[:50_000], "")}, "has 0.1 MB in its layers; at most 0.1 MB are allowed, compressed", 0, 0},
		"layers":   {[]v1.Layer{asLayer(t, archive(t), ""), asLayer(t, archive(t), ""), asLayer(t, archive(t), ""), asLayer(t, archive(t), "")}, "has 4 layers; at most 3", 0, 0},
		"unpacked": {[]v1.Layer{asLayer(t, zeros, "gzip")}, "unpacks to more than 1.0 MB", 1, 0},
		"zstd":     {[]v1.Layer{asLayer(t, zeros, "zstd")}, "unpacks to more than 1.0 MB", 1, 0},
		"together": {[]v1.Layer{asLayer(t, zeros[:600_000], "gzip"), asLayer(t, zeros[:600_001], "gzip")}, "unpacks to more than 1.0 MB", 2, -1},
		"repeated": {[]v1.Layer{asLayer(t, archive(t, sized("a", 600_000)), "gzip"), asLayer(t, archive(t, sized("a", 600_000)), "gzip")}, "unpacks to more than 1.0 MB", 1, 1},
		"entries":  {[]v1.Layer{asLayer(t, archive(t, sized(strings.Repeat("d/", 101)+"f", 1), sized("b", 1)), "gzip")}, "more than 100 files", 1, 1},
	} {
		t.Run(what, func(t *testing.T) {
			h, s := newRegistry(t), open(t, Config{})
			s.limits = small
			ref := h.push(t, "large", containerOf(t, v1.Config{}, c.layers...))
			_, err := s.Import(t.Context(), ref, nil)
			refused(t, err, isolde.CodeInvalid, c.want)
			if n := h.asked("/blobs/"); n != c.asks+1 {
				t.Errorf("%d blobs were fetched, want %d and the configuration", n, c.asks)
			}
			if n := len(glob(t, s, "layers")); c.kept >= 0 && n != c.kept {
				t.Errorf("%d layers are kept, want %d", n, c.kept)
			}
		})
	}
}

// TestImportSizesOfKeptLayers: what is there already counts.
func TestImportSizesOfKeptLayers(t *testing.T) {
	h, s := newRegistry(t), open(t, Config{})
	s.limits.unpacked = 1_000_000
	base, top := asLayer(t, archive(t, sized("a", 600_000)), "gzip"), asLayer(t, archive(t, sized("b", 600_000)), "gzip")
	mustImport(t, s, h.push(t, "base", containerOf(t, v1.Config{}, base)))
	_, err := s.Import(t.Context(), h.push(t, "top", containerOf(t, v1.Config{}, base, top)), nil)
	refused(t, err, isolde.CodeInvalid, "unpacks to more than 1.0 MB")
	if n := len(glob(t, s, "layers")); n != 1 {
		t.Errorf("%d layers are kept, want the first", n)
	}
}

// TestImportDamage: bytes that are not what their digests say are not kept.
func TestImportDamage(t *testing.T) {
	plain := archive(t, sized("a", 10_000))
	good, other := asLayer(t, plain, "gzip"), asLayer(t, archive(t, sized("b", 10_000)), "gzip")
	goodID, _ := good.DiffID()
	digest, _ := good.Digest()
	packed, _ := good.Compressed()
	bytesOf, _ := io.ReadAll(packed)
	otherPacked, _ := other.Compressed()
	otherBytes, _ := io.ReadAll(otherPacked)
	repacked := bytes.Clone(bytesOf)
	repacked[4]++ // the time in gzip's header
	for what, c := range map[string]struct {
		answer []byte // to the request for the layer
		layer  v1.Layer
		want   string
		code   isolde.Code
	}{
		"other bytes":  {append(bytes.Clone(bytesOf[:len(bytesOf)-1]), 'x'), good, "layer 1 of", isolde.CodeInvalid},
		"repacked":     {repacked, good, "its bytes are those of sha256:", isolde.CodeInvalid},
		"another":      {otherBytes, good, "broke off in layer 1 of", isolde.CodeUnavailable},
		"too short":    {bytesOf[:len(bytesOf)-5], good, "broke off in layer 1 of", isolde.CodeUnavailable},
		"too long":     {append(bytes.Clone(bytesOf), bytesOf...), good, "more bytes than its manifest says", isolde.CodeInvalid},
		"wrong diffID": {nil, packedLayer{other, goodID}, "and the image's configuration says " + goodID.String(), isolde.CodeInvalid},
		"not gzip":     {nil, packedLayer{asLayer(t, append([]byte{0x1f, 0x8b}, plain...), ""), goodID}, "layer 1 of", isolde.CodeInvalid},
	} {
		t.Run(what, func(t *testing.T) {
			h, s := newRegistry(t), open(t, Config{})
			ref := h.push(t, "agent", containerOf(t, v1.Config{}, c.layer))
			h.instead = func(w http.ResponseWriter, r *http.Request) bool {
				if c.answer != nil && strings.HasSuffix(r.URL.Path, digest.String()) {
					_, _ = w.Write(c.answer)
					return true
				}
				return false
			}
			_, err := s.Import(t.Context(), ref, nil)
			refused(t, err, c.code, c.want)
			if left := append(glob(t, s, "layers"), glob(t, s, "oci/blobs/sha256")...); len(left) > 0 {
				t.Errorf("left: %v", left)
			}
		})
	}
}

// TestImportDownloadBreaksOff: the layers that came are not fetched again.
func TestImportDownloadBreaksOff(t *testing.T) {
	h, s := newRegistry(t), open(t, Config{})
	first, second := asLayer(t, archive(t, sized("a", 10)), "gzip"), asLayer(t, archive(t, sized("b", 1_000_000)), "")
	cut, _ := second.Digest()
	h.instead = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, cut.String()) {
			return false
		}
		waitFor(t, func() bool { return len(glob(t, s, "layers")) == 1 })
		w.Header().Set("Content-Length", "1000000")
		_, _ = w.Write(make([]byte, 500_000))
		panic(http.ErrAbortHandler)
	}
	ref := h.push(t, "agent", containerOf(t, v1.Config{}, first, second))
	_, err := s.Import(t.Context(), ref, nil)
	refused(t, err, isolde.CodeUnavailable, "pulling broke off in layer 2 of "+ref)
	h.mu.Lock()
	h.instead = nil
	h.mu.Unlock()
	h.asked("")
	mustImport(t, s, ref)
	if n := h.asked("/blobs/"); n != 2 {
		t.Errorf("%d blobs were fetched; one layer was missing, and the configuration", n)
	}
}

// TestImportStalls: a registry that sends nothing more does not hold a build.
func TestImportStalls(t *testing.T) {
	h, s := newRegistry(t), open(t, Config{})
	s.limits.stall = 200 * time.Millisecond
	l := asLayer(t, archive(t, sized("a", 100_000)), "")
	digest, _ := l.Digest()
	left := make(chan struct{})
	h.instead = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, digest.String()) {
			return false
		}
		_, _ = w.Write(make([]byte, 1000))
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		close(left)
		return true
	}
	_, err := s.Import(t.Context(), h.push(t, "agent", containerOf(t, v1.Config{}, l)), nil)
	refused(t, err, isolde.CodeUnavailable, "nothing came for too long")
	<-left
}

// TestImportBadConfig takes configurations and manifests that do not fit.
func TestImportBadConfig(t *testing.T) {
	h, s := newRegistry(t), open(t, Config{})
	l := asLayer(t, archive(t, sized("a", 1)), "gzip")
	img := containerOf(t, v1.Config{}, l)
	raw, _ := img.RawManifest()
	ref := h.push(t, "agent", img)
	for what, c := range map[string]struct {
		manifest string
		want     string
	}{
		"no JSON":       {"<html>", "manifest that is no JSON"},
		"schema 1":      {`{"schemaVersion":1,"name":"agent"}`, "schema 1"},
		"no layers":     {change(t, raw, func(m *v1.Manifest) { m.Layers = nil }), "has 0 layers, but its configuration tells of 1"},
		"negative size": {change(t, raw, func(m *v1.Manifest) { m.Layers[0].Size = -1 }), "a layer of -1 bytes"},
		"huge size":     {change(t, raw, func(m *v1.Manifest) { m.Layers[0].Size = 1 << 62 }), "at most 2000.0 MB are allowed"},
		"sha512":        {change(t, raw, func(m *v1.Manifest) { m.Layers[0].Digest = v1.Hash{Algorithm: "sha512", Hex: strings.Repeat("0", 128)} }), `kind "sha512"`},
		"no digest":     {`{"schemaVersion":2,"config":{"mediaType":"` + string(types.OCIConfigJSON) + `"},"layers":[]}`, `kind ""`},
	} {
		t.Run(what, func(t *testing.T) {
			h.instead = func(w http.ResponseWriter, r *http.Request) bool {
				if strings.Contains(r.URL.Path, "/manifests/") {
					_, _ = io.WriteString(w, c.manifest)
					return true
				}
				return false
			}
			_, err := s.Import(t.Context(), ref, nil)
			refused(t, err, isolde.CodeInvalid, c.want)
		})
	}
}

func change(t *testing.T, raw []byte, do func(*v1.Manifest)) string {
	t.Helper()
	m, err := v1.ParseManifest(bytes.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	do(m)
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
