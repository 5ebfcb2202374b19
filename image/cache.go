package image

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"time"
)

// keyed returns the layer that the inputs in key make, from the store or by
// making it; cached says that this call made nothing. A layer is made once,
// however many builds want it now. release, which may be nil, is called when
// what make works on is needed no longer.
func (s *Store) keyed(ctx context.Context, kind, key string, release func(), make func(context.Context) (layer, error)) (l layer, cached bool, err error) {
	if release == nil {
		release = func() {}
	}
	name := s.layerFile(kind, key)
	if l, ok := s.kept(name); ok {
		release()
		return l, true, nil
	}
	l, cached, err = s.flights.do(ctx, kind+"-"+key, func(ctx context.Context) (layer, error) {
		defer release()
		if l, ok := s.kept(name); ok {
			return l, nil
		}
		l, err := make(ctx)
		if err != nil {
			return layer{}, err
		}
		return l, s.writeJSON(name, l)
	})
	if cached {
		release()
	}
	return l, cached, err
}

// layerFile is the record of a layer.
func (s *Store) layerFile(kind, key string) string {
	return filepath.Join(s.dir, "layers", kind+"-"+key+".json")
}

// kept reads a layer's record, if all that it names is there.
func (s *Store) kept(name string) (layer, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	raw, err := os.ReadFile(name)
	if err != nil {
		return layer{}, false
	}
	var l layer
	if json.Unmarshal(raw, &l) != nil {
		return layer{}, false
	}
	info, err := os.Stat(s.blob(l.Digest))
	if err != nil || info.Size() != l.Size {
		return layer{}, false
	}
	if l.Folder != "" && !exists(filepath.Join(s.dir, l.Folder)) {
		return layer{}, false
	}
	s.touch(name)
	return l, true
}

// keepFolder gives a finished folder its place in the store. If another
// process was faster, its folder stays.
func (s *Store) keepFolder(tmp, kind, key string) (string, error) {
	folder := filepath.Join(kind, key)
	err := os.Rename(tmp, filepath.Join(s.dir, folder))
	if err != nil && exists(filepath.Join(s.dir, folder)) {
		return folder, os.RemoveAll(tmp)
	}
	return folder, err
}

// began notes a running build, for Collect; what it returns notes its end.
func (s *Store) began() (ended func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.builds++
	id := s.builds
	s.running[id] = time.Now()
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.running, id)
	}
}

// touch marks a record as used now.
func (s *Store) touch(name string) {
	now := time.Now()
	if err := os.Chtimes(name, now, now); err != nil {
		s.log.Debug("cannot mark as used", "path", name, "error", err)
	}
}
