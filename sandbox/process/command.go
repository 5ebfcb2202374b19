package process

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// command is a process to start.
type command struct {
	path   string // of the executable, absolute
	argv   []string
	env    []string
	dir    string
	output *os.File // stdout and stderr; stdin is empty
}

// defaultPath is where commands are looked up if the environment has no PATH.
const defaultPath = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// lookUp finds argv's executable as execvp(3) does, but with the PATH of env
// and relative to dir. The error is the errno that execve(2) would give.
func lookUp(argv, env []string, dir string) (string, error) {
	name := first(argv)
	if name == "" {
		return "", syscall.ENOENT
	}
	if strings.Contains(name, "/") {
		return absolute(name, dir), nil
	}
	path, ok := lookUpEnv(env, "PATH")
	if !ok {
		path = defaultPath
	}
	err := syscall.ENOENT
	for _, folder := range filepath.SplitList(path) {
		file := absolute(filepath.Join(folder, name), dir)
		info, statErr := os.Stat(file)
		if statErr != nil || info.IsDir() {
			continue
		}
		if info.Mode().Perm()&0o111 != 0 {
			return file, nil
		}
		err = syscall.EACCES
	}
	return "", err
}

func absolute(name, dir string) string {
	if filepath.IsAbs(name) {
		return name
	}
	return filepath.Join(dir, name)
}
