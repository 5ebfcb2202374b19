// Package catalog keeps agent runtimes: it builds artifacts into versions,
// moves endpoints, says which version a name points at, and deletes what is no
// longer needed.
//
// A change is recorded first, with a status that says what is under way
// (CREATING, UPDATING, DELETING), and done after that, by one goroutine for
// each agent runtime. What a server leaves unfinished when it ends, however it
// ends, the next one finds by its status and does from the beginning: builds
// find what they had built by content, deletions what is left to delete.
package catalog

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime"
	"sync"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/image"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/session"
)

// Store is what a catalog needs to be remembered.
type Store interface {
	isolde.RuntimeReader
	isolde.RuntimeStore
	isolde.EndpointStore
}

// Objects is where code artifacts are fetched from.
type Objects interface {
	// Fetch writes an object to w and returns its size in bytes. CodeInvalid
	// when it has more than limit bytes; errors are *isolde.Error that say
	// what the caller can do. Safe for concurrent use.
	Fetch(ctx context.Context, from isolde.S3Location, limit int64, w io.Writer) (int64, error)
}

// Config is what a catalog works with. All fields up to Driver are required.
type Config struct {
	Store    Store
	Builder  image.Builder
	Objects  Objects
	Sessions *session.Manager
	Locality isolde.Locality
	TempDir  string // for sources while they are built; emptied by Open
	Logger   *slog.Logger

	// Driver says what can run; an image that cannot makes no version READY.
	Driver sandbox.Capabilities
	// Mounts are the folders of this machine that versions may mount.
	Mounts []AllowedFolder
	// KeepVersions is how many of a runtime's newest versions are kept although
	// no endpoint and no session needs them; default 10, at least 2, so that a session which
	// resolved its version a moment ago still finds it.
	KeepVersions int
}

// defaultKeepVersions is enough to go back a while, at one image each.
const defaultKeepVersions = 10

// Catalog keeps the agent runtimes of a server. Safe for concurrent use.
type Catalog struct {
	cfg      Config
	names    locks    // one change of a name at a time
	resolved sync.Map // id or name → *entry; what Resolve finds
	fill     sync.Mutex
	building sync.RWMutex  // read by builds, written by collections of images
	builds   chan struct{} // bounds how many builds of artifacts run at once
	progress progressLogs

	jobs     jobs
	collects sync.WaitGroup
	life     context.Context // ends with Close
	end      context.CancelFunc
}

// Open makes a catalog and takes up what an earlier one left unfinished.
func Open(ctx context.Context, cfg Config) (*Catalog, error) {
	if err := os.RemoveAll(cfg.TempDir); err != nil {
		return nil, fmt.Errorf("clear build folder: %w", err)
	}
	if err := os.MkdirAll(cfg.TempDir, 0o700); err != nil {
		return nil, fmt.Errorf("create build folder: %w", err)
	}
	if cfg.KeepVersions == 0 {
		cfg.KeepVersions = defaultKeepVersions
	}
	cfg.KeepVersions = max(2, cfg.KeepVersions)
	unfinished, err := cfg.Store.Unfinished(ctx)
	if err != nil {
		return nil, err
	}
	c := &Catalog{cfg: cfg, builds: make(chan struct{}, max(2, runtime.NumCPU()))}
	c.life, c.end = context.WithCancel(context.Background())
	for _, r := range unfinished {
		cfg.Logger.Info("taking up what was unfinished", "runtime", r.ID, "status", r.Status)
		c.work(r.ID)
	}
	return c, nil
}

// Close ends the work in the background, which the next Open takes up, and
// waits for it. Idempotent.
func (c *Catalog) Close() error {
	c.end()
	c.jobs.close()
	c.collects.Wait()
	return nil
}
