package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// tool is a program of this machine that a build runs.
type tool struct {
	dir   string
	args  []string // args[0] is an absolute path
	env   []string // added to what toolEnv passes on
	stdin io.Reader
}

// toolError is a tool that ended with an error.
type toolError struct {
	name   string
	output string // the last of its output, both streams
	err    error
}

func (e *toolError) Error() string {
	return fmt.Sprintf("%s: %v: %s", e.name, e.err, lastLines(e.output, 4))
}

func (e *toolError) Unwrap() error { return e.err }

// runTool runs a tool to its end and returns what it wrote to its standard
// output, at most outputLimit. When ctx ends, the tool and all it started are
// killed; when this process is killed, the tool is.
func (s *Store) runTool(ctx context.Context, t tool) (string, error) {
	cmd := exec.CommandContext(ctx, t.args[0], t.args[1:]...)
	cmd.Dir = t.dir
	cmd.Env = append(s.toolEnv(), t.env...)
	cmd.Stdin = t.stdin
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	defer dieTogether(cmd.SysProcAttr)()
	cmd.Cancel = func() error {
		err := syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		if errors.Is(err, syscall.ESRCH) {
			return os.ErrProcessDone
		}
		return err
	}
	cmd.WaitDelay = 5 * time.Second
	var stdout, all tail
	cmd.Stdout = io.MultiWriter(&stdout, &all)
	cmd.Stderr = &all
	err := cmd.Run()
	switch {
	case ctx.Err() != nil:
		return "", context.Cause(ctx)
	case err != nil:
		return "", &toolError{filepath.Base(t.args[0]), all.String(), err}
	}
	return stdout.String(), nil
}

// toolVariables are what tools get of this process's environment, beside
// variables of their own; nothing else, so that no secret of the server
// reaches what a build downloads.
var (
	toolVariables = []string{
		"HOME", "USER", "LOGNAME", "TMPDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME",
		"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy",
		"SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS",
		"GOPROXY", "GOPRIVATE", "GONOPROXY", "GOSUMDB", "GONOSUMDB", "GOINSECURE", "GOAUTH", "GOVCS",
		"GOFLAGS", "GOPATH", "GOCACHE", "GOMODCACHE", "GOROOT", "GOTOOLCHAIN", "GOENV",
		"PYENV_ROOT", "PYENV_VERSION", "ASDF_DIR", "ASDF_DATA_DIR",
	}
	toolPrefixes = []string{"PIP_", "UV_", "npm_config_", "NPM_CONFIG_"}
)

func (s *Store) toolEnv() []string {
	env := []string{"PATH=" + s.path, "LANG=C.UTF-8"}
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		own := slices.ContainsFunc(toolPrefixes, func(p string) bool { return strings.HasPrefix(name, p) })
		if own || slices.Contains(toolVariables, name) {
			env = append(env, kv)
		}
	}
	return env
}

// lookPath finds a program in the store's search path.
func (s *Store) lookPath(name string) (string, error) {
	for _, dir := range filepath.SplitList(s.path) {
		file := filepath.Join(dir, name)
		if !filepath.IsAbs(file) {
			continue // a program must not depend on where the server was started
		}
		if info, err := os.Stat(file); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return file, nil
		}
	}
	return "", fmt.Errorf("%s: %w", name, fs.ErrNotExist)
}

// outputLimit is how much of a tool's output is kept.
const outputLimit = 256 << 10

// tail keeps the last outputLimit bytes written to it.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.buf.Write(p)
	if over := t.buf.Len() - outputLimit; over > 0 {
		t.buf.Next(over)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.buf.String()
}

// lastLines is the last n lines of text that are not empty.
func lastLines(text string, n int) string {
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line)
		}
	}
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
