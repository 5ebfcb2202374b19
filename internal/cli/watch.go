package cli

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"path"
	"path/filepath"
	"slices"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/isolde-run/isolde/image"
)

// settle is how long a folder must be quiet before a change counts: editors
// save in several steps.
const settle = 100 * time.Millisecond

// watcher tells when what would be deployed of a folder has changed. What
// that is, [image.Pack] alone knows: its stream is hashed, and the folders in
// it are the ones watched. So virtual environments and caches cost nothing,
// and a change in them is none.
type watcher struct {
	folder string
	fs     *fsnotify.Watcher
	sum    [sha256.Size]byte // of the content that was last reported
}

// openWatcher watches the folder as it is now.
func openWatcher(folder string) (*watcher, error) {
	fs, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, fmt.Errorf("watch %s: %w", folder, err)
	}
	w := &watcher{folder: folder, fs: fs}
	if w.sum, err = w.scan(); err != nil {
		fs.Close()
		return nil, err
	}
	return w, nil
}

// Close stops watching.
func (w *watcher) Close() error { return w.fs.Close() }

// run calls changed after each change, until ctx ends. Changes during a call
// lead to another. failed gets errors of reading the folder; the next change
// may mend them.
func (w *watcher) run(ctx context.Context, changed func(), failed func(error)) {
	quiet := time.NewTimer(settle)
	quiet.Stop()
	failures := 0
	for {
		select {
		case <-ctx.Done():
			return
		case ev, ok := <-w.fs.Events:
			if !ok {
				return
			}
			if ev.Op != fsnotify.Chmod { // also sent when somebody only looks
				quiet.Reset(settle)
			}
		case _, ok := <-w.fs.Errors:
			if !ok {
				return
			}
			quiet.Reset(settle) // events were lost
		case <-quiet.C:
			sum, err := w.scan()
			switch {
			case err != nil:
				if failures++; failures < 3 { // a file that was there a moment ago
					quiet.Reset(settle)
					continue
				}
				failed(err)
			case sum != w.sum:
				w.sum = sum
				changed()
			}
			failures = 0
		}
	}
}

// scan hashes the folder and watches the folders in it. A folder that
// appeared since the last scan may have been filled before it was watched, so
// that it scans again until there is no such folder.
func (w *watcher) scan() ([sha256.Size]byte, error) {
	for {
		sum, dirs, err := w.read()
		if err != nil {
			return sum, err
		}
		watched, fresh := w.fs.WatchList(), false
		for _, d := range dirs {
			if slices.Contains(watched, d) {
				continue
			}
			if err := w.fs.Add(d); err != nil {
				return sum, fmt.Errorf("watch %s: %w", d, err)
			}
			fresh = true
		}
		if !fresh {
			return sum, nil
		}
	}
}

// read hashes what would be deployed, and lists the folders it is in.
func (w *watcher) read() (sum [sha256.Size]byte, dirs []string, err error) {
	r, out := io.Pipe()
	h := sha256.New()
	packed := make(chan error, 1)
	go func() {
		err := image.Pack(io.MultiWriter(out, h), w.folder)
		out.CloseWithError(err)
		packed <- err
	}()
	found := map[string]bool{".": true}
	t := tar.NewReader(r)
	for {
		header, terr := t.Next()
		if terr != nil {
			break // the error of Pack, if there is one, counts
		}
		dir := path.Dir(path.Clean(header.Name))
		if header.Typeflag == tar.TypeDir {
			dir = path.Clean(header.Name)
		}
		for ; !found[dir]; dir = path.Dir(dir) {
			found[dir] = true
		}
	}
	io.Copy(io.Discard, r) //nolint:errcheck // so that Pack gets to its end
	err = <-packed
	for d := range found {
		dirs = append(dirs, filepath.Join(w.folder, filepath.FromSlash(d)))
	}
	return [sha256.Size]byte(h.Sum(nil)), dirs, err
}
