package image

import (
	"archive/tar"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde/image/erofs"
)

func openLayers(t *testing.T, layers ...[]byte) []openLayer {
	t.Helper()
	var open []openLayer
	for _, b := range layers {
		name := filepath.Join(t.TempDir(), "layer")
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { f.Close() })
		items, err := readItems(f)
		if err != nil {
			t.Fatal(err)
		}
		open = append(open, openLayer{f, items})
	}
	return open
}

// listing tells a tree by its names: "d" for a directory, "→x" for a link, and
// the content of a file.
func listing(f *erofs.File, at string, into map[string]string) map[string]string {
	for name, c := range f.Children {
		full := strings.TrimPrefix(at+"/"+name, "/")
		switch c.Mode.Type() {
		case fs.ModeDir:
			into[full] = "d"
			listing(c, full, into)
		case fs.ModeSymlink:
			into[full] = "→" + c.Target
		default:
			b, _ := io.ReadAll(io.NewSectionReader(c.Source, c.Offset, c.Size))
			into[full] = string(b)
		}
	}
	return into
}

func sized(name string, size int64) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeReg, Size: size}
}

func folder(name string) tar.Header {
	return tar.Header{Name: name, Typeflag: tar.TypeDir, Mode: 0o755}
}

func TestFlatten(t *testing.T) {
	layers := func(l ...[]byte) [][]byte { return l }
	for name, c := range map[string]struct {
		layers [][]byte
		want   map[string]string
	}{
		"replaces files":                {layers(archive(t, sized("a", 1)), archive(t, sized("a", 2))), map[string]string{"a": "xx"}},
		"merges folders":                {layers(archive(t, folder("d/"), sized("d/a", 1)), archive(t, folder("d/"), sized("d/b", 2))), map[string]string{"d": "d", "d/a": "x", "d/b": "xx"}},
		"whiteout":                      {layers(archive(t, sized("d/a", 1), sized("d/b", 1)), archive(t, sized("d/.wh.a", 0))), map[string]string{"d": "d", "d/b": "x"}},
		"whiteout of a folder":          {layers(archive(t, sized("d/e/a", 1)), archive(t, sized(".wh.d", 0))), map[string]string{}},
		"whiteout spares its own layer": {layers(archive(t, sized("d/a", 1)), archive(t, sized("d/b", 2), sized(".wh.d", 0))), map[string]string{"d": "d", "d/b": "xx"}},
		"opaque":                        {layers(archive(t, sized("d/a", 1)), archive(t, sized("d/b", 2), sized("d/.wh..wh..opq", 0))), map[string]string{"d": "d", "d/b": "xx"}},
		"folder over a file":            {layers(archive(t, sized("a", 1)), archive(t, folder("a/"), sized("a/b", 1))), map[string]string{"a": "d", "a/b": "x"}},
		"file over a folder":            {layers(archive(t, sized("a/b", 1)), archive(t, sized("a", 1))), map[string]string{"a": "x"}},
		"through a link":                {layers(archive(t, folder("usr/lib/"), link("lib", "usr/lib")), archive(t, sized("lib/x", 1))), map[string]string{"usr": "d", "usr/lib": "d", "lib": "→usr/lib", "usr/lib/x": "x"}},
		"links stay in the root":        {layers(archive(t, link("up", "../../.."), sized("up/x", 1))), map[string]string{"up": "→../../..", "x": "x"}},
		"dots stay in the root":         {layers(archive(t, sized("../../x", 1))), map[string]string{"x": "x"}},
		"hard link":                     {layers(archive(t, sized("a", 3)), archive(t, tar.Header{Name: "b", Typeflag: tar.TypeLink, Linkname: "a"})), map[string]string{"a": "xxx", "b": "xxx"}},
		"devices are left out":          {layers(archive(t, tar.Header{Name: "null", Typeflag: tar.TypeChar})), map[string]string{}},
	} {
		t.Run(name, func(t *testing.T) {
			root, err := flatten(openLayers(t, c.layers...))
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, listing(root, "", map[string]string{})); diff != "" {
				t.Errorf("flattened (-want +got):\n%s", diff)
			}
		})
	}
}

func TestFlattenRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		layer []byte
		want  string
	}{
		"loop of links":     {archive(t, link("a", "b"), link("b", "a"), sized("a/x", 1)), "more than 40 links"},
		"hard link to none": {archive(t, tar.Header{Name: "b", Typeflag: tar.TypeLink, Linkname: "a"}), "no file in the image"},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := flatten(openLayers(t, c.layer)); err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("flatten: %v, want %q", err, c.want)
			}
		})
	}
}
