package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"

	"github.com/isolde-run/isolde"
)

// recent remembers, for a server and an agent, the session of the last call.
// It is one small file for each pair in the user's state folder, so that
// commands that run at the same time do not overwrite each other's.
type recent struct{ file string }

type recentCall struct {
	Server  string           `json:"server"`
	Agent   isolde.RuntimeID `json:"agentRuntimeId"`
	Session isolde.SessionID `json:"runtimeSessionId"`
}

// recent names the file. Without a home folder nothing is remembered.
func (a *app) recent(server string, agent isolde.RuntimeID) recent {
	dir := userDir(a.getenv, "XDG_STATE_HOME", ".local/state")
	if dir == "" {
		return recent{}
	}
	sum := sha256.Sum256([]byte(server + "\n" + string(agent)))
	return recent{filepath.Join(dir, "isolde", "sessions", hex.EncodeToString(sum[:8])+".json")}
}

// session is the session of the last call, or empty.
func (r recent) session() isolde.SessionID {
	data, err := os.ReadFile(r.file)
	if err != nil {
		return ""
	}
	var c recentCall
	if json.Unmarshal(data, &c) != nil {
		return ""
	}
	id, err := isolde.ParseSessionID(string(c.Session))
	if err != nil {
		return ""
	}
	return id
}

// keep remembers a call.
func (r recent) keep(c recentCall) error {
	if r.file == "" {
		return nil
	}
	data, err := json.Marshal(c)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(r.file), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(r.file), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(append(data, '\n'))
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(f.Name(), r.file)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// userDir is the user's folder that an XDG variable names, or the one at its
// default place in the home folder. Empty if neither is known.
func userDir(getenv func(string) string, variable, fallback string) string {
	if d := getenv(variable); filepath.IsAbs(d) {
		return d
	}
	if home := getenv("HOME"); filepath.IsAbs(home) {
		return filepath.Join(home, fallback)
	}
	return ""
}
