package image

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"golang.org/x/sys/unix"

	"github.com/isolde-run/isolde"
)

// saved writes an archive as docker save does, of images by their tags.
func saved(t *testing.T, images map[string]v1.Image) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "saved.tar")
	byTag := map[name.Tag]v1.Image{}
	for tag, img := range images {
		ref, err := name.NewTag(tag)
		if err != nil {
			t.Fatal(err)
		}
		byTag[ref] = img
	}
	if err := tarball.MultiWriteToFile(file, byTag); err != nil {
		t.Fatal(err)
	}
	return file
}

// laidOut writes an OCI layout of images by their tags.
func laidOut(t *testing.T, images map[string]v1.Image) string {
	t.Helper()
	dir := t.TempDir()
	p, err := layout.Write(dir, empty.Index)
	if err != nil {
		t.Fatal(err)
	}
	for tag, img := range images {
		if err := p.AppendImage(img, layout.WithAnnotations(map[string]string{nameAnnotation: tag})); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestImportOneImageFromAll: an image is the same wherever it comes from.
func TestImportOneImageFromAll(t *testing.T) {
	h, s := newRegistry(t), open(t, Config{})
	one := containerOf(t, v1.Config{User: "7"}, asLayer(t, archive(t, sized("one", 10)), "gzip"), asLayer(t, archive(t, sized("more", 1)), "gzip"))
	two := containerOf(t, v1.Config{}, asLayer(t, archive(t, sized("two", 10)), "zstd"), asLayer(t, archive(t, sized("last", 1)), ""))
	want := mustImport(t, s, h.push(t, "one", one))
	digest, _ := one.Digest()
	file := saved(t, map[string]v1.Image{"team/one:1": one})
	dir, both := laidOut(t, map[string]v1.Image{"1": one}), laidOut(t, map[string]v1.Image{"docker.io/team/one:1": one, "2": two})
	for _, ref := range []string{
		"docker-archive:" + file, "docker-archive:" + file + ":team/one:1", "docker-archive:" + file + ":1",
		"oci:" + dir, "oci:" + dir + ":1", "oci:" + dir + "@" + digest.String(),
		"oci:" + both + ":1", "oci:" + both + ":team/one:1", "oci:" + both + ":docker.io/team/one:1",
	} {
		fresh := open(t, Config{})
		var st steps
		got, err := fresh.Import(t.Context(), ref, st.add)
		if err != nil || got.Digest != want.Digest || got.UID != 7 {
			t.Errorf("%s: %s as %d, %v; want %s", ref, got.Digest, got.UID, err, want.Digest)
			continue
		}
		if !slices.Equal(names(t, root(t, got), "."), []string{"more", "one"}) {
			t.Errorf("%s: holds %v", ref, names(t, root(t, got), "."))
		}
		if st.saying("reading 2 layers, 0.0 MB, of "+ref) != 1 {
			t.Errorf("%s: progress %v", ref, st.all)
		}
	}
	if got := mustImport(t, s, "oci:"+both+":2"); !slices.Equal(names(t, root(t, got), "."), []string{"last", "two"}) {
		t.Errorf("the other image holds %v", names(t, root(t, got), "."))
	}
}

// TestImportOldArchive takes an archive whose layers are links, as older
// versions of docker save write them.
func TestImportOldArchive(t *testing.T) {
	s := open(t, Config{})
	plain := archive(t, sized("a", 5))
	id, _, _ := v1.SHA256(bytes.NewReader(plain))
	config, _ := json.Marshal(v1.ConfigFile{OS: "linux", RootFS: v1.RootFS{DiffIDs: []v1.Hash{id, id}}, Config: v1.Config{Cmd: []string{"/a"}}})
	manifest, _ := json.Marshal([]savedImage{{Config: "c.json", Layers: []string{"1/layer.tar", "2/layer.tar"}}})
	file := filepath.Join(t.TempDir(), "old.tar")
	if err := os.WriteFile(file, tarOf(t, text("1/layer.tar", string(plain)), special('2', "2/layer.tar", "../1/layer.tar"),
		text("c.json", string(config)), text("manifest.json", string(manifest))), 0o600); err != nil {
		t.Fatal(err)
	}
	mustImport(t, s, "docker-archive:"+file)
}

func TestImportRefusesFiles(t *testing.T) {
	s := open(t, Config{})
	img := func(file string) v1.Image {
		return containerOf(t, v1.Config{}, asLayer(t, archive(t, sized(file, 1)), "gzip"))
	}
	many := map[string]v1.Image{"team/one:1": img("one"), "team/two:2": img("two")}
	archiveOfTwo, layoutOfTwo := saved(t, many), laidOut(t, many)
	dir := write(t, map[string]string{
		"text": "hello", "empty/": "", "bad/index.json": "{", "none/index.json": `{"schemaVersion":2,"manifests":[]}`,
		"oci.tar": string(tarOf(t, text("index.json", "{}"))), "gone.tar": string(tarOf(t, text("manifest.json", `[{"Config":"c","Layers":["l"]}]`))),
		"no.tar": string(tarOf(t, text("a", "b"))), "loop.tar": string(tarOf(t, special('2', "manifest.json", "manifest.json"))),
		"bad.tar": string(tarOf(t, text("manifest.json", "root:x:0:0"))),
	})
	var zipped bytes.Buffer
	w := gzip.NewWriter(&zipped)
	_ = w.Close()
	if err := os.WriteFile(dir+"/zipped.tar", zipped.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mkfifo(dir+"/pipe", 0o600); err != nil {
		t.Fatal(err)
	}
	for ref, c := range map[string]struct {
		want string
		code isolde.Code
	}{
		"oci:relative":                       {"does not name an absolute path", isolde.CodeInvalid},
		"docker-archive:../x.tar":            {"does not name an absolute path", isolde.CodeInvalid},
		"oci:":                               {"does not name an absolute path", isolde.CodeInvalid},
		"oci:" + dir + "/missing":            {"cannot open", isolde.CodeNotFound},
		"docker-archive:" + dir + "/missing": {"cannot open", isolde.CodeNotFound},
		"oci:" + dir + "/empty":              {"is no OCI layout: it has no index.json", isolde.CodeInvalid},
		"oci:" + dir + "/bad":                {"is no OCI layout with an image in it", isolde.CodeInvalid},
		"oci:" + dir + "/none":               {"is no OCI layout with an image in it", isolde.CodeInvalid},
		"oci:" + archiveOfTwo:                {"is a file; oci: takes the folder", isolde.CodeInvalid},
		"oci:" + layoutOfTwo:                 {"holds several images: team/one:1, team/two:2", isolde.CodeInvalid},
		"oci:" + layoutOfTwo + ":3":          {"nothing is called 3 there; there are team/one:1, team/two:2", isolde.CodeNotFound},
		"oci:" + layoutOfTwo + "@sha256:" + strings.Repeat("0", 64): {"has no blob sha256:000", isolde.CodeNotFound},
		"docker-archive:" + archiveOfTwo:                            {"holds several images: team/one:1, team/two:2", isolde.CodeInvalid},
		"docker-archive:" + archiveOfTwo + ":3":                     {"nothing is called 3 there", isolde.CodeNotFound},
		"docker-archive:" + layoutOfTwo:                             {"is no file; docker-archive: takes the tar", isolde.CodeInvalid},
		"docker-archive:" + dir + "/pipe":                           {"is no file", isolde.CodeInvalid},
		"docker-archive:/dev/zero":                                  {"is no file", isolde.CodeInvalid},
		"docker-archive:" + dir + "/text":                           {"is no archive of docker save", isolde.CodeInvalid},
		"docker-archive:" + dir + "/no.tar":                         {"it has no manifest.json", isolde.CodeInvalid},
		"docker-archive:" + dir + "/loop.tar":                       {"it has no manifest.json", isolde.CodeInvalid},
		"docker-archive:" + dir + "/bad.tar":                        {"manifest.json is not one of docker save", isolde.CodeInvalid},
		"docker-archive:" + dir + "/gone.tar":                       {`has no file "c"`, isolde.CodeInvalid},
		"docker-archive:" + dir + "/oci.tar":                        {"holds an OCI layout", isolde.CodeInvalid},
		"docker-archive:" + dir + "/zipped.tar":                     {"is compressed", isolde.CodeInvalid},
	} {
		t.Run(ref, func(t *testing.T) {
			_, err := s.Import(t.Context(), ref, nil)
			refused(t, err, c.code, c.want)
		})
	}
}

// TestImportLayoutIsNotTrusted: blobs are what their digests say, and no link
// in a layout leads out of it.
func TestImportLayoutIsNotTrusted(t *testing.T) {
	img := containerOf(t, v1.Config{}, asLayer(t, archive(t, sized("a", 100)), "gzip"))
	manifest, _ := img.Manifest()
	digest, _ := img.Digest()
	for what, c := range map[string]struct {
		blob v1.Hash
		want string
	}{
		"manifest": {digest, "is something else"},
		"config":   {manifest.Config.Digest, "is something else"},
		"layer":    {manifest.Layers[0].Digest, "layer 1 of"},
	} {
		t.Run(what, func(t *testing.T) {
			dir, s := laidOut(t, map[string]v1.Image{"1": img}), open(t, Config{})
			blob := filepath.Join(dir, "blobs", "sha256", c.blob.Hex)
			b, err := os.ReadFile(blob)
			if err != nil {
				t.Fatal(err)
			}
			b[len(b)-9]++
			if err := os.Remove(blob); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(blob, b, 0o600); err != nil {
				t.Fatal(err)
			}
			_, err = s.Import(t.Context(), "oci:"+dir, nil)
			refused(t, err, isolde.CodeInvalid, c.want)

			b[len(b)-9]--
			outside := filepath.Join(t.TempDir(), "blob")
			if err := errors.Join(os.Remove(blob), os.WriteFile(outside, b, 0o600), os.Symlink(outside, blob)); err != nil {
				t.Fatal(err)
			}
			_, err = s.Import(t.Context(), "oci:"+dir, nil)
			refused(t, err, isolde.CodeNotFound, fmt.Sprintf("has no blob %s", c.blob))
		})
	}
}
