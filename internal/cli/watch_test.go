package cli

import (
	"context"
	"os"
	"path/filepath"
	"sync"
	"testing"
)

func write(t *testing.T, text string, path ...string) {
	t.Helper()
	file := filepath.Join(path...)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func TestWatcherSeesWhatIsDeployed(t *testing.T) {
	dir := t.TempDir()
	write(t, "1", dir, "agent.py")
	write(t, "1", dir, "node_modules", "x", "index.js")
	w, err := openWatcher(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	changed := func() bool {
		t.Helper()
		sum, err := w.scan()
		if err != nil {
			t.Fatal(err)
		}
		was := w.sum
		w.sum = sum
		return sum != was
	}
	write(t, "1", dir, "agent.py")
	write(t, "2", dir, "node_modules", "x", "index.js")
	write(t, "2", dir, "__pycache__", "agent.pyc")
	if changed() {
		t.Error("nothing that is deployed has changed")
	}
	write(t, "2", dir, "agent.py")
	if !changed() {
		t.Error("a changed file was not seen")
	}
	write(t, "1", dir, "tools", "deep", "weather.py")
	if !changed() {
		t.Error("a new folder was not seen")
	}
	watched := map[string]bool{}
	for _, d := range w.fs.WatchList() {
		watched[d] = true
	}
	if !watched[filepath.Join(dir, "tools", "deep")] || watched[filepath.Join(dir, "node_modules")] || watched[filepath.Join(dir, "__pycache__")] {
		t.Errorf("watched: %v", watched)
	}
}

func TestWatcherTellsChanges(t *testing.T) {
	dir := t.TempDir()
	write(t, "1", dir, "agent.py")
	w, err := openWatcher(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	ctx, cancel := context.WithCancel(t.Context())
	calls := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		w.run(ctx, func() { calls <- struct{}{} }, func(err error) { t.Error(err) })
	})
	write(t, "2", dir, "agent.py")
	<-calls
	write(t, "1", dir, "tools", "weather.py") // in a folder that is not watched yet
	<-calls
	write(t, "2", dir, "tools", "weather.py")
	<-calls
	if err := os.Rename(filepath.Join(dir, "agent.py"), filepath.Join(dir, "main.py")); err != nil {
		t.Fatal(err)
	}
	<-calls
	cancel()
	wg.Wait()
}
