package image

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/isolde-run/isolde"
)

func TestImport(t *testing.T) {
	h, s := newRegistry(t), open(t, Config{})
	ref := h.push(t, "team/agent:1", containerOf(t,
		v1.Config{Entrypoint: []string{"/bin/run"}, Cmd: []string{"-v"}, Env: []string{"A=b", "PATH=/opt/bin"}, WorkingDir: "/srv/app"},
		asLayer(t, archive(t, sized("bin/run", 3)), "gzip"),
		asLayer(t, archive(t, sized("etc/motd", 5)), "zstd"),
		asLayer(t, archive(t, sized("last", 7)), ""),
	))
	var st steps
	img, err := s.Import(t.Context(), ref, st.add)
	if err != nil {
		t.Fatal(err)
	}
	want := Image{
		Digest: img.Digest, Root: img.Root, Command: []string{"/bin/run", "-v"},
		Env: []string{"DOCKER_CONTAINER=1", "HOME=/", "A=b", "PATH=/opt/bin"}, Dir: "/srv/app",
	}
	if diff := cmp.Diff(want, img); diff != "" || img.Root.Host != nil {
		t.Errorf("image (-want +got):\n%s", diff)
	}
	if got := names(t, root(t, img), "."); !slices.Equal(got, []string{"bin/run", "etc/motd", "last"}) {
		t.Errorf("the root holds %v", got)
	}
	for _, dir := range []string{"proc", "sys", "dev", "etc", "tmp", "srv/app"} {
		info, err := fs.Stat(root(t, img), dir)
		if err != nil || !info.IsDir() || (dir == "tmp") != (info.Mode()&0o1000 != 0) {
			t.Errorf("%s: %v, %v", dir, info, err)
		}
	}
	if len(st.all) != 2 || st.all[0].Stage != "artifact" || st.all[0].Cached || !strings.HasPrefix(st.all[0].Message, "pulling 3 layers, 0.0 MB, of "+ref) ||
		st.all[1].Stage != "image" || !strings.HasPrefix(st.all[1].Message, "built sha256:") {
		t.Errorf("progress: %+v", st.all)
	}
	if n := h.asked("/blobs/"); n != 4 {
		t.Errorf("%d blobs were fetched; three layers and a configuration are there", n)
	}

	// Again: nothing is fetched but the manifest.
	st = steps{}
	again, err := s.Import(t.Context(), ref, st.add)
	if err != nil || cmp.Diff(img, again) != "" {
		t.Errorf("again: %+v, %v", again, err)
	}
	if len(st.all) != 2 || !st.all[0].Cached || !st.all[1].Cached {
		t.Errorf("progress: %+v", st.all)
	}
	if n := h.asked("/blobs/"); n != 0 {
		t.Errorf("%d blobs were fetched again", n)
	}
	opened, err := s.Open(t.Context(), img.Digest)
	if err != nil || cmp.Diff(img, opened) != "" {
		t.Errorf("opened: %+v, %v", opened, err)
	}
	// What the store holds is an OCI layout with the image in it.
	other := open(t, Config{})
	if copied := mustImport(t, other, "oci:"+filepath.Join(s.dir, "oci")+"@"+img.Digest); copied.Digest != img.Digest {
		t.Errorf("from the store's own layout: %s, not %s", copied.Digest, img.Digest)
	}
	if folder := isolde.FolderImageURI("hello", img.Digest); mustImport(t, s, folder).Digest != img.Digest {
		t.Errorf("%s is another image", folder)
	}
}

// TestImportSharesLayers: a layer that is kept is not fetched again, in
// whatever form another image has it.
func TestImportSharesLayers(t *testing.T) {
	h, s := newRegistry(t), open(t, Config{})
	base := archive(t, sized("base", 1000))
	mustImport(t, s, h.push(t, "a", containerOf(t, v1.Config{}, asLayer(t, base, "gzip"), asLayer(t, archive(t, sized("a", 1)), "gzip"))))
	ref := h.push(t, "b", containerOf(t, v1.Config{}, asLayer(t, base, "zstd"), asLayer(t, archive(t, sized("b", 1)), "gzip")))
	h.asked("")
	mustImport(t, s, ref)
	if n := h.asked("/blobs/"); n != 2 {
		t.Errorf("%d blobs were fetched; one layer and the configuration are new", n)
	}
}

// TestImportAtOnce: many imports of one image fetch each layer once.
func TestImportAtOnce(t *testing.T) {
	h, s := newRegistry(t), open(t, Config{})
	l := asLayer(t, archive(t, sized("data", 100_000)), "gzip")
	ref := h.push(t, "a", containerOf(t, v1.Config{}, l, asLayer(t, archive(t), "gzip"), asLayer(t, archive(t), "gzip")))
	var group sync.WaitGroup
	for range 6 {
		group.Go(func() { mustImport(t, s, ref) })
	}
	group.Wait()
	digest, _ := l.Digest()
	if n := h.asked(digest.String()); n != 1 {
		t.Errorf("the layer was fetched %d times", n)
	}
}

// TestImportOutlivesAnothers: who waits for a layer that another import fetches
// does not fail with it.
func TestImportOutlivesAnothers(t *testing.T) {
	bad, good, s := newRegistry(t), newRegistry(t), open(t, Config{})
	l := asLayer(t, archive(t, sized("a", 10)), "gzip")
	digest, _ := l.Digest()
	asked := make(chan struct{})
	bad.instead = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, digest.String()) {
			return false
		}
		close(asked)
		waitFor(t, func() bool { return s.waiting(kindContainer) == 2 })
		w.WriteHeader(http.StatusForbidden)
		return true
	}
	img := containerOf(t, v1.Config{}, l)
	badRef, goodRef := bad.push(t, "a", img), good.push(t, "a", img)
	failed := make(chan error, 1)
	go func() {
		_, err := s.Import(t.Context(), badRef, nil)
		failed <- err
	}()
	<-asked
	mustImport(t, s, goodRef)
	refused(t, <-failed, isolde.CodeDenied, bad.name+" answers status 403")
}

func TestImportCredentials(t *testing.T) {
	h, s := newRegistry(t), open(t, Config{})
	secret := &authn.Basic{Username: "ann", Password: "pass-of-ann"}
	h.instead = func(w http.ResponseWriter, r *http.Request) bool {
		if user, password, _ := r.BasicAuth(); user == secret.Username && password == secret.Password {
			return false
		}
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = io.WriteString(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`)
		return true
	}
	ref := h.push(t, "private:1", containerOf(t, v1.Config{}, asLayer(t, archive(t, sized("a", 1)), "gzip")), remote.WithAuth(secret))
	_, err := s.Import(t.Context(), ref, nil)
	refused(t, err, isolde.CodeDenied, "UNAUTHORIZED: authentication required")
	if e := isolde.AsError(err); !strings.Contains(e.Hint, "docker login "+h.name) {
		t.Errorf("hint: %s", e.Hint)
	}
	config := map[string]any{"auths": map[string]any{h.name: map[string]string{
		"auth": base64.StdEncoding.EncodeToString([]byte(secret.Username + ":" + secret.Password)),
	}}}
	b, _ := json.Marshal(config)
	docker := filepath.Join(os.Getenv("DOCKER_CONFIG"), "config.json")
	if err := os.WriteFile(docker, b, 0o600); err != nil {
		t.Fatal(err)
	}
	mustImport(t, s, ref)

	// A credential helper, as cloud registries have them.
	bin := write(t, map[string]string{"!docker-credential-test": "#!/bin/sh\n[ \"$1\" = get ] && echo '{\"Username\":\"ann\",\"Secret\":\"pass-of-ann\"}'\n"})
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	b, _ = json.Marshal(map[string]any{"credHelpers": map[string]string{h.name: "test"}})
	if err := os.WriteFile(docker, b, 0o600); err != nil {
		t.Fatal(err)
	}
	mustImport(t, open(t, Config{}), ref)

	if err := os.WriteFile(docker, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = s.Import(t.Context(), ref, nil)
	refused(t, err, isolde.CodeNotConfigured, "cannot read the credentials for "+h.name)
	if strings.Contains(fmt.Sprint(err), "pass-of-ann") {
		t.Error("the error holds a password")
	}
}

func TestImportPlatforms(t *testing.T) {
	h, s := newRegistry(t), open(t, Config{})
	other := "arm64"
	if runtime.GOARCH == other {
		other = "amd64"
	}
	img := func(file, arch string) v1.Image {
		img := containerOf(t, v1.Config{}, asLayer(t, archive(t, sized(file, 1)), "gzip"))
		config, _ := img.ConfigFile()
		config = config.DeepCopy()
		config.Architecture = arch
		img, err := mutate.ConfigFile(img, config)
		if err != nil {
			t.Fatal(err)
		}
		return img
	}
	platform := func(img mutate.Appendable, os, arch, variant string) mutate.IndexAddendum {
		return mutate.IndexAddendum{Add: img, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: os, Architecture: arch, Variant: variant}}}
	}
	foreign, ours := img("theirs", other), img("ours", runtime.GOARCH)
	index := mutate.AppendManifests(empty.Index,
		platform(foreign, "linux", other, ""), platform(img("windows", runtime.GOARCH), "windows", runtime.GOARCH, ""),
		platform(img("newer", runtime.GOARCH), "linux", runtime.GOARCH, "v3"), platform(ours, "linux", runtime.GOARCH, ""),
		platform(img("signature", ""), "unknown", "unknown", ""))
	got := mustImport(t, s, h.push(t, "many", index))
	if all := names(t, root(t, got), "."); !slices.Equal(all, []string{"ours"}) {
		t.Errorf("of the index: %v", all)
	}
	// An index in an index that tells no platform, as docker save writes them.
	nested := mutate.AppendManifests(empty.Index, mutate.IndexAddendum{Add: index})
	if got := mustImport(t, s, h.push(t, "nested", nested)); !slices.Equal(names(t, root(t, got), "."), []string{"ours"}) {
		t.Error("of the nested index: another")
	}
	want := fmt.Sprintf("has linux/%s only; this machine is linux/%s", other, runtime.GOARCH)
	_, err := s.Import(t.Context(), h.push(t, "foreign", mutate.AppendManifests(empty.Index, platform(foreign, "linux", other, ""))), nil)
	refused(t, err, isolde.CodeInvalid, want)
	_, err = s.Import(t.Context(), h.push(t, "single", foreign), nil)
	refused(t, err, isolde.CodeInvalid, want)
	if e := isolde.AsError(err); e.Hint != "docker buildx build --platform linux/"+runtime.GOARCH {
		t.Errorf("hint: %s", e.Hint)
	}
	if n := h.asked("/blobs/"); n != 1 {
		t.Errorf("%d blobs were fetched of an image for another machine; its configuration must do", n)
	}
}

// TestImportCancelled: what an import that was left leaves are whole layers.
func TestImportCancelled(t *testing.T) {
	h, s := newRegistry(t), open(t, Config{})
	first, second := asLayer(t, archive(t, sized("a", 1)), "gzip"), asLayer(t, archive(t, sized("b", 2_000_000)), "")
	slow, _ := second.Digest()
	stuck, left := make(chan struct{}), make(chan struct{})
	h.instead = func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, slow.String()) {
			return false
		}
		_, _ = w.Write(make([]byte, 100_000))
		_ = http.NewResponseController(w).Flush()
		close(stuck)
		<-r.Context().Done()
		close(left)
		return true
	}
	ref := h.push(t, "a", containerOf(t, v1.Config{}, first, second))
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("somebody stopped it")
	go func() {
		<-stuck
		waitFor(t, func() bool { return len(glob(t, s, "layers")) == 1 })
		cancel(why)
	}()
	if _, err := s.Import(ctx, ref, nil); !errors.Is(err, why) {
		t.Errorf("import: %v", err)
	}
	<-left
	if all := glob(t, s, "images"); len(all) > 0 {
		t.Errorf("left: %v", all)
	}
	h.mu.Lock()
	h.instead = nil
	h.mu.Unlock()
	h.asked("")
	mustImport(t, s, ref)
	if digest, _ := first.Digest(); h.asked(digest.String()) != 0 {
		t.Error("a layer that was there was fetched again")
	}
}

// TestImportCollect: images from containers go as others do, their layers
// after a day.
func TestImportCollect(t *testing.T) {
	h, s := newRegistry(t), open(t, Config{})
	base := asLayer(t, archive(t, sized("base", 1000)), "gzip")
	kept := mustImport(t, s, h.push(t, "a", containerOf(t, v1.Config{}, base)))
	gone := mustImport(t, s, h.push(t, "b", containerOf(t, v1.Config{}, base, asLayer(t, archive(t, sized("b", 5000)), "gzip"))))
	if _, err := s.Collect(t.Context(), []string{kept.Digest}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(t.Context(), gone.Digest); isolde.CodeOf(err) != isolde.CodeNotFound {
		t.Errorf("an image that nobody needs: %v", err)
	}
	if n := len(glob(t, s, "layers")); n != 2 {
		t.Errorf("%d layers are kept; both were used today", n)
	}
	for _, name := range glob(t, s, "layers") {
		old := time.Now().Add(-2 * keepContainer)
		if err := os.Chtimes(name, old, old); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := s.Collect(t.Context(), []string{kept.Digest}); err != nil {
		t.Fatal(err)
	}
	if n := len(glob(t, s, "layers")); n != 1 {
		t.Errorf("%d layers are kept; one is needed", n)
	}
	if all := glob(t, s, "oci/blobs/sha256"); len(all) != 3 {
		t.Errorf("blobs: %v; a manifest, a configuration and a layer are needed", all)
	}
	if _, err := s.Open(t.Context(), kept.Digest); err != nil {
		t.Error(err)
	}
}
