package spool

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
)

const large = 100_000_000

// BenchmarkHash is the floor: the hash alone, and copying alone.
func BenchmarkHash(b *testing.B) {
	p := random(large)
	b.Run("sha256", func(b *testing.B) {
		b.SetBytes(large)
		for b.Loop() {
			sha256.Sum256(p)
		}
	})
	b.Run("copy", func(b *testing.B) {
		b.SetBytes(large)
		buf := make([]byte, chunkSize)
		for b.Loop() {
			for rest := p; len(rest) > 0; rest = rest[copy(buf, rest):] {
			}
		}
	})
}

// BenchmarkRead is a body in memory: small ones, and 100 MB over a TCP
// connection beside the same bytes thrown away as they come, kept without a hash, and kept with one.
func BenchmarkRead(b *testing.B) {
	s := New(2*large, 0, "")
	for _, size := range []int{100, 10_000, small} {
		p := random(size)
		b.Run(strconv.Itoa(size), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(size))
			for b.Loop() {
				body, err := s.Read(bytes.NewReader(p), int64(size), large)
				if err != nil {
					b.Fatal(err)
				}
				body.Close()
			}
		})
	}
	onDisk := New(0, large, b.TempDir())
	for _, c := range []struct {
		name string
		read func(r io.Reader) error
	}{
		{"discard", func(r io.Reader) error {
			_, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, struct{ io.Reader }{r}, make([]byte, chunkSize))
			return err
		}},
		{"memory", func(r io.Reader) error { return readClose(s, r) }},
		{"disk", func(r io.Reader) error { return readClose(onDisk, r) }},
	} {
		b.Run("100MB/"+c.name, func(b *testing.B) {
			b.SetBytes(large)
			conn := source(b)
			for b.Loop() {
				if err := c.read(io.LimitReader(conn, large)); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

func readClose(s *Spool, r io.Reader) error {
	body, err := s.Read(r, large, large)
	if err != nil {
		return err
	}
	return body.Close()
}

// source is a connection that sends without end.
func source(b *testing.B) net.Conn {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	var sender sync.WaitGroup
	sender.Go(func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		for p := random(1 << 20); err == nil; {
			_, err = conn.Write(p)
		}
	})
	conn, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		conn.Close()
		l.Close()
		sender.Wait()
	})
	return conn
}

// BenchmarkTwentyLargeBodies holds 20 bodies of 100 MB at once, with 256 MB of
// memory and the rest on disk, and says how much more memory the process had
// than before at the worst moment.
func BenchmarkTwentyLargeBodies(b *testing.B) {
	p := random(1 << 20)
	s := New(256<<20, 2<<30, b.TempDir())
	before := resident(b, "VmRSS:")
	if err := os.WriteFile("/proc/self/clear_refs", []byte("5"), 0); err != nil {
		b.Skip("no peak of memory on this machine: ", err)
	}
	for b.Loop() {
		var all sync.WaitGroup
		held := make(chan struct{})
		var reading sync.WaitGroup
		reading.Add(20)
		for range 20 {
			all.Go(func() {
				body, err := s.Read(io.LimitReader(repeat{p}, large), -1, large)
				reading.Done()
				if err != nil {
					b.Error(err)
					return
				}
				<-held
				body.Close()
			})
		}
		reading.Wait()
		close(held)
		all.Wait()
	}
	b.ReportMetric(float64(resident(b, "VmHWM:")-before)/(1<<20), "MiB-peak")
}

// repeat reads the same bytes without end.
type repeat struct{ p []byte }

func (r repeat) Read(p []byte) (int, error) { return copy(p, r.p), nil }

// resident is a line of /proc/self/status in bytes.
func resident(b *testing.B, line string) int64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		b.Skip(err)
	}
	var kib int64
	_, rest, _ := strings.Cut(string(text), line)
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		b.Fatal(err)
	}
	return kib << 10
}
