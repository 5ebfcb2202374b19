package image

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"testing"

	reader "github.com/erofs/go-erofs"
	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/isolde-run/isolde"
)

// tarOf makes an archive of entries with their contents; the mode is as it is
// given, also 0.
func tarOf(t *testing.T, entries ...tarEntry) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, e := range entries {
		if e.Typeflag == 0 {
			e.Typeflag = tar.TypeReg
		}
		e.Size = int64(len(e.content))
		if err := w.WriteHeader(&e.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(e.content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

type tarEntry struct {
	tar.Header
	content string
}

func text(name, content string) tarEntry {
	return tarEntry{tar.Header{Name: name, Mode: 0o644}, content}
}

func special(kind byte, name, link string) tarEntry {
	return tarEntry{tar.Header{Name: name, Typeflag: kind, Linkname: link, Mode: 0o755}, ""}
}

// importLayers imports an image of gzipped layers.
func importLayers(t *testing.T, config v1.Config, layers ...[]byte) (Image, error) {
	t.Helper()
	h, s := newRegistry(t), open(t, Config{})
	var packed []v1.Layer
	for _, l := range layers {
		packed = append(packed, asLayer(t, l, "gzip"))
	}
	return s.Import(t.Context(), h.push(t, "agent", containerOf(t, config, packed...)), nil)
}

// stat is what a root's reader tells of a file.
func stat(t *testing.T, fsys fs.FS, name string) reader.Stat {
	t.Helper()
	info, err := fs.Lstat(fsys, name)
	if err != nil {
		t.Fatal(err)
	}
	st, ok := info.Sys().(*reader.Stat)
	if !ok {
		t.Fatalf("%s: the reader gives %T", name, info.Sys())
	}
	found := *st
	found.Mode = info.Mode() & 0o7777 // with the special bits where Unix has them
	return found
}

// TestImportRoot lays layers over each other with all that layers may hold,
// and reads the result from the EROFS file.
func TestImportRoot(t *testing.T) {
	odd := "odd/\xff\xfe new\nline\t\u00e9"
	owned := func(uid, gid int, mode int64, name string) tarEntry {
		return tarEntry{tar.Header{Name: name, Uid: uid, Gid: gid, Mode: mode}, "x"}
	}
	img, err := importLayers(t, v1.Config{WorkingDir: "/by-link/work", Volumes: map[string]struct{}{"/data/volume": {}}},
		tarOf(t,
			text("hidden/a", "a"), text("hidden/b", "b"), text("opaque/old", "old"), text("opaque/sub/old", "old"),
			text("gone", "x"), text("file-to-dir", "x"), text("dir-to-file/inner", "x"), text("first", "shared"),
			special(tar.TypeLink, "second", "first"), special(tar.TypeDir, "usr/lib/", ""), special(tar.TypeSymlink, "lib", "usr/lib"),
			special(tar.TypeSymlink, "absolute", "/usr/lib"), special(tar.TypeSymlink, "up", "../../../usr"), special(tar.TypeSymlink, "by-link", "lib"),
			special(tar.TypeSymlink, "outside", "/../../../../etc/evil"), special(tar.TypeSymlink, "dangling", "nowhere"),
			text("twice", "first"), text("twice", "second"), text(odd, "odd"),
			owned(65534, 65534, 0o644, "nobody"), owned(3_000_000_000, 70_000, 0o644, "large"),
			owned(0, 0, 0o4755, "setuid"), owned(0, 0, 0o2755, "setgid"), owned(0, 0, 0, "none"), owned(7, 8, 0o1777, "sticky"),
			tarEntry{tar.Header{Name: "dev/null", Typeflag: tar.TypeChar, Devmajor: 1, Devminor: 3}, ""},
			special(tar.TypeFifo, "pipe", ""), text("replaced-by-device", "x"),
			tarEntry{tar.Header{Name: "with-xattr", Mode: 0o600, PAXRecords: map[string]string{"SCHILY.xattr.user.x": "y"}}, "x"},
		),
		tarOf(t), // an empty layer
		tarOf(t,
			text("hidden/.wh.a", ""), text(".wh.gone", ""), special(tar.TypeLink, "opaque/linked", "first"), text("opaque/.wh..wh..opq", ""), text("opaque/new", "new"),
			special(tar.TypeDir, "file-to-dir/", ""), text("file-to-dir/inner", "x"), text("dir-to-file", "x"),
			special(tar.TypeLink, "third", "second"), special(tar.TypeLink, "kept-link", "hidden/b"), text("hidden/.wh.b", ""),
			text("lib/by-link", "1"), text("absolute/by-absolute", "2"), text("up/by-up", "3"), text("outside", "a file now"),
			tarEntry{tar.Header{Name: "replaced-by-device", Typeflag: tar.TypeChar}, ""},
			text("./deep/under/no/entry", "x"),
		),
	)
	if err != nil {
		t.Fatal(err)
	}
	fsys := root(t, img)
	got := map[string]string{}
	for _, name := range names(t, fsys, ".") {
		if link, err := fs.ReadLink(fsys, name); err == nil {
			got[name] = "→" + link
			continue
		}
		b, err := fs.ReadFile(fsys, name)
		if err != nil {
			t.Errorf("read %q: %v", name, err)
		}
		got[name] = string(b)
	}
	want := map[string]string{
		"opaque/new": "new", "opaque/linked": "shared", "file-to-dir/inner": "x", "dir-to-file": "x", "first": "shared", "second": "shared", "third": "shared",
		"kept-link": "b", "lib": "→usr/lib", "absolute": "→/usr/lib", "up": "→../../../usr", "by-link": "→lib", "outside": "a file now",
		"dangling": "→nowhere", "usr/lib/by-link": "1", "usr/lib/by-absolute": "2", "usr/by-up": "3", "twice": "second", odd: "odd",
		"nobody": "x", "large": "x", "setuid": "x", "setgid": "x", "none": "x", "sticky": "x", "with-xattr": "x", "deep/under/no/entry": "x",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the root (-want +got):\n%s", diff)
	}
	for name, want := range map[string][3]uint32{
		"nobody": {65534, 65534, 0o644}, "large": {3_000_000_000, 70_000, 0o644}, "setuid": {0, 0, 0o4755}, "setgid": {0, 0, 0o2755},
		"none": {0, 0, 0}, "sticky": {7, 8, 0o1777}, "usr/lib/work": {0, 0, 0o755}, "data/volume": {0, 0, 0o755}, "deep/under": {0, 0, 0o755},
	} {
		st := stat(t, fsys, name)
		if got := [3]uint32{st.UID, st.GID, uint32(st.Mode)}; got != want {
			t.Errorf("%s: owner and mode %d, want %d", name, got, want)
		}
	}
	if a, b := stat(t, fsys, "first"), stat(t, fsys, "third"); a.Ino != b.Ino || a.Nlink != 4 {
		t.Errorf("hard links across layers: inodes %d and %d with %d names", a.Ino, b.Ino, a.Nlink)
	}
}

const (
	passwd = "root:x:0:0:root:/root:/bin/sh\nbroken line\nann:x:1001:1002:Ann:/home/ann:/bin/sh\nodd:x:one:two::/:\n7:x:70:71::/seven:\n"
	group  = "root:x:0:\nstaff:x:50:ann\n"
)

func TestImportUser(t *testing.T) {
	accounts := tarOf(t, text("etc/passwd", passwd), text("etc/group", group))
	linked := tarOf(t, special(tar.TypeSymlink, "etc/passwd", "/nix/store/passwd"), text("nix/store/passwd", passwd))
	for name, c := range map[string]struct {
		user     string
		layer    []byte
		uid, gid uint32
		home     string
		wrong    string
	}{
		"unset":            {"", accounts, 0, 0, "/root", ""},
		"no accounts":      {"", tarOf(t), 0, 0, "/", ""},
		"name":             {"ann", accounts, 1001, 1002, "/home/ann", ""},
		"listed number":    {"1001", accounts, 1001, 1002, "/home/ann", ""},
		"other number":     {"4242", accounts, 4242, 0, "/", ""},
		"a name of digits": {"7", accounts, 70, 71, "/seven", ""},
		"numbers":          {"1001:9", accounts, 1001, 9, "/home/ann", ""},
		"name:group":       {"ann:staff", accounts, 1001, 50, "/home/ann", ""},
		"number:group":     {"5:staff", accounts, 5, 50, "/", ""},
		"empty group":      {"ann:", accounts, 1001, 1002, "/home/ann", ""},
		"through a link":   {"ann", linked, 1001, 1002, "/home/ann", ""},
		"unknown":          {"bob", accounts, 0, 0, "", `runs as user "bob"`},
		"unknown group":    {"ann:wheel", accounts, 0, 0, "", `runs as group "wheel"`},
		"negative":         {"-1", accounts, 0, 0, "", `runs as user "-1"`},
		"too large":        {"4294967295", accounts, 0, 0, "", `runs as user "4294967295"`},
		"no numbers":       {"odd", accounts, 0, 0, "", `the line of user "odd"`},
	} {
		t.Run(name, func(t *testing.T) {
			img, err := importLayers(t, v1.Config{User: c.user}, c.layer)
			if c.wrong != "" {
				refused(t, err, isolde.CodeInvalid, c.wrong)
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if img.UID != c.uid || img.GID != c.gid || !slices.Contains(img.Env, "HOME="+c.home) || img.Dir != "/" {
				t.Errorf("runs as %d:%d in %s with %v", img.UID, img.GID, img.Dir, img.Env)
			}
		})
	}
}

func TestImportEnvironment(t *testing.T) {
	img, err := importLayers(t, v1.Config{Env: []string{"HOME=/mine", "DOCKER_CONTAINER=", "B=2=3", "nothing", "=x"}}, tarOf(t))
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"PATH=" + binPath, "HOME=/mine", "DOCKER_CONTAINER=", "B=2=3"}; !slices.Equal(img.Env, want) {
		t.Errorf("environment %q, want %q", img.Env, want)
	}
}

// TestImportHostileLayers ends with an error for what would cost the server
// its memory or its time, and for what cannot be.
func TestImportHostileLayers(t *testing.T) {
	chain := []tarEntry{special(tar.TypeDir, "a/", "")}
	for range 30 { // each link leads 60 folders deeper than the one before
		name := "l" + strings.Repeat("x", len(chain))
		chain = append(chain, special(tar.TypeSymlink, name, previous(chain)+strings.Repeat("/d", 60)))
	}
	chain = append(chain, text(chain[len(chain)-1].Name+"/f", "x"))
	long := strings.Repeat("n", 256)
	layers := map[string]struct {
		layer []byte
		want  string
	}{
		"loop":           {tarOf(t, special(tar.TypeSymlink, "a", "b"), special(tar.TypeSymlink, "b", "a"), text("a/x", "x")), "more than 40 links"},
		"deep":           {tarOf(t, chain...), "more than 1000 folders in each other"},
		"long name":      {tarOf(t, text(long, "x")), "more than 255 bytes"},
		"long link name": {tarOf(t, special(tar.TypeSymlink, "a", long+"/b"), text("a/x", "x")), "more than 255 bytes"},
		"long path":      {tarOf(t, text(strings.Repeat("d/", 3000)+"f", "x")), "more than 4096 bytes"},
		"empty link":     {tarOf(t, special(tar.TypeSymlink, "a", "")), "0 bytes"},
		"hard link":      {tarOf(t, special(tar.TypeLink, "a", "../../etc/passwd")), `no directory "etc"`},
		"below a file":   {tarOf(t, text("a", "x"), special(tar.TypeLink, "b", "a/b/c")), "no directory"},
		"owner":          {tarOf(t, tarEntry{tar.Header{Name: "a", Uid: 1 << 40, Format: tar.FormatGNU}, ""}), "no ids of users"},
		"no tar":         {bytes.Repeat([]byte("no tar "), 1000), "invalid tar header"},
	}
	for _, name := range slices.Sorted(maps.Keys(layers)) {
		t.Run(name, func(t *testing.T) {
			_, err := importLayers(t, v1.Config{}, layers[name].layer)
			refused(t, err, isolde.CodeInvalid, "cannot unpack layer 1 of ")
			refused(t, err, isolde.CodeInvalid, layers[name].want)
		})
	}
}

func previous(chain []tarEntry) string { return "/" + strings.Trim(chain[len(chain)-1].Name, "/") }

// TestFlattenCountsSteps: names that go round without end are given up, and so
// are large folders that are cleared over and over.
func TestFlattenCountsSteps(t *testing.T) {
	for again, times := range map[string]int{"a/b/c/": 2000, "many/" + opaque: 6} {
		f := newFlattener()
		for i := range 1000 {
			if err := f.add(nil, &item{name: fmt.Sprintf("many/%d", i), kind: tar.TypeReg}); err != nil {
				t.Fatal(err)
			}
		}
		f.steps = maxSteps - 5000
		var err error
		for range times {
			if err == nil {
				err = f.add(nil, &item{name: again, kind: tar.TypeDir})
			}
		}
		if !errors.Is(err, errSteps) {
			t.Errorf("%s: %v", again, err)
		}
	}
}
