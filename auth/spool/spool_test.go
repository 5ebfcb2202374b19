package spool

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"testing/iotest"

	"go.uber.org/goleak"

	"github.com/isolde-run/isolde"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const limit = 2 << 20

// random is n bytes that are like no others.
func random(n int) []byte {
	p := make([]byte, n)
	rand.NewChaCha8([32]byte{byte(n), byte(n >> 8), byte(n >> 16)}).Read(p) //nolint:errcheck // never fails
	return p
}

// empty checks that a spool has all of its budgets back, and its folder nothing.
func empty(t *testing.T, s *Spool, memory, disk int64) {
	t.Helper()
	if s.memory.left != memory {
		t.Errorf("%d bytes of memory left, want %d", s.memory.left, memory)
	}
	if left := s.disk.Load(); left != disk {
		t.Errorf("%d bytes of disk left, want %d", left, disk)
	}
	if s.folder == "" {
		return
	}
	if files, err := os.ReadDir(s.folder); err != nil || len(files) != 0 {
		t.Errorf("left in the folder: %v, %v", files, err)
	}
}

func TestBodies(t *testing.T) {
	sizes := []int{0, 1, 4 << 10, 4<<10 + 1, small - 1, small, small + 1, chunkSize, chunkSize + 1, 3*chunkSize - 1, limit}
	for name, budget := range map[string]struct{ memory, disk int64 }{
		"memory":          {limit + chunkSize, 0},
		"disk":            {0, limit},
		"memory and disk": {2 * chunkSize, limit},
		"half a chunk":    {chunkSize / 2, limit},
	} {
		s := New(budget.memory, budget.disk, t.TempDir())
		for _, size := range sizes {
			for _, declared := range []bool{true, false} {
				t.Run(fmt.Sprint(name, " ", size, " ", declared), func(t *testing.T) {
					want, length := random(size), int64(-1)
					if declared {
						length = int64(size)
					}
					sum := sha256.Sum256(want)
					for _, read := range []func(b *Body) ([]byte, error){
						func(b *Body) ([]byte, error) { return io.ReadAll(struct{ io.Reader }{b}) },
						func(b *Body) ([]byte, error) {
							var all bytes.Buffer
							_, err := b.WriteTo(&all)
							return all.Bytes(), err
						},
						func(b *Body) ([]byte, error) { // both
							all, err := io.ReadAll(io.LimitReader(struct{ io.Reader }{b}, int64(size/3)))
							rest := bytes.NewBuffer(all)
							if err == nil {
								_, err = b.WriteTo(rest)
							}
							return rest.Bytes(), err
						},
					} {
						b, err := s.Read(iotest.HalfReader(bytes.NewReader(want)), length, limit)
						if err != nil {
							t.Fatal(err)
						}
						if b.Len() != int64(size) || b.SHA256() != sum {
							t.Errorf("%d bytes, SHA-256 %x; want %d, %x", b.Len(), b.SHA256(), size, sum)
						}
						if got, err := read(b); err != nil || !bytes.Equal(got, want) {
							t.Errorf("read %d bytes, %v; not the %d that were sent", len(got), err, size)
						}
						b.Close()
						b.Close()
						if _, err := b.Read(make([]byte, 1)); !errors.Is(err, fs.ErrClosed) {
							t.Errorf("a closed body: %v", err)
						}
						if _, err := b.WriteTo(io.Discard); !errors.Is(err, fs.ErrClosed) {
							t.Errorf("a closed body: %v", err)
						}
					}
				})
			}
		}
		empty(t, s, budget.memory, budget.disk)
	}
}

func TestRefuses(t *testing.T) {
	broken := errors.New("connection reset")
	for name, c := range map[string]struct {
		r      io.Reader
		length int64
		code   isolde.Code // empty: broken
	}{
		"declared over the limit": {bytes.NewReader(nil), limit + 1, isolde.CodeInvalid},
		"over the limit":          {bytes.NewReader(random(limit + 1)), -1, isolde.CodeInvalid},
		"wrongly declared":        {bytes.NewReader(random(limit + 1)), 3, isolde.CodeInvalid},
		"broken at once":          {iotest.ErrReader(broken), 100, ""},
		"broken in memory":        {io.MultiReader(bytes.NewReader(random(chunkSize+9)), iotest.ErrReader(broken)), limit, ""},
		"broken on disk":          {io.MultiReader(bytes.NewReader(random(5*chunkSize)), iotest.ErrReader(broken)), limit, ""},
	} {
		s := New(2*chunkSize, limit, t.TempDir())
		b, err := s.Read(c.r, c.length, limit)
		switch {
		case err == nil:
			t.Errorf("%s: %d bytes accepted", name, b.Len())
		case c.code == "" && !errors.Is(err, broken), c.code != "" && isolde.CodeOf(err) != c.code:
			t.Errorf("%s: %v", name, err)
		}
		empty(t, s, 2*chunkSize, limit)
	}
}

// TestNoRoom: what is beyond memory and disk is refused, and the same body is
// taken once there is room.
func TestNoRoom(t *testing.T) {
	for name, s := range map[string]*Spool{
		"no disk":        New(4*chunkSize, 0, ""),
		"little disk":    New(chunkSize, 3*chunkSize, t.TempDir()),
		"no such folder": New(4*chunkSize, limit, t.TempDir()+"/none"),
	} {
		want := random(4 * chunkSize)
		first, err := s.Read(bytes.NewReader(want[:3*chunkSize]), -1, limit)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if b, err := s.Read(bytes.NewReader(want), -1, limit); isolde.CodeOf(err) != isolde.CodeThrottled {
			t.Errorf("%s: %v, %v", name, b, err)
		}
		if _, err := s.Read(bytes.NewReader(want[:small]), -1, limit); err != nil {
			t.Errorf("%s: a small body: %v", name, err)
		}
		first.Close()
		b, err := s.Read(bytes.NewReader(want), -1, limit)
		if err != nil {
			t.Fatalf("%s: with room again: %v", name, err)
		}
		b.Close()
	}
}

// TestManyAtOnce: bodies that come together share the budgets, get through
// whole or are refused, and leave nothing.
func TestManyAtOnce(t *testing.T) {
	const memory, disk = 10 * chunkSize, 40 * chunkSize
	s := New(memory, disk, t.TempDir())
	var all sync.WaitGroup
	for i := range 30 {
		all.Go(func() {
			want := random(chunkSize + i*50_001)
			b, err := s.Read(iotest.OneByteReader(bytes.NewReader(want[:10])), -1, limit)
			if err != nil {
				t.Error(err)
				return
			}
			b.Close()
			b, err = s.Read(bytes.NewReader(want), int64(len(want)), limit)
			if err != nil {
				if isolde.CodeOf(err) != isolde.CodeThrottled {
					t.Error(err)
				}
				return
			}
			defer b.Close()
			if got, err := io.ReadAll(b); err != nil || !bytes.Equal(got, want) {
				t.Errorf("body %d came back as %d bytes, %v", i, len(got), err)
			}
		})
	}
	all.Wait()
	empty(t, s, memory, disk)
}

// TestCloseWhileWriting: a transport closes a body that it still sends; the
// memory must not go to another body before that ended.
func TestCloseWhileWriting(t *testing.T) {
	for _, memory := range []int64{4 * chunkSize, chunkSize} {
		s := New(memory, limit, t.TempDir())
		want := random(2 * chunkSize)
		b, err := s.Read(bytes.NewReader(want), -1, limit)
		if err != nil {
			t.Fatal(err)
		}
		r, w := io.Pipe()
		done := make(chan error)
		go func() {
			_, err := b.WriteTo(w)
			w.CloseWithError(err)
			done <- err
		}()
		got := make([]byte, 100)
		if _, err := io.ReadFull(r, got); err != nil {
			t.Fatal(err)
		}
		b.Close()
		if s.memory.left == memory {
			t.Error("the memory is free while it is written from")
		}
		rest, err := io.ReadAll(r)
		if err != nil || !bytes.Equal(append(got, rest...), want) {
			t.Errorf("%d bytes, %v", len(rest), err)
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
		empty(t, s, memory, limit)
	}
}
