package image

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/layout"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/internal/need"
)

// stubUV is a search path whose uv runs a shell script; $1 is the folder to
// install to.
func stubUV(t *testing.T, script string) string {
	t.Helper()
	need.Command(t, "python3")
	dir := write(t, map[string]string{"!uv": `#!/bin/sh
while [ "$1" != --target ]; do shift; done
shift
` + script + "\n"})
	return dir + ":" + os.Getenv("PATH")
}

func uvAgent(t *testing.T) string {
	return write(t, map[string]string{"agent.py": "print('hello')\n", "requirements.txt": "anything # " + t.Name() + "\n"})
}

// TestOneBuildOfAKey: builds of the same thing at the same time do the work
// once, and all get the result.
func TestOneBuildOfAKey(t *testing.T) {
	calls := filepath.Join(t.TempDir(), "calls")
	gate := filepath.Join(t.TempDir(), "gate")
	s := open(t, Config{Dir: shared, Path: stubUV(t, `echo call >> `+calls+`; while [ ! -e `+gate+` ]; do sleep 0.05; done; echo 'x = 1' > "$1/m.py"`)})
	dir := uvAgent(t)
	var group sync.WaitGroup
	digests := make([]string, 5)
	for i := range digests {
		group.Go(func() {
			img, err := s.Build(t.Context(), Source{Dir: dir}, nil)
			if err != nil {
				t.Error(err)
			}
			digests[i] = img.Digest
		})
	}
	waitFor(t, func() bool { return exists(calls) })
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	group.Wait()
	text, err := os.ReadFile(calls)
	if err != nil || strings.Count(string(text), "call") != 1 {
		t.Errorf("uv ran as %q, %v", text, err)
	}
	for _, d := range digests {
		if d == "" || d != digests[0] {
			t.Errorf("digests %v", digests)
			break
		}
	}
}

// TestWhoWaitsDecides: the work goes on when its first caller leaves and
// others wait, and ends with the last of them.
func TestWhoWaitsDecides(t *testing.T) {
	var f flights
	first, leave := context.WithCancel(t.Context())
	started, release, ended := make(chan struct{}), make(chan struct{}), make(chan error, 1)
	work := func(ctx context.Context) (layer, error) {
		close(started)
		select {
		case <-release:
			return layer{Digest: "d"}, nil
		case <-ctx.Done():
			ended <- context.Cause(ctx)
			return layer{}, ctx.Err()
		}
	}
	left := make(chan error, 1)
	go func() {
		_, _, err := f.do(first, "k", work)
		left <- err
	}()
	<-started
	second := make(chan layer, 1)
	go func() {
		l, joined, err := f.do(t.Context(), "k", work)
		if err != nil || !joined {
			t.Errorf("second: joined %v, %v", joined, err)
		}
		second <- l
	}()
	waitFor(t, func() bool {
		f.mu.Lock()
		defer f.mu.Unlock()
		return f.flying["k"] != nil && f.flying["k"].waiting == 2
	})
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("first: %v", err)
	}
	close(release)
	if l := <-second; l.Digest != "d" {
		t.Errorf("second got %v", l)
	}

	started, release = make(chan struct{}), make(chan struct{})
	alone, leave := context.WithCancel(t.Context())
	go func() {
		<-started
		leave()
	}()
	if _, _, err := f.do(alone, "k", work); !errors.Is(err, context.Canceled) {
		t.Errorf("alone: %v", err)
	}
	if err := <-ended; !errors.Is(err, errNobodyWaits) {
		t.Errorf("the work ended with %v", err)
	}
}

// TestCancel: with the context go the installer and all it started.
func TestCancel(t *testing.T) {
	pids := filepath.Join(t.TempDir(), "pids")
	s := open(t, Config{Dir: shared, Path: stubUV(t, `sleep 1000 & echo $! > `+pids+`.new; echo $$ >> `+pids+`.new; mv `+pids+`.new `+pids+`; wait`)})
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("somebody stopped it")
	go func() {
		waitFor(t, func() bool { return exists(pids) })
		cancel(why)
	}()
	if _, err := s.Build(ctx, Source{Dir: uvAgent(t)}, nil); !errors.Is(err, why) {
		t.Errorf("build: %v", err)
	}
	text, err := os.ReadFile(pids)
	if err != nil {
		t.Fatal(err)
	}
	for field := range strings.FieldsSeq(string(text)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		waitFor(t, func() bool { return dead(pid) })
	}
}

// dead tells whether a process has ended, reaped or not.
func dead(pid int) bool {
	if syscall.Kill(pid, 0) != nil {
		return true
	}
	stat, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	return err != nil || strings.Contains(string(stat), ") Z ")
}

func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Error("waited in vain")
			return
		}
	}
}

// TestFailureLeavesNothing: a failed install is not taken for a result.
func TestFailureLeavesNothing(t *testing.T) {
	flag := filepath.Join(t.TempDir(), "works")
	s := open(t, Config{Dir: shared, Path: stubUV(t, `echo 'x = 1' > "$1/m.py"; [ -e `+flag+` ] || { echo 'error: the index is on fire' >&2; exit 1; }`)})
	dir := uvAgent(t)
	_, err := s.Build(t.Context(), Source{Dir: dir}, nil)
	refused(t, err, isolde.CodeInvalid, "cannot install dependencies: the index is on fire")
	if err := os.WriteFile(flag, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Build(t.Context(), Source{Dir: dir}, nil); err != nil {
		t.Error(err)
	}
}

// TestToolsSeeNoSecrets: what a build runs gets none of the server's
// environment that it does not need.
func TestToolsSeeNoSecrets(t *testing.T) {
	out := filepath.Join(t.TempDir(), "env")
	t.Setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-server")
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:9")
	t.Setenv("UV_INDEX_URL", "http://127.0.0.1:9/simple")
	s := open(t, Config{Dir: shared, Path: stubUV(t, `env > `+out)})
	mustBuild(t, s, Source{Dir: uvAgent(t)})
	env, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(env), "secret-of-the-server") {
		t.Error("the installer saw a secret")
	}
	for _, want := range []string{"HTTPS_PROXY=http://127.0.0.1:9\n", "UV_INDEX_URL=http://127.0.0.1:9/simple\n"} {
		if !strings.Contains(string(env), want) {
			t.Errorf("the installer did not see %s", want)
		}
	}
}

// TestOpenSweeps: what a process that died left unfinished goes; what a living
// one works on stays.
func TestOpenSweeps(t *testing.T) {
	dir := t.TempDir()
	living := open(t, Config{Dir: dir})
	dead := filepath.Join(dir, "tmp", "1234")
	if err := os.MkdirAll(filepath.Join(dead, "base-1"), 0o755); err != nil {
		t.Fatal(err)
	}
	open(t, Config{Dir: dir})
	if exists(dead) {
		t.Error("unfinished work of a dead process stays")
	}
	if !exists(living.tmp) {
		t.Error("unfinished work of a living process went")
	}
}

func TestOpenUnknown(t *testing.T) {
	s := open(t, Config{})
	_, err := s.Open(t.Context(), "sha256:"+strings.Repeat("0", 64))
	refused(t, err, isolde.CodeNotFound, "no image sha256:000")
	if _, err := s.Open(t.Context(), "../../etc/passwd"); isolde.CodeOf(err) != isolde.CodeInvalid {
		t.Errorf("a path as a digest: %v", err)
	}
}

// TestBrokenImage: an image whose file was cut is not served, and is made
// again by the next build.
func TestBrokenImage(t *testing.T) {
	need.Command(t, "go")
	s := open(t, Config{})
	src := Source{Dir: write(t, goAgent)}
	img := mustBuild(t, s, src)
	if err := os.Truncate(img.Root.Image, 4096); err != nil {
		t.Fatal(err)
	}
	_, err := s.Open(t.Context(), img.Digest)
	refused(t, err, isolde.CodeNotFound, img.Digest)
	mustBuild(t, s, src)
	if _, err := s.Open(t.Context(), img.Digest); err != nil {
		t.Error(err)
	}
}

func TestCollect(t *testing.T) {
	need.Command(t, "go")
	s := open(t, Config{})
	dir := write(t, goAgent)
	src := Source{Dir: dir}
	old := mustBuild(t, s, src)
	if err := os.WriteFile(filepath.Join(dir, "prompts", "one.txt"), []byte("be brief"), 0o644); err != nil {
		t.Fatal(err)
	}
	kept := mustBuild(t, s, src)
	freed, err := s.Collect(t.Context(), []string{kept.Digest})
	if err != nil || freed < 1<<20 {
		t.Errorf("freed %d bytes, %v", freed, err)
	}
	if _, err := s.Open(t.Context(), old.Digest); isolde.CodeOf(err) != isolde.CodeNotFound {
		t.Errorf("the old image: %v", err)
	}
	for _, gone := range []string{old.Root.Image, old.Root.Host.Code, s.blob(old.Digest)} {
		if exists(gone) {
			t.Errorf("%s stays", gone)
		}
	}
	if _, err := s.Open(t.Context(), kept.Digest); err != nil {
		t.Error(err)
	}
	if !exists(kept.Root.Host.Code) {
		t.Error("the plain form of an image that is kept went")
	}
	index, err := layout.ImageIndexFromPath(filepath.Join(s.dir, "oci"))
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 || manifest.Manifests[0].Digest.String() != kept.Digest {
		t.Errorf("index lists %v, %v", manifest.Manifests, err)
	}
	if freed, err := s.Collect(t.Context(), []string{kept.Digest}); freed != 0 || err != nil {
		t.Errorf("a second time: freed %d bytes, %v", freed, err)
	}
	// Layers that later builds may want stay for days, then go.
	var st steps
	if _, err := s.Collect(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Build(t.Context(), src, st.add); err != nil {
		t.Fatal(err)
	}
	if !baseCached(st.all) {
		t.Errorf("the base layer was made again: %v", st.all)
	}
	long := time.Now().Add(-2 * keepUnused)
	names, err := filepath.Glob(filepath.Join(s.dir, "layers", "base-*.json"))
	if err != nil || len(names) != 1 {
		t.Fatalf("base layers: %v, %v", names, err)
	}
	if err := os.Chtimes(names[0], long, long); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Collect(t.Context(), nil); err != nil || exists(names[0]) {
		t.Errorf("an old base layer stays, %v", err)
	}
}

func baseCached(all []Progress) bool {
	for _, p := range all {
		if p.Stage == "base" {
			return p.Cached
		}
	}
	return false
}

// TestCollectSparesRunningBuilds: what a build that runs has made or found is
// not taken from under it.
func TestCollectSparesRunningBuilds(t *testing.T) {
	need.Command(t, "go")
	s := open(t, Config{})
	ended := s.began()
	img := mustBuild(t, s, Source{Dir: write(t, goAgent)})
	if freed, err := s.Collect(t.Context(), nil); freed != 0 || err != nil {
		t.Errorf("freed %d bytes, %v", freed, err)
	}
	ended()
	if _, err := s.Collect(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Open(t.Context(), img.Digest); isolde.CodeOf(err) != isolde.CodeNotFound {
		t.Errorf("after the build: %v", err)
	}
}

// TestProgressEndsWithTheBuild: a caller that left hears no more of work that
// goes on for others.
func TestProgressEndsWithTheBuild(t *testing.T) {
	calls := filepath.Join(t.TempDir(), "calls")
	gate := filepath.Join(t.TempDir(), "gate")
	s := open(t, Config{Dir: shared, Path: stubUV(t, `echo call >> `+calls+`; while [ ! -e `+gate+` ]; do sleep 0.05; done`)})
	src := Source{Dir: uvAgent(t)}
	first, leave := context.WithCancel(t.Context())
	var heard steps
	left := make(chan error, 1)
	go func() {
		_, err := s.Build(first, src, heard.add)
		left <- err
	}()
	waitFor(t, func() bool { return exists(calls) })
	stayed := make(chan error, 1)
	go func() {
		_, err := s.Build(t.Context(), src, nil)
		stayed <- err
	}()
	waitFor(t, func() bool { return s.waiting(folderDependencies) == 2 })
	leave()
	if err := <-left; !errors.Is(err, context.Canceled) {
		t.Errorf("the first build: %v", err)
	}
	before := len(heard.all)
	if err := os.WriteFile(gate, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := <-stayed; err != nil {
		t.Errorf("the second build: %v", err)
	}
	if len(heard.all) != before {
		t.Errorf("heard after its end: %v", heard.all[before:])
	}
}

// waiting counts who waits for work of a kind.
func (s *Store) waiting(kind string) (n int) {
	s.flights.mu.Lock()
	defer s.flights.mu.Unlock()
	for key, f := range s.flights.flying {
		if strings.HasPrefix(key, kind+"-") {
			n += f.waiting
		}
	}
	return n
}

// TestManyProcessesOpenOneStore: none takes another's part of tmp/ for one
// whose process has died.
func TestManyProcessesOpenOneStore(t *testing.T) {
	dir := t.TempDir()
	for range 50 {
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				s, err := Open(Config{Dir: dir})
				if err != nil {
					t.Error(err)
					return
				}
				if !exists(s.tmp) {
					t.Error("the store's folder for unfinished work is gone")
				}
				if err := s.Close(); err != nil {
					t.Error(err)
				}
			})
		}
		all.Wait()
	}
}
