package objects

import (
	"bytes"
	"fmt"
	"io"
	"sync"
	"testing"

	"github.com/johannesboyne/gofakes3"
)

// TestConcurrentWrites has one key written, read, copied and deleted at once;
// whatever is read is one of the texts, whole.
func TestConcurrentWrites(t *testing.T) {
	b := newBed(t, 0)
	bucket := b.bucket("concurrent")
	var wg sync.WaitGroup
	for i := range 4 {
		text := bytes.Repeat([]byte{byte('a' + i)}, 10_000+i)
		wg.Go(func() {
			for range 20 {
				if err := b.store.put(bucket, &version{Key: "k"}, bytes.NewReader(text), int64(len(text)), gofakes3.PutConditions{}); err != nil {
					t.Error(err)
				}
				if from, file, err := b.store.link(bucket, "k", ""); err == nil {
					v := &version{Key: "copy", Size: from.Size, ETag: from.ETag}
					if err := b.store.commit(bucket, v, file, gofakes3.PutConditions{}); err != nil {
						t.Error(err)
					}
				}
			}
		})
		wg.Go(func() {
			for range 40 {
				if err := readWhole(b.store, bucket, []string{"k", "copy"}[i%2]); err != nil {
					t.Error(err)
				}
				if i == 0 {
					if _, err := b.store.delete(bucket, "k"); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	wg.Wait()
	var used int64
	for _, key := range b.store.buckets[bucket].keys {
		used += b.store.buckets[bucket].latest(key).Size
	}
	if n := len(b.files("buckets")); b.store.used.Load() != used || n != 2*len(b.store.buckets[bucket].keys) || len(b.files("tmp")) != 0 {
		t.Errorf("%d bytes counted, %d kept in %d files", b.store.used.Load(), used, n)
	}
}

func readWhole(s *Store, bucket, key string) error {
	v, f, err := s.open(bucket, key, "")
	if err != nil {
		if asFault(err).code == gofakes3.ErrNoSuchKey {
			return nil
		}
		return err
	}
	defer f.Close()
	text, err := io.ReadAll(f)
	if err != nil {
		return err
	}
	if int64(len(text)) != v.Size || bytes.Count(text, text[:1]) != len(text) || len(text) != 10_000+int(text[0]-'a') {
		return fmt.Errorf("%s: %d bytes of %d, not one text", key, len(text), v.Size)
	}
	return nil
}
