package image

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"encoding/binary"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde"
)

// zipped is an entry of a zip to be made.
type zipped struct {
	name    string
	content string
	mode    fs.FileMode // 0: none is given, as by programs on Windows
	header  zip.FileHeader
}

func zipOf(t testing.TB, entries ...zipped) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, e := range entries {
		h := e.header
		h.Name = e.name
		if e.mode != 0 {
			h.SetMode(e.mode)
		}
		out, err := w.CreateHeader(&h)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(out, e.content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// rawZip makes an archive of one entry as h describes it, whatever content is.
func rawZip(t testing.TB, h zip.FileHeader, content []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	h.CompressedSize64 = uint64(len(content))
	out, err := w.CreateRaw(&h)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = out.Write(content)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func unzip(b []byte, dir string, limit int64) error {
	return UnpackZip(bytes.NewReader(b), int64(len(b)), dir, limit)
}

func TestUnpackZip(t *testing.T) {
	deflated := zip.FileHeader{Method: zip.Deflate}
	dir := t.TempDir()
	err := unzip(zipOf(t,
		zipped{name: "agent.py", content: "print(1)"},
		zipped{name: "a/b/big.txt", content: strings.Repeat("text ", 100_000), header: deflated},
		zipped{name: "bin/run", content: "#!/bin/sh", mode: 0o755},
		zipped{name: "bin/setuid", mode: fs.ModeSetuid | 0o777},
		zipped{name: "bin/plain"},
		zipped{name: "secret", content: "s", mode: 0o600},
		zipped{name: "unreadable", content: "u", mode: 0o111},
		zipped{name: "windows", content: "w", header: zip.FileHeader{CreatorVersion: 0, ExternalAttrs: 0x20}},
		zipped{name: "empty/", mode: fs.ModeDir | 0o700},
		zipped{name: "empty/", mode: fs.ModeDir | 0o700},
		zipped{name: "./a/./dotted"},
		zipped{name: "a/b/link", content: "../../agent.py", mode: fs.ModeSymlink | 0o777},
	), dir, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	err = filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
		if err != nil || file == dir {
			return err
		}
		rel, _ := filepath.Rel(dir, file)
		info, err := d.Info()
		got[rel] = info.Mode().String()
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{
		"a": "drwxr-xr-x", "a/b": "drwxr-xr-x", "bin": "drwxr-xr-x", "empty": "drwxr-xr-x",
		"agent.py": "-rw-r--r--", "a/b/big.txt": "-rw-r--r--", "a/dotted": "-rw-r--r--", "a/b/link": "Lrwxrwxrwx",
		"bin/run": "-rwxr-xr-x", "bin/setuid": "-rwxr-xr-x", "bin/plain": "-rw-r--r--",
		"secret": "-rw-r--r--", "unreadable": "-rwxr-xr-x", "windows": "-rw-r--r--",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("unpacked (-want +got):\n%s", diff)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "a/b/big.txt")); err != nil || len(b) != 500_000 {
		t.Errorf("big.txt has %d bytes, %v", len(b), err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "a/b/link")); err != nil || string(b) != "print(1)" {
		t.Errorf("the link leads to %q, %v", b, err)
	}
}

func TestUnpackZipRefuses(t *testing.T) {
	symlink := fs.ModeSymlink | 0o777
	good := zipOf(t, zipped{name: "a", content: strings.Repeat("content", 50)}, zipped{name: "b", content: strings.Repeat("content", 50)})
	patched := func(change func(b []byte)) []byte {
		b := bytes.Clone(good)
		change(b)
		return b
	}
	directory := bytes.Index(good, []byte("PK\x01\x02"))
	second := directory + 4 + bytes.Index(good[directory+4:], []byte("PK\x01\x02"))
	for name, c := range map[string]struct {
		archive []byte
		want    string
	}{
		"upwards":            {zipOf(t, zipped{name: "../evil"}), "leads out of the folder"},
		"upwards inside":     {zipOf(t, zipped{name: "a/../../evil"}), "leads out of the folder"},
		"absolute":           {zipOf(t, zipped{name: "/etc/evil"}), "has an absolute name"},
		"backslash":          {zipOf(t, zipped{name: `..\evil`}), "has a name that is not possible"},
		"NUL":                {zipOf(t, zipped{name: "a\x00b"}), "has a name that is not possible"},
		"not UTF-8":          {zipOf(t, zipped{name: "gr\x94\x84e.txt"}), "not UTF-8"},
		"no name":            {zipOf(t, zipped{name: ""}), "has a name that is not possible"},
		"drive":              {zipOf(t, zipped{name: "C:/evil"}), "Windows drive"},
		"drive's folder":     {zipOf(t, zipped{name: "c:evil"}), "Windows drive"},
		"long name":          {zipOf(t, zipped{name: strings.Repeat("n", 300)}), "longer than 255 bytes"},
		"deep":               {zipOf(t, zipped{name: strings.Repeat("d/", 150) + "f"}), "in more than 100 folders"},
		"long path":          {zipOf(t, zipped{name: strings.Repeat(strings.Repeat("d", 250)+"/", 9) + "f"}), "longer than 2048 bytes"},
		"link upwards":       {zipOf(t, zipped{name: "l", content: "../evil", mode: symlink}), "link that leads out"},
		"link absolute":      {zipOf(t, zipped{name: "l", content: "/etc/passwd", mode: symlink}), "link that leads out"},
		"links together":     {zipOf(t, zipped{name: "a/b/up", content: "../..", mode: symlink}, zipped{name: "l", content: "a/b/up/../evil", mode: symlink}), "link that leads out"},
		"long link":          {zipOf(t, zipped{name: "l", content: strings.Repeat("x", 5000), mode: symlink}), "longer than 4095"},
		"through a link":     {zipOf(t, zipped{name: "l", content: "d", mode: symlink}, zipped{name: "l/evil"}), "below l, which is no folder"},
		"over a link":        {zipOf(t, zipped{name: "l", content: "x", mode: symlink}, zipped{name: "l"}), "is there twice"},
		"twice":              {zipOf(t, zipped{name: "a"}, zipped{name: "./a"}), "is there twice"},
		"folder over a file": {zipOf(t, zipped{name: "a"}, zipped{name: "a/"}), "is there twice"},
		"device":             {zipOf(t, zipped{name: "d", mode: fs.ModeDevice | fs.ModeCharDevice | 0o666}), "neither a file"},
		"pipe":               {zipOf(t, zipped{name: "p", mode: fs.ModeNamedPipe | 0o666}), "neither a file"},
		"encrypted":          {rawZip(t, zip.FileHeader{Name: "a", Flags: 1}, []byte("x")), `entry "a" is encrypted`},
		"AES":                {rawZip(t, zip.FileHeader{Name: "a", Method: 99}, []byte("x")), `entry "a" is encrypted`},
		"LZMA":               {rawZip(t, zip.FileHeader{Name: "a", Method: 14}, []byte("x")), `entry "a" is compressed with LZMA`},
		"unknown method":     {rawZip(t, zip.FileHeader{Name: "a", Method: 1234}, []byte("x")), "compressed with method 1234"},
		"not deflate":        {rawZip(t, zip.FileHeader{Name: "a", Method: zip.Deflate, UncompressedSize64: 9}, []byte("nonsense!")), `entry "a" is broken: flate`},
		"says more":          {rawZip(t, zip.FileHeader{Name: "a", UncompressedSize64: 900}, []byte("x")), `entry "a" is broken: unexpected EOF`},
		"too large":          {zipOf(t, zipped{name: "a", content: strings.Repeat("x", 1001)}), "more than 0.0 MB"},
		"too large together": {zipOf(t, zipped{name: "a", content: strings.Repeat("x", 600)}, zipped{name: "b", content: strings.Repeat("x", 600)}), "more than 0.0 MB"},
		"says far too much":  {rawZip(t, zip.FileHeader{Name: "a", UncompressedSize64: 1<<64 - 1}, []byte("x")), "more than 0.0 MB"},
		"wrong checksum":     {patched(func(b []byte) { b[40]++ }), `entry "a" is broken: checksum error`},
		"same bytes":         {patched(func(b []byte) { binary.LittleEndian.PutUint32(b[second+42:], 0) }), "shares its bytes with another one"},
		"bytes elsewhere":    {patched(func(b []byte) { binary.LittleEndian.PutUint32(b[second+42:], 1<<30) }), `entry "b" is broken`},
		"cut off":            {good[:len(good)-30], "the archive is broken: it starts as a zip, but after"},
		"no bytes":           {nil, "the archive is empty: it has no bytes"},
		"no entries":         {zipOf(t), "the archive is empty"},
		"tar":                {archive(t, file("a")), "is it a tar?"},
		"gzip":               {[]byte("\x1f\x8b\x08\x00 and more"), "is it a tar.gz?"},
		"text":               {[]byte("<html>"), `it starts with "<html>"`},
	} {
		t.Run(name, func(t *testing.T) {
			outer := t.TempDir()
			dir := filepath.Join(outer, "in", "here")
			if err := os.MkdirAll(dir, 0o755); err != nil {
				t.Fatal(err)
			}
			refused(t, unzip(c.archive, dir, 1000), isolde.CodeInvalid, c.want)
			staysWithin(t, outer, dir)
		})
	}
}

// TestZipBombs: what an archive says of its sizes does not decide how much is
// written.
func TestZipBombs(t *testing.T) {
	var deflated bytes.Buffer
	w, err := flate.NewWriter(&deflated, flate.BestCompression)
	if err != nil {
		t.Fatal(err)
	}
	zeros := make([]byte, 64<<20)
	_, _ = w.Write(zeros)
	_ = w.Close()
	refused(t, unzip(zipOf(t, zipped{name: "zeros", content: string(zeros)}), t.TempDir(), 50<<20), isolde.CodeInvalid, "more than 50 MiB")
	h := zip.FileHeader{Name: "zeros", Method: zip.Deflate, CRC32: crc32.ChecksumIEEE(zeros)}
	for _, said := range []uint64{0, 1, 999, 1000} {
		h.UncompressedSize64 = said
		dir := t.TempDir()
		refused(t, unzip(rawZip(t, h, deflated.Bytes()), dir, 1000), isolde.CodeInvalid, `entry "zeros" is broken`)
		if n := bytesIn(t, dir); n > 1000 {
			t.Errorf("it says %d, and wrote %d bytes of 1000", said, n)
		}
	}
	t.Run("endless", func(t *testing.T) {
		dir := t.TempDir()
		u, err := newUnpacker(dir, 1_000_000, advice{smaller: "less"})
		if err != nil {
			t.Fatal(err)
		}
		defer u.root.Close()
		refused(t, u.file("zeros", 0, endless{}, broken), isolde.CodeInvalid, "more than 1.0 MB")
		if n := bytesIn(t, dir); n > 1_000_000 {
			t.Errorf("wrote %d bytes", n)
		}
	})
}

// endless is a stream without an end.
type endless struct{}

func (endless) Read(p []byte) (int, error) { return len(p), nil }

// bytesIn counts the bytes of the files below dir.
func bytesIn(t *testing.T, dir string) (n int64) {
	t.Helper()
	for _, name := range names(t, os.DirFS(dir), ".") {
		info, err := os.Lstat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().IsRegular() {
			n += info.Size()
		}
	}
	return n
}

// TestZipOfManyEntries takes the 64-bit form of the directory, and the bound.
func TestZipOfManyEntries(t *testing.T) {
	many := func(n int) []byte {
		entries := make([]zipped, n)
		for i := range entries {
			entries[i].name = "d/"
		}
		return zipOf(t, entries...)
	}
	if err := unzip(many(70_000), t.TempDir(), 1000); err != nil {
		t.Error(err)
	}
	refused(t, unzip(many(maxEntries+1), t.TempDir(), 1000), isolde.CodeInvalid, "more than 200000 entries")
}

// TestZipDirectoryIsBounded: the directory is not read to its end where it
// would fill the memory, however few entries it is said to have.
func TestZipDirectoryIsBounded(t *testing.T) {
	one := zipOf(t, zipped{name: "d/"})
	start, end := bytes.Index(one, []byte("PK\x01\x02")), bytes.Index(one, []byte("PK\x05\x06"))
	b := append(bytes.Clone(one[:start]), bytes.Repeat(one[start:end], 2*maxEntries+70_000)...)
	b = append(b, one[end:]...)
	refused(t, unzip(b, t.TempDir(), 1000), isolde.CodeInvalid, "more than 200000 entries")
}

func FuzzUnpackZip(f *testing.F) {
	symlink := fs.ModeSymlink | 0o777
	f.Add(zipOf(f, zipped{name: "d/a", content: "x", header: zip.FileHeader{Method: zip.Deflate}}, zipped{name: "l", content: "d/a", mode: symlink}))
	f.Add(zipOf(f, zipped{name: "a/b/up", content: "../..", mode: symlink}, zipped{name: "l", content: "a/b/up/../evil", mode: symlink}))
	f.Add(zipOf(f, zipped{name: "../evil"}, zipped{name: "/evil"}, zipped{name: "C:evil"}))
	f.Add(rawZip(f, zip.FileHeader{Name: "a", UncompressedSize64: 3, Method: zip.Deflate}, []byte("nonsense")))
	f.Fuzz(func(t *testing.T, b []byte) {
		outer := t.TempDir()
		dir := filepath.Join(outer, "in")
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		const limit = 1 << 16
		_ = unzip(b, dir, limit)
		staysWithin(t, outer, dir)
		if n := bytesIn(t, dir); n > limit {
			t.Errorf("wrote %d bytes of %d", n, limit)
		}
	})
}
