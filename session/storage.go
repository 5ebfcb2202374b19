package session

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox"
)

// Storage is what a session keeps when it stops: the files below its storage's
// mount paths.
type Storage struct {
	Key        isolde.SessionKey
	Version    isolde.VersionNumber // of the sandboxes that wrote it; those of another begin anew
	Bytes      int64                // what it takes of the disk
	CreatedAt  time.Time
	LastUsedAt time.Time // the start or the end of the last sandbox that had it
	Running    bool      // a sandbox has it now
}

// keepStorage is how long storage is kept that no session uses, AgentCore's.
const keepStorage = 14 * 24 * time.Hour

// What is in StorageDir: a folder for each agent runtime, in it one for each
// session, and in that its record and its volumes.
const (
	storageRecordFile = "session.json" // its modification time is the last use
	volumeSuffix      = ".ext4"
	goneDir           = ".gone" // what is being removed
)

// storageRecord says whose a folder is, since its name does not.
type storageRecord struct {
	Session   isolde.SessionID     `json:"runtimeSessionId"`
	Version   isolde.VersionNumber `json:"agentRuntimeVersion"`
	Owner     string               `json:"owner,omitempty"` // empty: anyone may enter the session
	CreatedAt time.Time            `json:"createdAt"`
}

// fileName makes a file's name of a session id, which is the caller's and may
// hold anything.
func fileName(id isolde.SessionID) string {
	sum := sha256.Sum256([]byte(id))
	return hex.EncodeToString(sum[:10])
}

func (m *Manager) storageDir(key isolde.SessionKey) string {
	return filepath.Join(m.cfg.StorageDir, string(key.Runtime), fileName(key.Session))
}

// volumes says where the session's volumes are. What another version, or
// another owner's session of the same id, has left is removed first.
func (s *session) volumes(wanted []sandbox.Volume) ([]sandbox.Volume, error) {
	if len(wanted) == 0 {
		return nil, nil
	}
	if s.m.cfg.StorageDir == "" {
		return nil, errors.New("the manager has no folder for storage")
	}
	dir := s.m.storageDir(s.key)
	record := storageRecord{Session: s.key.Session, Version: s.version, Owner: s.owner, CreatedAt: time.Now()}
	if old, err := readStorageRecord(dir); err == nil {
		same := old.Session == s.key.Session && old.Version == s.version
		if same && (s.unbound || old.Owner == "" || old.Owner == s.owner) {
			record.CreatedAt = old.CreatedAt
			if s.owner == "" {
				record.Owner = old.Owner
			}
		} else if err := s.m.drop(dir); err != nil {
			return nil, fmt.Errorf("remove old session storage: %w", err)
		}
	}
	if err := record.write(dir); err != nil {
		return nil, fmt.Errorf("prepare session storage: %w", err)
	}
	out := slices.Clone(wanted) // it is shared by all sessions of the version
	for i, v := range out {
		out[i].File = filepath.Join(dir, path.Base(v.Path)+volumeSuffix)
	}
	return out, nil
}

// usedStorage notes that the session's storage was used until now.
func (s *session) usedStorage() {
	if s.m.cfg.StorageDir != "" {
		now := time.Now()
		_ = os.Chtimes(filepath.Join(s.m.storageDir(s.key), storageRecordFile), now, now) // most sessions have none
	}
}

// write makes the record appear as a whole.
func (r storageRecord) write(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	b, err := json.Marshal(r)
	if err != nil {
		return err
	}
	file := filepath.Join(dir, storageRecordFile)
	if err := os.WriteFile(file+".new", b, 0o600); err != nil {
		return err
	}
	now := time.Now()
	return errors.Join(os.Chtimes(file+".new", now, now), os.Rename(file+".new", file))
}

func readStorageRecord(dir string) (r storageRecord, err error) {
	b, err := os.ReadFile(filepath.Join(dir, storageRecordFile))
	if err == nil {
		err = json.Unmarshal(b, &r)
	}
	return r, err
}

// drop removes a folder of StorageDir.
func (m *Manager) drop(dir string) error {
	gone, err := m.setAside(dir)
	if err != nil {
		return err
	}
	return os.RemoveAll(gone)
}

// setAside takes a folder's name away from it at once; what is left is to be
// removed. A sandbox that has yet to let go of a volume in it is not
// disturbed.
func (m *Manager) setAside(dir string) (gone string, err error) {
	aside := filepath.Join(m.cfg.StorageDir, goneDir)
	if err := os.MkdirAll(aside, 0o700); err != nil {
		return "", err
	}
	gone = filepath.Join(aside, rand.Text())
	if err := os.Rename(dir, gone); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	return gone, nil
}

// dropUnused drops the storage of a session that has no sandbox; CodeConflict
// if it has one.
func (m *Manager) dropUnused(key isolde.SessionKey) error {
	gone, err := func() (string, error) {
		m.mu.Lock() // so that none starts meanwhile
		defer m.mu.Unlock()
		if m.sessions[key] != nil {
			return "", isolde.Errorf(isolde.CodeConflict, "session %s runs and uses its storage", key.Session).
				WithHint("isolde session stop %s", key.Session)
		}
		return m.setAside(m.storageDir(key))
	}()
	if err != nil {
		return err
	}
	return os.RemoveAll(gone)
}

// Storages lists what sessions keep, of an agent runtime or of all if id is
// empty, what was used last first.
func (m *Manager) Storages(id isolde.RuntimeID) []Storage {
	if m.cfg.StorageDir == "" {
		return nil
	}
	runtimes := []string{string(id)}
	if id == "" {
		runtimes = names(m.cfg.StorageDir)
	}
	out := []Storage{}
	for _, runtime := range runtimes {
		for _, name := range names(filepath.Join(m.cfg.StorageDir, runtime)) {
			if st, ok := m.storage(isolde.RuntimeID(runtime), name); ok {
				out = append(out, st)
			}
		}
	}
	slices.SortFunc(out, func(a, b Storage) int { return b.LastUsedAt.Compare(a.LastUsedAt) })
	return out
}

// storage reads about one folder. It is not one if it is being removed.
func (m *Manager) storage(runtime isolde.RuntimeID, name string) (Storage, bool) {
	dir := filepath.Join(m.cfg.StorageDir, string(runtime), name)
	info, err := os.Stat(filepath.Join(dir, storageRecordFile))
	if err != nil {
		return Storage{}, false
	}
	r, err := readStorageRecord(dir)
	if err != nil || fileName(r.Session) != name {
		return Storage{}, false
	}
	key := isolde.SessionKey{Runtime: runtime, Session: r.Session}
	m.mu.RLock()
	running := m.sessions[key] != nil
	m.mu.RUnlock()
	return Storage{
		Key: key, Version: r.Version, Bytes: bytesOnDisk(dir), CreatedAt: r.CreatedAt, LastUsedAt: info.ModTime(), Running: running,
	}, true
}

// names are those in a folder, none if it is not there.
func names(dir string) []string {
	entries, _ := os.ReadDir(dir)
	out := make([]string, len(entries))
	for i, e := range entries {
		out[i] = e.Name()
	}
	return out
}

// bytesOnDisk adds up what the files of a folder take: volumes are sparse.
func bytesOnDisk(dir string) (total int64) {
	for _, name := range names(dir) {
		if info, err := os.Lstat(filepath.Join(dir, name)); err == nil {
			if st, ok := info.Sys().(*syscall.Stat_t); ok {
				total += st.Blocks * 512
			}
		}
	}
	return total
}

// RemoveStorage removes what a session keeps. CodeNotFound if it keeps
// nothing, CodeConflict while it runs.
func (m *Manager) RemoveStorage(key isolde.SessionKey) error {
	if _, err := os.Stat(m.storageDir(key)); m.cfg.StorageDir == "" || err != nil {
		return isolde.Errorf(isolde.CodeNotFound, "session %s keeps no files", key.Session).WithHint("isolde session storage ls lists those that do")
	}
	return m.dropUnused(key)
}

// RemoveStorages removes what the sessions of an agent runtime keep. None may
// run.
func (m *Manager) RemoveStorages(id isolde.RuntimeID) error {
	if m.cfg.StorageDir == "" {
		return nil
	}
	return m.drop(filepath.Join(m.cfg.StorageDir, string(id)))
}

// CollectStorage removes the storage of sessions that do not run and that
// needed says no of: nobody could see it again.
func (m *Manager) CollectStorage(needed func(isolde.RuntimeID, isolde.VersionNumber) bool) {
	m.dropWhere(func(s Storage) bool { return !needed(s.Key.Runtime, s.Version) })
}

func (m *Manager) dropWhere(old func(Storage) bool) {
	for _, s := range m.Storages("") {
		if s.Running || !old(s) {
			continue
		}
		switch err := m.dropUnused(s.Key); {
		case err == nil:
			m.cfg.Logger.Info("session storage removed", "runtime", s.Key.Runtime, "session", s.Key.Session, "used", s.LastUsedAt)
		case isolde.CodeOf(err) != isolde.CodeConflict: // it runs again
			m.cfg.Logger.Error("remove session storage", "runtime", s.Key.Runtime, "session", s.Key.Session, "err", err)
		}
	}
}

// removeOldStorage removes what was not used for keepStorage, and what an
// earlier server had begun to remove.
func (m *Manager) removeOldStorage() {
	if m.cfg.StorageDir == "" {
		return
	}
	for _, name := range names(filepath.Join(m.cfg.StorageDir, goneDir)) {
		_ = os.RemoveAll(filepath.Join(m.cfg.StorageDir, goneDir, name))
	}
	m.dropWhere(func(s Storage) bool { return time.Since(s.LastUsedAt) > keepStorage })
}
