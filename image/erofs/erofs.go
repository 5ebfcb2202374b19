// Package erofs writes EROFS images: read-only file systems that Linux mounts
// from a block device and gVisor serves straight from its memory mapping.
//
// gVisor reads the plain core of the format only, so that is what this writer
// makes: 4 KiB blocks, no compression, no chunks, no extra devices, no
// extended attributes, and every byte of file data in blocks of its own (a
// file whose tail is packed behind its inode cannot be mapped there). Hard
// links are kept. Equal trees give equal images.
package erofs

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"math"
	"os"
	"sort"
	"time"
)

// File is one inode of the tree to write. The same *File under several names
// is a hard link; directories must have one name only.
type File struct {
	Mode     fs.FileMode // a regular file, a directory or a symbolic link, with permission bits
	UID, GID uint32
	ModTime  time.Time

	Children map[string]*File // of a directory
	Target   string           // of a symbolic link

	Source io.ReaderAt // of a regular file: its bytes are Size bytes at Offset
	Offset int64
	Size   int64
}

const (
	blockSize = 4096
	slotSize  = 32 // inode numbers count slots
	inodeSize = 64 // the extended form, which carries times and wide ids

	superOffset = 1024
	magic       = 0xE0F5E1E2
	featureSum  = 0x1 // the superblock carries a checksum
	featureTime = 0x2 // inode times are modification times

	maxName   = 255
	maxTarget = blockSize - 1
	// bufferSize is what small files are gathered in before a write.
	bufferSize = 1 << 20
	// direct is the size from which a file is copied by the kernel.
	direct = 128 << 10
)

// Write writes the image of root, which must be a directory, to out from its
// start. It reads each source once, in order.
func Write(out *os.File, root *File) error {
	w := &writer{out: out, index: map[*File]*inode{}, zero: make([]byte, blockSize)}
	if err := w.number(root, nil, nil); err != nil {
		return err
	}
	w.buf = append(make([]byte, 0, bufferSize+blockSize), w.zero...) // the superblock's place
	w.blocks = 1
	for _, step := range []func() error{w.writeFiles, w.writeTables, w.writeInodes, w.flush} {
		if err := step(); err != nil {
			return fmt.Errorf("write erofs image: %w", err)
		}
	}
	if _, err := out.WriteAt(w.superblock(), 0); err != nil {
		return fmt.Errorf("write erofs superblock: %w", err)
	}
	return nil
}

// inode is a File with what its place in the image adds.
type inode struct {
	*File
	names  []string // of children, sorted
	number uint64
	parent uint64 // of a directory
	links  uint32
	size   int64
	block  uint32 // where the data starts
}

type writer struct {
	out    *os.File
	inodes []*inode // in the order of their numbers
	index  map[*File]*inode
	zero   []byte
	buf    []byte
	blocks int64  // written or buffered so far
	meta   uint32 // first block of the inodes
}

// place is a name in the tree. Paths are put together for errors only: in a
// deep tree they are long, and every name has one.
type place struct {
	up   *place
	name string
}

func (p *place) String() string {
	if p == nil {
		return "/"
	}
	if p.up == nil {
		return "/" + p.name
	}
	return p.up.String() + "/" + p.name
}

// number gives inodes their numbers, depth first in order of names. The root's
// is 2: no inode has number 0, which directory readers take for a deleted
// entry.
func (w *writer) number(f *File, parent *inode, at *place) error {
	if known := w.index[f]; known != nil {
		if f.Mode.IsDir() {
			return fmt.Errorf("erofs: directory %s has two names", at)
		}
		known.links++
		return nil
	}
	n := &inode{File: f, number: uint64(len(w.inodes)+1) * inodeSize / slotSize, links: 1}
	w.index[f] = n
	w.inodes = append(w.inodes, n)
	switch f.Mode.Type() {
	case 0:
		n.size = f.Size
	case fs.ModeSymlink:
		if n.size = int64(len(f.Target)); n.size == 0 || n.size > maxTarget {
			return fmt.Errorf("erofs: target of link %s has %d bytes; 1 to %d are possible", at, n.size, maxTarget)
		}
	case fs.ModeDir:
		return w.numberDir(n, parent, at)
	default:
		return fmt.Errorf("erofs: %s is neither a file, a directory nor a link (%s)", at, f.Mode.Type())
	}
	return nil
}

func (w *writer) numberDir(n, parent *inode, at *place) error {
	n.links = 2
	n.parent = n.number
	if parent != nil {
		n.parent = parent.number
		parent.links++
	}
	n.names = make([]string, 0, len(n.Children))
	for child := range n.Children {
		if child == "" || len(child) > maxName {
			return fmt.Errorf("erofs: a name in %s has %d bytes; 1 to %d are possible", at, len(child), maxName)
		}
		n.names = append(n.names, child)
	}
	sort.Strings(n.names)
	for _, child := range n.names {
		if err := w.number(n.Children[child], n, &place{at, child}); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) writeFiles() error {
	for _, n := range w.inodes {
		if n.Mode.Type() != 0 || n.size == 0 {
			continue
		}
		if err := w.position(n); err != nil {
			return err
		}
		if err := w.copyData(n.File); err != nil {
			return err
		}
		if err := w.pad(n.size); err != nil {
			return err
		}
	}
	return nil
}

// writeTables writes directories and link targets, close to the inodes.
func (w *writer) writeTables() error {
	for _, n := range w.inodes {
		var data []byte
		switch n.Mode.Type() {
		case fs.ModeDir:
			data = w.entries(n)
			n.size = int64(len(data))
		case fs.ModeSymlink:
			data = []byte(n.Target)
		default:
			continue
		}
		if err := w.position(n); err != nil {
			return err
		}
		if err := w.write(data); err != nil {
			return err
		}
		if err := w.pad(n.size); err != nil {
			return err
		}
	}
	return nil
}

// position puts n's data at the next block.
func (w *writer) position(n *inode) error {
	if w.blocks+(n.size+blockSize-1)/blockSize > math.MaxUint32 {
		return errors.New("more than 16 TiB of data")
	}
	n.block = uint32(w.blocks)
	return nil
}

func (w *writer) writeInodes() error {
	w.meta = uint32(w.blocks)
	if err := w.write(w.zero[:inodeSize]); err != nil {
		return err
	}
	for _, n := range w.inodes {
		if err := w.write(n.encode()); err != nil {
			return err
		}
	}
	return w.pad(int64(len(w.inodes)+1) * inodeSize)
}

// encode is the extended form of the inode on disk.
func (n *inode) encode() []byte {
	var b [inodeSize]byte
	le := binary.LittleEndian
	le.PutUint16(b[0:], 1) // extended, data in plain blocks
	le.PutUint16(b[4:], unixMode(n.Mode))
	le.PutUint64(b[8:], uint64(n.size))
	le.PutUint32(b[16:], n.block)
	le.PutUint32(b[20:], uint32(n.number))
	le.PutUint32(b[24:], n.UID)
	le.PutUint32(b[28:], n.GID)
	if !n.ModTime.IsZero() {
		le.PutUint64(b[32:], uint64(n.ModTime.Unix()))
		le.PutUint32(b[40:], uint32(n.ModTime.Nanosecond()))
	}
	le.PutUint32(b[44:], n.links)
	return b[:]
}

// entries encodes a directory: blocks, each a table of its entries followed
// by their names, in one strict order of names that "." and ".." take part in.
func (w *writer) entries(n *inode) []byte {
	names := append([]string{".", ".."}, n.names...)
	sort.Strings(names)
	var out []byte
	for len(names) > 0 {
		count, size := 0, 0
		for count < len(names) && size+12+len(names[count]) <= blockSize {
			size += 12 + len(names[count])
			count++
		}
		if pad := len(out) % blockSize; pad != 0 {
			out = append(out, w.zero[pad:]...)
		}
		out = w.entryBlock(out, n, names[:count])
		names = names[count:]
	}
	return out
}

func (w *writer) entryBlock(out []byte, n *inode, names []string) []byte {
	offset := 12 * len(names)
	for _, name := range names {
		number, kind := n.number, byte(2)
		switch name {
		case ".":
		case "..":
			number = n.parent
		default:
			child := w.index[n.Children[name]]
			number, kind = child.number, fileType(child.Mode)
		}
		out = binary.LittleEndian.AppendUint64(out, number)
		out = binary.LittleEndian.AppendUint16(out, uint16(offset))
		out = append(out, kind, 0)
		offset += len(name)
	}
	for _, name := range names {
		out = append(out, name...)
	}
	return out
}

func (w *writer) superblock() []byte {
	b := make([]byte, blockSize)
	s, le := b[superOffset:], binary.LittleEndian
	le.PutUint32(s[0:], magic)
	le.PutUint32(s[8:], featureSum|featureTime)
	s[12] = 12 // log2 of the block size
	le.PutUint16(s[14:], uint16(w.inodes[0].number))
	le.PutUint64(s[16:], uint64(len(w.inodes)))
	le.PutUint32(s[36:], uint32(w.blocks))
	le.PutUint32(s[40:], w.meta)
	le.PutUint32(s[4:], ^crc32.Checksum(s, crc32.MakeTable(crc32.Castagnoli)))
	return b
}

// copyData appends the bytes of a regular file. Large ones from an open file
// go through copy_file_range, which shares or copies them in the kernel.
func (w *writer) copyData(f *File) error {
	if f.Size < direct {
		start := len(w.buf)
		w.buf = append(w.buf, make([]byte, f.Size)...)
		if n, err := f.Source.ReadAt(w.buf[start:], f.Offset); int64(n) < f.Size {
			return fmt.Errorf("read %d bytes of file data: %w", f.Size, orShort(err))
		}
		return w.flushFull()
	}
	if err := w.flush(); err != nil {
		return err
	}
	src := io.Reader(io.NewSectionReader(f.Source, f.Offset, f.Size))
	if file, ok := f.Source.(*os.File); ok {
		if _, err := file.Seek(f.Offset, io.SeekStart); err != nil {
			return err
		}
		src = file
	}
	if _, err := io.CopyN(w.out, src, f.Size); err != nil {
		return fmt.Errorf("copy %d bytes of file data: %w", f.Size, orShort(err))
	}
	return nil
}

func orShort(err error) error {
	if err == nil || errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// pad ends the block after size bytes of data, and counts its blocks.
func (w *writer) pad(size int64) error {
	w.blocks += (size + blockSize - 1) / blockSize
	if rest := size % blockSize; rest != 0 {
		return w.write(w.zero[rest:])
	}
	return nil
}

// write appends data; pad counts its blocks.
func (w *writer) write(p []byte) error {
	w.buf = append(w.buf, p...)
	return w.flushFull()
}

func (w *writer) flushFull() error {
	if len(w.buf) < bufferSize {
		return nil
	}
	return w.flush()
}

func (w *writer) flush() error {
	_, err := w.out.Write(w.buf)
	w.buf = w.buf[:0]
	return err
}

func fileType(m fs.FileMode) byte {
	switch m.Type() {
	case fs.ModeDir:
		return 2
	case fs.ModeSymlink:
		return 7
	default:
		return 1
	}
}

func unixMode(m fs.FileMode) uint16 {
	mode := uint16(m.Perm())
	for _, special := range []struct {
		mode fs.FileMode
		unix uint16
	}{{fs.ModeSetuid, 0o4000}, {fs.ModeSetgid, 0o2000}, {fs.ModeSticky, 0o1000}} {
		if m&special.mode != 0 {
			mode |= special.unix
		}
	}
	switch m.Type() {
	case fs.ModeDir:
		return mode | 0o040000
	case fs.ModeSymlink:
		return mode | 0o120000
	default:
		return mode | 0o100000
	}
}
