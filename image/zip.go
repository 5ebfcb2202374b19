package image

import (
	"archive/zip"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"unicode/utf8"

	"golang.org/x/sync/errgroup"

	"github.com/isolde-run/isolde"
)

// zipAnew says how to make an archive that is taken.
const zipAnew = "make it anew from inside the agent's folder: zip -r ../agent.zip ."

// unpackZip checks all of the archive's directory before it writes a byte,
// then writes files on all processors, and makes links last.
func unpackZip(r io.ReaderAt, size int64, dir string, limit int64) error {
	in, err := openZip(r, size)
	if err != nil {
		return err
	}
	u, err := newUnpacker(dir, limit, advice{
		anew:    zipAnew + ", without that entry",
		smaller: "leave out what the agent does not need: caches, tests, packages that nothing imports",
	})
	if err != nil {
		return err
	}
	defer u.root.Close()
	if len(in.File) > maxEntries {
		return u.tooMany()
	}
	files, err := u.planZip(in)
	if err != nil {
		return err
	}
	group, ctx := errgroup.WithContext(context.Background())
	group.SetLimit(runtime.GOMAXPROCS(0))
	for _, f := range files {
		group.Go(func() error {
			if ctx.Err() != nil {
				return nil // another file's error is told
			}
			return u.zipFile(f)
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return u.links()
}

// openZip reads an archive's directory.
func openZip(r io.ReaderAt, size int64) (*zip.Reader, error) {
	guard := &directoryGuard{from: r}
	in, err := zip.NewReader(guard, size)
	switch {
	case errors.Is(guard.err, errLimit):
		return nil, isolde.Errorf(isolde.CodeInvalid, "the archive has more than %d entries, or names of them too long to hold", maxEntries).
			WithHint(zipAnew)
	case guard.err != nil:
		return nil, fmt.Errorf("read archive: %w", guard.err)
	case err != nil && !errors.Is(err, zip.ErrInsecurePath): // names are checked here
		return nil, noZip(r, size, err)
	case len(in.File) == 0:
		return nil, isolde.Errorf(isolde.CodeInvalid, "the archive is empty").WithHint(zipAnew)
	}
	guard.passed = true
	return in, nil
}

// noZip tells what else the bytes may be.
func noZip(r io.ReaderAt, size int64, cause error) error {
	head := make([]byte, min(size, 512))
	n, _ := r.ReadAt(head, 0)
	head = head[:n]
	what := fmt.Sprintf("the archive is no zip: it starts with %q", head[:min(n, 8)])
	switch {
	case size == 0:
		what = "the archive is empty: it has no bytes"
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		what = fmt.Sprintf("the archive is broken: it starts as a zip, but after %d bytes its end, which holds the list of its files, is missing or not whole", size)
	case bytes.HasPrefix(head, []byte("\x1f\x8b")):
		what += "; is it a tar.gz?"
	case len(head) > 262 && string(head[257:262]) == "ustar":
		what += "; is it a tar?"
	case bytes.HasPrefix(head, []byte("7z\xbc\xaf")):
		what += "; is it a 7z archive?"
	}
	return isolde.Errorf(isolde.CodeInvalid, "%s", what).WithHint("%s", zipAnew).WithCause(cause)
}

// maxDirectory bounds an archive's directory, names included; the reader keeps
// all of it in memory.
const maxDirectory = 64 << 20

// directoryGuard stops the reading of a directory that would not fit: the
// reader goes on for as long as it finds entries, whatever their number is
// said to be.
type directoryGuard struct {
	from    io.ReaderAt
	passed  bool // the directory is read
	entries int
	bytes   int
	err     error
}

func (g *directoryGuard) ReadAt(p []byte, at int64) (int, error) {
	n, err := g.from.ReadAt(p, at)
	if g.passed {
		return n, err
	}
	if err != nil && !errors.Is(err, io.EOF) {
		g.err = err
		return n, err
	}
	g.bytes += n
	g.entries += bytes.Count(p[:n], []byte("PK\x01\x02"))
	// Some are seen twice, as the search for the directory passes them.
	if g.bytes > maxDirectory || g.entries > 2*maxEntries {
		g.err = errLimit
		return 0, errLimit
	}
	return n, err
}

// zipEntry is a file to be written.
type zipEntry struct {
	*zip.File
	name string
}

// planZip checks all entries, makes the folders, notes the links, and returns
// the files, the largest first.
func (u *unpacker) planZip(in *zip.Reader) ([]zipEntry, error) {
	var files []zipEntry
	said := uint64(0)
	for _, f := range in.File {
		switch {
		case driveRE.MatchString(f.Name):
			return nil, u.refuse(f.Name, "has the name of a Windows drive")
		case !utf8.ValidString(f.Name):
			return nil, u.refuse(f.Name, "has a name that is not UTF-8")
		}
		mode := f.Mode()
		name, err := u.place(f.Name, mode.Type())
		if err != nil {
			return nil, err
		}
		if mode.IsDir() {
			continue
		}
		if err := u.checkZipEntry(f, name); err != nil {
			return nil, err
		}
		if mode.Type() == fs.ModeSymlink {
			if err := u.zipLink(f, name); err != nil {
				return nil, err
			}
			continue
		}
		if said += min(f.UncompressedSize64, math.MaxInt64); said > uint64(u.limit) {
			return nil, u.tooLarge()
		}
		files = append(files, zipEntry{f, name})
	}
	if err := u.checkOverlaps(in.File); err != nil {
		return nil, err
	}
	slices.SortStableFunc(files, func(a, b zipEntry) int { return cmp.Compare(b.UncompressedSize64, a.UncompressedSize64) })
	return files, nil
}

var driveRE = regexp.MustCompile(`^[A-Za-z]:`)

// zipMethods are ways of compression that other programs write.
var zipMethods = map[uint16]string{
	1: "Shrink", 6: "Implode", 9: "Deflate64", 12: "bzip2", 14: "LZMA", 93: "Zstandard", 95: "xz", 98: "PPMd", 99: "AES encryption",
}

func (u *unpacker) checkZipEntry(f *zip.File, name string) error {
	const encrypted, strong, masked = 1 << 0, 1 << 6, 1 << 13
	if f.Flags&(encrypted|strong|masked) != 0 || f.Method == 99 {
		return isolde.Errorf(isolde.CodeInvalid, "the archive's entry %q is encrypted", shorten(name)).
			WithHint("zip it without a password")
	}
	if f.Method != zip.Store && f.Method != zip.Deflate {
		method := cmp.Or(zipMethods[f.Method], fmt.Sprintf("method %d", f.Method))
		return isolde.Errorf(isolde.CodeInvalid, "the archive's entry %q is compressed with %s; deflate and none can be read", shorten(name), method).
			WithHint("zip -r compresses with deflate")
	}
	return nil
}

// checkOverlaps refuses archives whose entries share bytes, as only those do
// that are made to unpack to far more than they are.
func (u *unpacker) checkOverlaps(all []*zip.File) error {
	type span struct {
		start, end int64
		name       string
	}
	var spans []span
	for _, f := range all {
		if f.CompressedSize64 == 0 {
			continue
		}
		start, err := f.DataOffset()
		if err != nil || f.CompressedSize64 > math.MaxInt64-uint64(start) {
			return u.brokenEntry(f.Name, cmp.Or(err, zip.ErrFormat))
		}
		spans = append(spans, span{start, start + int64(f.CompressedSize64), f.Name})
	}
	slices.SortFunc(spans, func(a, b span) int { return cmp.Compare(a.start, b.start) })
	for i := 1; i < len(spans); i++ {
		if spans[i].start < spans[i-1].end {
			return u.refuse(spans[i].name, "shares its bytes with another one")
		}
	}
	return nil
}

// zipLink notes the link that a file holds the target of.
func (u *unpacker) zipLink(f *zip.File, name string) error {
	in, err := f.Open()
	if err != nil {
		return u.brokenEntry(name, err)
	}
	defer in.Close()
	const longest = 4095 // of a link's target, on Linux
	target, err := io.ReadAll(io.LimitReader(in, longest+1))
	if err != nil {
		return u.brokenEntry(name, err)
	}
	if len(target) > longest {
		return u.refuse(name, fmt.Sprintf("is a link to a name longer than %d bytes", longest))
	}
	return u.link(name, string(target))
}

func (u *unpacker) zipFile(f zipEntry) error {
	blame := func(err error) error { return u.brokenEntry(f.name, err) }
	in, err := f.Open()
	if err != nil {
		return blame(err)
	}
	defer in.Close()
	return u.file(f.name, f.Mode(), in, blame)
}

func (u *unpacker) brokenEntry(name string, err error) error {
	why := strings.TrimPrefix(err.Error(), "zip: ")
	return isolde.Errorf(isolde.CodeInvalid, "the archive's entry %q is broken: %s", shorten(name), why).
		WithHint(zipAnew).WithCause(err)
}
