package auth

import (
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/isolde-run/isolde"
)

// lookInterval is how long a change of the file may go unseen.
const lookInterval = time.Second

// Keys are the keys a server knows: those of a file, which may change while
// the server runs, and fixed ones besides. All methods are safe for concurrent use.
//
// The file is looked at on demand, at most once a second, so that there is
// nothing to close. A file that became unreadable, or bad, leaves the keys as
// they were and says so in the log: an editor that writes it in two steps must not
// shut everyone out. A key is revoked by a good file without it.
type Keys struct {
	path  string
	fixed []*Key
	log   *slog.Logger

	byID   atomic.Pointer[map[string]*Key]
	lookAt atomic.Int64 // Unix nanoseconds of the next look at the file

	mu   sync.Mutex // one reload at a time
	seen fileState  // what the file was when it was read last
}

// fileState tells one content of a file from the next.
type fileState struct {
	info fs.FileInfo
	err  string
}

func (s fileState) same(t fileState) bool {
	if s.info == nil || t.info == nil {
		return s.info == nil && t.info == nil && s.err == t.err
	}
	return os.SameFile(s.info, t.info) && s.info.Size() == t.info.Size() &&
		s.info.ModTime().Equal(t.info.ModTime()) && s.info.Mode() == t.info.Mode()
}

// OpenKeys reads the keys of a file and those of a text in the same form, the
// value of an environment variable. Each may be empty. It fails when either cannot be
// read, when others than owner and group can read the file, and when an id
// is there twice.
func OpenKeys(path, text string, log *slog.Logger) (*Keys, error) {
	k := &Keys{path: path, log: log}
	var err error
	if k.fixed, err = parseKeys("the environment", []byte(text)); err != nil {
		return nil, err
	}
	k.seen = k.state()
	if err := k.read(); err != nil {
		return nil, err
	}
	k.lookAt.Store(time.Now().Add(lookInterval).UnixNano())
	return k, nil
}

// NewKeys holds fixed keys, for tests and for programs that embed the server.
func NewKeys(keys ...*Key) (*Keys, error) {
	k := &Keys{fixed: keys, log: slog.New(slog.DiscardHandler)}
	for _, key := range keys {
		if err := key.check(); err != nil {
			return nil, err
		}
	}
	return k, k.read()
}

// Lookup returns the key of an access key id, also of one that [Keys.Issue] made. The caller does not change it.
// After a change of the file, the key of an id that is still there is another one.
func (k *Keys) Lookup(id string) (*Key, bool) {
	if k.path != "" {
		k.look()
	}
	key, ok := (*k.byID.Load())[id]
	if !ok {
		return k.lookupTemporary(id)
	}
	return key, ok
}

// Len is how many keys there are.
func (k *Keys) Len() int { return len(*k.byID.Load()) }

// look reads the file again if it is time to look and it is another than
// before. Whoever comes meanwhile gets the keys as they are.
func (k *Keys) look() {
	now := time.Now().UnixNano()
	due := k.lookAt.Load()
	if now < due || !k.lookAt.CompareAndSwap(due, now+int64(lookInterval)) {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	state := k.state()
	if state.same(k.seen) {
		return
	}
	k.seen = state
	if err := k.read(); err != nil {
		k.log.Error("keys not read again; those of before stay", "file", k.path, "err", err)
		return
	}
	k.log.Info("keys read again", "file", k.path, "keys", k.Len())
}

func (k *Keys) state() fileState {
	if k.path == "" {
		return fileState{}
	}
	info, err := os.Stat(k.path)
	if err != nil {
		return fileState{err: err.Error()}
	}
	return fileState{info: info}
}

// read puts the keys of the file and the fixed ones in place of those before.
func (k *Keys) read() error {
	all := k.fixed
	if k.path != "" {
		keys, err := readFile(k.path)
		if err != nil {
			return err
		}
		all = append(keys, all...)
	}
	byID := make(map[string]*Key, len(all))
	for _, key := range all {
		if byID[key.ID] != nil {
			return isolde.Errorf(isolde.CodeInvalid, "access key id %s is there twice", key.ID).
				WithHint("look through %s and the environment", k.path)
		}
		byID[key.ID] = key
	}
	k.byID.Store(&byID)
	return nil
}
