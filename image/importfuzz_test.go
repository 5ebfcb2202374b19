package image

import (
	"archive/tar"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	reader "github.com/erofs/go-erofs"

	"github.com/isolde-run/isolde/image/erofs"
)

var (
	fuzzKinds = []byte{tar.TypeDir, tar.TypeReg, tar.TypeSymlink, tar.TypeLink, tar.TypeChar}
	fuzzNames = []string{
		"a", "a/b", "a/b/c", "a/b/c/d", "l", "l/x", "l/x/y", "../a", "/a/../l", "a/.wh.b", "a/.wh..wh..opq", ".wh.a", ".wh.l", "l/.wh.x", "l/.wh..wh..opq", ".",
	}
)

// FuzzLayers lays any entries over each other: of three bytes each says a kind
// and whether a layer ends, a name and where a link leads. What is not refused
// becomes an image that can be read to its end.
func FuzzLayers(f *testing.F) {
	f.Add([]byte{0, 1, 0, 2, 4, 0, 3, 5, 1, 0x81, 6, 0, 1, 10, 0, 1, 9, 0})
	f.Add([]byte{1, 2, 0, 3, 4, 2, 0x84, 2, 0, 2, 0, 4, 2, 4, 7, 1, 3, 0})
	f.Fuzz(func(t *testing.T, entries []byte) {
		fl := newFlattener()
		fl.layer = 1
		for ; len(entries) >= 3; entries = entries[3:] {
			if entries[0]&0x80 != 0 {
				fl.layer++
			}
			it := item{
				kind: fuzzKinds[int(entries[0]&0x7f)%len(fuzzKinds)], mode: 0o644,
				name: fuzzNames[int(entries[1])%len(fuzzNames)], link: fuzzNames[int(entries[2])%len(fuzzNames)],
			}
			switch it.kind {
			case tar.TypeDir:
				it.mode |= fs.ModeDir
			case tar.TypeSymlink:
				it.mode |= fs.ModeSymlink
			}
			_ = fl.add(nil, &it) // the tree must hold whatever was refused
		}
		out, err := os.Create(filepath.Join(t.TempDir(), "root"))
		if err != nil {
			t.Fatal(err)
		}
		defer out.Close()
		if err := erofs.Write(out, fl.root); err != nil {
			t.Fatal(err)
		}
		fsys, err := reader.Open(out)
		if err != nil {
			t.Fatal(err)
		}
		if err := fs.WalkDir(fsys, ".", func(_ string, _ fs.DirEntry, err error) error { return err }); err != nil {
			t.Error(err)
		}
	})
}
