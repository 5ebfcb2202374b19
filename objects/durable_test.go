package objects

import (
	"bufio"
	"bytes"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/johannesboyne/gofakes3"

	"github.com/isolde-run/isolde/internal/need"
)

// TestKilledWriter kills a process that writes, at one point after another,
// and finds each object whole, all that were reported, and nothing else.
func TestKilledWriter(t *testing.T) {
	if dir := os.Getenv("OBJECTS_TEST_WRITER"); dir != "" {
		writeUntilKilled(t, dir)
	}
	dir := t.TempDir()
	for round := range 5 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKilledWriter$")
		cmd.Env = append(os.Environ(), "OBJECTS_TEST_WRITER="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		written, n := map[string]bool{}, 0
		for lines := bufio.NewScanner(out); lines.Scan(); {
			if key, ok := strings.CutPrefix(lines.Text(), "wrote "); ok {
				written[key] = true
				n++
			}
			if n == 3+round*5 {
				cmd.Process.Kill() //nolint:errcheck // Wait tells
			}
		}
		cmd.Wait() //nolint:errcheck // it was killed
		if len(written) < 3 {
			t.Fatalf("the writer wrote %d objects", len(written))
		}
		checkWhole(t, dir, written)
	}
}

func writeUntilKilled(t *testing.T, dir string) {
	s, err := Open(Config{Dir: dir, Quota: 1 << 30})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.createBucket("killed", "us-east-1"); err != nil {
		t.Fatal(err)
	}
	for i := 0; ; i++ {
		key := fmt.Sprint("key", i%7)
		text := bytes.Repeat([]byte{byte(i)}, 1<<20+i)
		if err := s.put("killed", &version{Key: key}, bytes.NewReader(text), int64(len(text)), gofakes3.PutConditions{}); err != nil {
			t.Fatal(err)
		}
		fmt.Println("wrote", key)
		u, err := s.createUpload("killed", &version{Key: "upload"})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := s.putPart("killed", "upload", u.id, 1, bytes.NewReader(text), int64(len(text))); err != nil {
			t.Fatal(err)
		}
	}
}

func checkWhole(t *testing.T, dir string, written map[string]bool) {
	t.Helper()
	s, err := Open(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	bucket := s.buckets["killed"]
	for key := range written {
		if bucket.latest(key) == nil {
			t.Errorf("%s was reported and is gone", key)
		}
	}
	var used int64
	for _, key := range bucket.keys {
		v, f, err := s.open("killed", key, "")
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(f)
		f.Close()
		if sum := md5.Sum(text); err != nil || hex.EncodeToString(sum[:]) != v.ETag || len(bucket.versions[key]) != 1 {
			t.Errorf("%s: %d bytes, %d versions, not what was written: %v", key, len(text), len(bucket.versions[key]), err)
		}
		used += v.Size
	}
	for sub, want := range map[string]int{"tmp": 0, "buckets/killed": 2*len(bucket.keys) + 1} {
		if entries, err := os.ReadDir(filepath.Join(dir, sub)); err != nil || len(entries) != want {
			t.Errorf("%s has %d entries, want %d (%v)", sub, len(entries), want, err)
		}
	}
	if s.used.Load() != used {
		t.Errorf("%d bytes used, counted %d", used, s.used.Load())
	}
}

// TestLeftovers opens a store whose process died at the worst moments.
func TestLeftovers(t *testing.T) {
	b := newBed(t, 0)
	bucket := b.bucket("leftovers")
	b.put(bucket, "k", "old")
	dir := filepath.Join(b.dir, "objects", "buckets", bucket)
	kept := map[string][]byte{}
	for _, file := range b.files("buckets") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		kept[file] = text
	}
	b.put(bucket, "k", "new")
	kept[filepath.Join(dir, "bytesbeforetheirrecord")] = []byte("lost")
	for file, text := range kept { // the replaced version as well: it was not yet removed
		if err := os.WriteFile(file, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b.reopen()
	if text, err := b.get(bucket, "k", ""); text != "new" {
		t.Errorf("k = %q, %v", text, err)
	}
	if n := len(b.files("buckets")); n != 2 || b.store.used.Load() != 3 {
		t.Errorf("%d files, %d bytes", n, b.store.used.Load())
	}
	// A record whose bytes are gone is an object that is gone.
	for _, file := range b.files("buckets") {
		if !strings.HasSuffix(file, ".json") {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		}
	}
	b.reopen()
	if _, err := b.get(bucket, "k", ""); codeOf(err) != "NoSuchKey" {
		t.Errorf("without bytes: %v", err)
	}
}

func TestQuota(t *testing.T) {
	b := newBed(t, 8<<20)
	ctx, bucket := t.Context(), aws.String(b.bucket("quota"))
	b.put(*bucket, "small", strings.Repeat("x", 1<<20))
	_, err := b.s3.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: aws.String("big"), Body: bytes.NewReader(make([]byte, 8<<20))})
	if codeOf(err) != "QuotaExceeded" || !strings.Contains(err.Error(), "8388608") {
		t.Errorf("put: %v", err)
	}
	create, err := b.s3.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: bucket, Key: aws.String("big")})
	if err != nil {
		t.Fatal(err)
	}
	part := func(n int32) (*s3.UploadPartOutput, error) {
		return b.s3.UploadPart(ctx, &s3.UploadPartInput{Bucket: bucket, Key: aws.String("big"), UploadId: create.UploadId, PartNumber: &n, Body: bytes.NewReader(make([]byte, 5<<20))})
	}
	one, err := part(1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := part(2); codeOf(err) != "QuotaExceeded" {
		t.Errorf("part: %v", err)
	}
	// The object takes its parts' place, so it fits.
	_, err = b.s3.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: bucket, Key: aws.String("big"), UploadId: create.UploadId,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{{PartNumber: aws.Int32(1), ETag: one.ETag}}},
	})
	if err != nil {
		t.Error(err)
	}
	if got := b.store.used.Load(); got != 6<<20 {
		t.Errorf("%d bytes used", got)
	}
	b.put(*bucket, "small", "") // gives its room back
	if got := b.store.used.Load(); got != 5<<20 {
		t.Errorf("%d bytes used", got)
	}
}

func TestFullDisk(t *testing.T) {
	b := &bed{T: t, dir: need.SmallDisk(t, 8<<20)}
	b.store = b.open(0)
	if _, err := b.store.createBucket("full", "us-east-1"); err != nil {
		t.Fatal(err)
	}
	put := func(key string, size int) error {
		return b.store.put("full", &version{Key: key}, bytes.NewReader(make([]byte, size)), int64(size), gofakes3.PutConditions{})
	}
	if err := put("fits", 1<<20); err != nil {
		t.Fatal(err)
	}
	if err := put("does not", 16<<20); err == nil || asFault(err).code != codeDiskFull {
		t.Errorf("put on a full disk: %v", err)
	}
	if n := len(b.files("tmp")); n != 0 || b.store.used.Load() != 1<<20 {
		t.Errorf("%d files left, %d bytes counted", n, b.store.used.Load())
	}
	if err := put("fits too", 1<<20); err != nil {
		t.Errorf("after the failure: %v", err)
	}
	b.reopen()
	if keys := b.store.buckets["full"].keys; len(keys) != 2 {
		t.Errorf("keys = %q", keys)
	}
}
