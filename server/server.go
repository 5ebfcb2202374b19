package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/agentcore"
	"github.com/isolde-run/isolde/auth/jwt"
	"github.com/isolde-run/isolde/catalog"
	"github.com/isolde-run/isolde/console"
	"github.com/isolde-run/isolde/gateway"
	"github.com/isolde-run/isolde/http1"
	"github.com/isolde-run/isolde/image"
	"github.com/isolde-run/isolde/operator"
	"github.com/isolde-run/isolde/session"
	"github.com/isolde-run/isolde/sqlite"
	"github.com/isolde-run/isolde/telemetry"
)

// Server is a whole Isolde server. Make it with [New], then Run it, or Open,
// use and Close it.
type Server struct {
	cfg      Config
	http     *http1.Server
	listener net.Listener
	sessions *session.Manager
	info     operator.Info
	served   chan error

	open    bool
	opening sync.Mutex
	closers []func() error // in the order of opening
}

// New makes a server that has not touched anything yet.
func New(cfg Config) *Server {
	cfg.Listen = cmp.Or(cfg.Listen, DefaultListen)
	cfg.Region = cmp.Or(cfg.Region, "us-east-1")
	cfg.Account = cmp.Or(cfg.Account, "000000000000")
	cfg.Version = cmp.Or(cfg.Version, "devel")
	cfg.DrainTimeout = cmp.Or(cfg.DrainTimeout, 30*time.Second)
	if cfg.DataDir == "" {
		cfg.DataDir = DefaultDataDir()
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &Server{cfg: cfg, served: make(chan error, 1)}
}

// DefaultDataDir is /var/lib/isolde for root and the user's data folder for
// others.
func DefaultDataDir() string {
	if os.Geteuid() == 0 {
		return "/var/lib/isolde"
	}
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "isolde")
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return filepath.Join(os.TempDir(), "isolde")
	}
	return filepath.Join(home, ".local", "share", "isolde")
}

// Run opens the server if need be, serves until ctx ends, then closes it.
func (s *Server) Run(ctx context.Context) error {
	if err := s.Open(ctx); err != nil {
		return err
	}
	var err error
	select {
	case <-ctx.Done():
	case err = <-s.served:
		err = fmt.Errorf("serve: %w", err)
	}
	return errors.Join(err, s.Close())
}

// URL is the server's address for clients; valid after Open.
func (s *Server) URL() string {
	scheme := "http://"
	if s.cfg.TLSCert != "" {
		scheme = "https://"
	}
	return scheme + s.listener.Addr().String()
}

// Open takes the data directory and the port, finds the sessions of an earlier
// server and starts serving. When it fails, nothing is left open. Errors:
// CodeConflict when the port or the data directory is in use, CodeUnsupported
// when the driver cannot run here.
func (s *Server) Open(ctx context.Context) (err error) {
	s.opening.Lock()
	defer s.opening.Unlock()
	if s.open {
		return nil
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.closeAll())
		}
	}()
	locality := isolde.Locality{Region: s.cfg.Region, Account: s.cfg.Account}
	if err := locality.Validate(); err != nil {
		return err
	}
	if err := s.listen(ctx); err != nil {
		return err
	}
	if err := s.takeDataDir(); err != nil {
		return err
	}
	handler, err := s.wire(ctx, locality)
	if err != nil {
		return err
	}
	s.http = &http1.Server{
		HTTP: &http.Server{
			Handler:           guard(drain(handler), s.cfg.Keys == nil),
			ReadHeaderTimeout: 10 * time.Second,
			IdleTimeout:       2 * time.Minute,
			MaxHeaderBytes:    64 << 10,
			ErrorLog:          slog.NewLogLogger(s.cfg.Logger.Handler(), slog.LevelWarn),
		},
		Plain: func(method, target string) bool {
			return method == http.MethodPost && strings.HasPrefix(target, "/runtimes/")
		},
	}
	go func() {
		if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
			s.served <- err
		}
		close(s.served)
	}()
	s.open = true
	return nil
}

// listen takes the port. Without keys anybody who reaches it may do
// everything, so only loopback is served.
func (s *Server) listen(ctx context.Context) error {
	_, _, err := net.SplitHostPort(s.cfg.Listen)
	if err != nil {
		return isolde.Errorf(isolde.CodeInvalid, "listen address %q is not host:port", s.cfg.Listen).WithHint("for example %s", DefaultListen)
	}
	if s.beyondLoopback() && s.cfg.Keys == nil {
		return isolde.Errorf(isolde.CodeUnsupported, "refusing to listen on %s: nobody is asked for credentials, so only loopback is served", s.cfg.Listen).
			WithHint("make keys with: isolde keys add; or use %s, and an SSH tunnel or an authenticating proxy", DefaultListen)
	}
	var lc net.ListenConfig
	if s.listener, err = lc.Listen(ctx, "tcp", s.cfg.Listen); err != nil {
		return isolde.Errorf(isolde.CodeConflict, "cannot listen on %s: %w", s.cfg.Listen, err).
			WithHint("another server may run there (curl http://%s/healthz); name another address with --listen", s.cfg.Listen)
	}
	s.onClose(func() error {
		if err := s.listener.Close(); err != nil && !errors.Is(err, net.ErrClosed) {
			return err
		}
		return nil
	})
	return s.secure()
}

func (s *Server) takeDataDir() error {
	if err := os.MkdirAll(s.cfg.DataDir, 0o700); err != nil {
		if errors.Is(err, fs.ErrPermission) {
			return isolde.Errorf(isolde.CodeUnsupported, "cannot create the data directory %s: permission denied", s.cfg.DataDir).
				WithHint("name another with --data-dir").WithCause(err)
		}
		return fmt.Errorf("create data directory: %w", err)
	}
	unlock, err := lockDir(s.cfg.DataDir)
	if err != nil {
		return err
	}
	s.onClose(unlock)
	return nil
}

// wire opens every part of the server, from the store up to the handlers.
func (s *Server) wire(ctx context.Context, locality isolde.Locality) (http.Handler, error) {
	cfg := &s.cfg
	store, err := sqlite.Open(ctx, s.dir(databaseFile))
	if err != nil {
		return nil, err
	}
	s.onClose(store.Close)
	images, err := image.Open(image.Config{Dir: s.dir(imagesDir), Logger: cfg.Logger, AllowScripts: cfg.AllowScripts})
	if err != nil {
		return nil, err
	}
	access, err := s.newAccess(locality.Region)
	if err != nil {
		return nil, err
	}
	services, code, err := s.openServices(access)
	if err != nil {
		return nil, err
	}
	mounts, err := s.allowedMounts()
	if err != nil {
		return nil, err
	}
	driver, err := s.openDriver(ctx)
	if err != nil {
		return nil, err
	}
	if err := s.checkReach(driver); err != nil {
		return nil, err
	}
	metrics := telemetry.New(func() telemetry.Reading { return s.reading(driver.Name()) })
	sessions := session.Config{
		Driver: driver, Store: store, LogDir: s.dir("logs"), StorageDir: s.dir("storage"), Logger: cfg.Logger, Metrics: metrics, InitTimeout: cfg.InitTimeout,
	}
	cfg.Limits.apply(&sessions)
	s.sessions, err = session.Open(ctx, sessions)
	if err != nil {
		return nil, err
	}
	s.onClose(s.sessions.Close)
	s.onClose(s.endSessions)
	agents, err := catalog.Open(ctx, catalog.Config{
		Store: store, Builder: images, Objects: code, Sessions: s.sessions, Locality: locality, TempDir: s.dir(tempDir), Logger: cfg.Logger,
		Driver: driver.Capabilities(), KeepVersions: cfg.KeepVersions, Mounts: mounts,
	})
	if err != nil {
		return nil, err
	}
	s.onClose(agents.Close)

	tokens := jwt.NewVerifier(cfg.Logger)
	s.onClose(tokens.Close)
	mux := http.NewServeMux()
	api := &agentcore.Handler{
		Gateway: &gateway.Gateway{Catalog: agents, Sessions: s.sessions, Metrics: metrics, Logger: cfg.Logger, ExposeAgentErrors: cfg.ExposeAgentErrors},
		Catalog: agents, Sessions: s.sessions, Store: store, Locality: locality, Tokens: tokens, Logger: cfg.Logger,
		NoContentDefaults: cfg.NoContentDefaults, Gate: access.agents, Binding: cfg.BindSessions,
	}
	api.Register(mux)
	s.info = operator.Info{
		Version: cfg.Version, Region: locality.Region, Account: locality.Account, DataDir: cfg.DataDir, StartedAt: time.Now(),
		Driver: driver.Name(), Isolation: driver.Capabilities().Isolation, S3: cmp.Or(cfg.S3Endpoint, operator.S3Embedded),
	}
	own := http.NewServeMux() // what is Isolde's own and the operator's
	(&operator.Handler{
		Catalog: agents, Sessions: s.sessions, Store: store, Locality: locality, Logger: cfg.Logger,
		Info:  s.info,
		Usage: s.usage,
		Backup: backup{
			dir: cfg.DataDir, copy: store.Backup, hold: agents.Hold,
			manifest: BackupManifest{Version: cfg.Version, Region: locality.Region, Account: locality.Account},
		}.write,
	}).Register(own)
	own.Handle("GET /{$}", console.Handler())
	own.Handle("GET /console/", console.Handler())
	own.Handle("GET /metrics", metrics.Handler())
	for _, pattern := range []string{"/isolde/", "GET /{$}", "GET /console/", "GET /metrics"} {
		mux.Handle(pattern, access.operatorOnly(own))
	}
	mux.HandleFunc("GET /healthz", access.health(locality))
	return services.route(api.Front(agentcore.Strict(mux))), nil
}

// dir is a name in the data directory.
func (s *Server) dir(name string) string { return filepath.Join(s.cfg.DataDir, name) }

// Info is what the server found out about itself; valid after Open.
func (s *Server) Info() operator.Info { return s.info }

// Close stops taking requests, waits for running ones up to the drain
// timeout, and closes everything. Sessions go on, unless the configuration
// says otherwise. Idempotent.
func (s *Server) Close() error {
	s.opening.Lock()
	defer s.opening.Unlock()
	if !s.open {
		return nil
	}
	s.open = false
	ctx, cancel := context.WithTimeout(context.Background(), s.cfg.DrainTimeout)
	defer cancel()
	if err := s.sessions.Drain(ctx); err != nil {
		s.cfg.Logger.Warn("requests were cut off", "after", s.cfg.DrainTimeout)
	}
	short, cancel := context.WithTimeout(context.Background(), 500*time.Millisecond)
	defer cancel()
	if err := s.http.Shutdown(short); err != nil { // followed logs do not end by themselves
		s.http.Close()
	}
	return errors.Join(<-s.served, s.closeAll())
}

func (s *Server) endSessions() error {
	if !s.cfg.StopSessions {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	_, err := s.sessions.StopAll(ctx, isolde.EndServer, "was ended with the server", func(isolde.Session) bool { return true })
	return err
}

func (s *Server) onClose(f func() error) { s.closers = append(s.closers, f) }

func (s *Server) closeAll() error {
	var errs []error
	for _, v := range slices.Backward(s.closers) {
		errs = append(errs, v())
	}
	s.closers = nil
	return errors.Join(errs...)
}
