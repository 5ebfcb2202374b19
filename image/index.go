package image

import (
	"archive/tar"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/isolde-run/isolde/image/erofs"
)

// item is one entry of a tar layer, and where its bytes are.
type item struct {
	name     string
	link     string
	kind     byte // a tar.Type
	mode     fs.FileMode
	uid, gid uint32
	modTime  time.Time
	offset   int64
	size     int64
}

func (it *item) setMeta(n *erofs.File) {
	n.Mode, n.UID, n.GID, n.ModTime = it.mode, it.uid, it.gid, it.modTime
}

// readItems lists an uncompressed tar.
func readItems(l *os.File) ([]item, error) {
	var items []item
	err := eachItem(l, func(it item) error {
		items = append(items, it)
		return nil
	})
	return items, err
}

// maxItemName bounds names and the targets of links; no program could open
// longer ones.
const maxItemName = 4096

// eachItem hands on the entries of an uncompressed tar in their order.
func eachItem(l *os.File, do func(item) error) error {
	if _, err := l.Seek(0, io.SeekStart); err != nil {
		return err
	}
	in := tar.NewReader(l)
	for {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("read layer: %w", err)
		}
		if err := checkHeader(header); err != nil {
			return fmt.Errorf("read layer: %w", err)
		}
		offset, err := l.Seek(0, io.SeekCurrent) // the reader reads no further than it must
		if err != nil {
			return err
		}
		if err := do(item{
			name: header.Name, link: header.Linkname, kind: header.Typeflag, mode: header.FileInfo().Mode(),
			uid: uint32(header.Uid), gid: uint32(header.Gid), modTime: header.ModTime,
			offset: offset, size: header.Size,
		}); err != nil {
			return err
		}
	}
}

// checkHeader refuses what an image cannot hold.
func checkHeader(header *tar.Header) error {
	switch {
	case len(header.Name) > maxItemName || len(header.Linkname) > maxItemName:
		return fmt.Errorf("a name has more than %d bytes", maxItemName)
	case isSparse(header):
		return fmt.Errorf("%q is a sparse file, which is not supported", header.Name)
	case header.Uid < 0 || header.Uid >= math.MaxUint32 || header.Gid < 0 || header.Gid >= math.MaxUint32:
		return fmt.Errorf("%q belongs to %d:%d, which are no ids of users and groups", header.Name, header.Uid, header.Gid)
	}
	return nil
}

// isSparse tells a file whose bytes in the archive are not its content.
func isSparse(header *tar.Header) bool {
	for key := range header.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return true
		}
	}
	return header.Typeflag == tar.TypeGNUSparse
}

// keptIndexes is how many layers' contents are remembered: enough for the
// base and the dependencies of agents being worked on.
const keptIndexes = 8

// indexes remembers what is in layers, by digest. Finding out takes longer
// than building an image whose code alone changed.
type indexes struct {
	mu     sync.Mutex
	known  map[string][]item
	recent []string // digests, the last used at the end
}

// of returns what is in the layer with a digest, whose blob is l.
func (x *indexes) of(digest string, l *os.File) ([]item, error) {
	x.mu.Lock()
	items, ok := x.known[digest]
	x.mu.Unlock()
	if !ok {
		var err error
		if items, err = readItems(l); err != nil {
			return nil, err
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.use(digest, items)
	return items, nil
}

func (x *indexes) use(digest string, items []item) {
	if x.known == nil {
		x.known = map[string][]item{}
	}
	x.known[digest] = items
	for i, d := range x.recent {
		if d == digest {
			x.recent = append(x.recent[:i], x.recent[i+1:]...)
			break
		}
	}
	x.recent = append(x.recent, digest)
	if len(x.recent) > keptIndexes {
		delete(x.known, x.recent[0])
		x.recent = x.recent[1:]
	}
}
