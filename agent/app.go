package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// App is an agent: what it answers, and how it begins and ends. Its fields
// are set before it runs. [Main] and [App.Main] are a whole program;
// [App.Run] serves until its context ends; an App is an [http.Handler] too, so
// that a test calls it through net/http/httptest.
type App struct {
	// Handler answers POST /invocations.
	Handler Handler
	// WebSocket, if set, talks to a client of GET /ws until it returns: nil
	// closes the connection with 1000, an error or a panic with 1011. ctx ends
	// with the connection.
	WebSocket func(ctx context.Context, conn *Conn) error
	// Ping, if set, says how the agent is in place of the automatic status.
	// It should be quick. If it panics the automatic status is told.
	Ping func() Status
	// Routes are further patterns of [http.ServeMux], with the values of [FromContext]
	// in their requests' contexts: the paths of another protocol, or your own.
	Routes map[string]http.Handler

	// OnStart runs before the agent listens; if it fails, so does Run.
	OnStart func(ctx context.Context) error
	// OnRestore runs before the first invocation or WebSocket of a process,
	// and again before one that finds that the process had been frozen
	// meanwhile. Between OnStart and OnRestore a runtime may have taken a
	// snapshot and restored it, many times, elsewhere and later: renew here
	// what must be fresh or unique, such as credentials, connections, ids and
	// seeds (math/rand repeats itself; crypto/rand does not). Calls wait
	// for it, and while it fails they are answered with its error.
	OnRestore func(ctx context.Context) error
	// OnStop runs when no call and no task runs any more, or Grace is over.
	OnStop func(ctx context.Context) error

	// Host is the address to listen on. By default it is that of all networks
	// in a container (/.dockerenv exists or DOCKER_CONTAINER is set, as by
	// every AgentCore runtime), and 127.0.0.1 elsewhere.
	Host string
	// Port to listen on, 8080 by default, which is the contract's.
	Port int
	// Grace is how long calls and tasks may go on when the agent is told to
	// stop. 4 s by default: Isolde kills an agent after 5 s, AWS after 15 s.
	Grace time.Duration
	// MaxMessage bounds what a WebSocket client may send in one message, in
	// bytes; 1 MiB by default.
	MaxMessage int
	// Logger is where the App logs. By default it is one that writes lines of
	// [NewLogHandler] to stderr.
	Logger *slog.Logger

	once    sync.Once
	mux     *http.ServeMux
	root    context.Context // ends when the agent stops
	stop    context.CancelCauseFunc
	log     *slog.Logger
	status  status
	restore restore
	tasks   running // of Go and Busy
	conns   running // WebSockets, which net/http does not count
}

// errStopping is why the contexts of tasks and WebSockets end.
var errStopping = errors.New("the agent is stopping")

// Main serves the handler until the process is told to stop, and does not
// return: it is the main function of an agent that needs nothing else.
func Main(h Handler) { (&App{Handler: h}).Main() }

// Main runs the App until the process gets SIGTERM or SIGINT, and exits. The
// second signal kills. If Logger is not set, log/slog's default becomes one
// that writes lines of [NewLogHandler].
func (a *App) Main() {
	if a.Logger == nil {
		a.Logger = newLogger()
		slog.SetDefault(a.Logger)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	if err := a.Run(ctx); err != nil {
		logError(ctx, a.logger(), "agent failed", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// Run serves the agent until ctx ends, and then ends it gracefully: it takes
// no more connections, tells WebSocket clients to go (1001) and tasks by their contexts,
// waits for all within Grace, and calls OnStop. It returns nil if all ended.
// An App runs once.
func (a *App) Run(ctx context.Context) error {
	a.init()
	defer a.stop(errStopping)
	if a.OnStart != nil {
		if err := protected(ctx, a.OnStart); err != nil {
			return fmt.Errorf("start: %w", err)
		}
	}
	l, err := net.Listen("tcp", a.address())
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	server := &http.Server{
		Handler:           a,
		ReadHeaderTimeout: 10 * time.Second,
		IdleTimeout:       3 * time.Minute, // longer than a runtime keeps connections
		ErrorLog:          slog.NewLogLogger(a.logger().Handler(), slog.LevelWarn),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(l) }()
	a.logger().InfoContext(ctx, "agent is listening", "address", l.Addr().String())
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	return a.shutdown(context.WithoutCancel(ctx), server)
}

// shutdown ends what runs.
func (a *App) shutdown(ctx context.Context, server *http.Server) error {
	grace := a.Grace
	if grace == 0 {
		grace = 4 * time.Second
	}
	ctx, cancel := context.WithTimeoutCause(ctx, grace, fmt.Errorf("it still runs %v after it was told to stop", grace))
	defer cancel()
	a.stop(errStopping)
	a.logger().InfoContext(ctx, "agent is stopping")
	var errs []error
	if err := server.Shutdown(ctx); err != nil {
		errs = append(errs, fmt.Errorf("end calls: %w", context.Cause(ctx)), server.Close())
	}
	if err := a.conns.wait(ctx); err != nil {
		errs = append(errs, fmt.Errorf("end websockets: %w", err))
	}
	if err := a.tasks.wait(ctx); err != nil {
		errs = append(errs, fmt.Errorf("end tasks: %w", err))
	}
	if a.OnStop != nil {
		if err := protected(context.WithoutCancel(ctx), a.OnStop); err != nil {
			errs = append(errs, fmt.Errorf("stop: %w", err))
		}
	}
	return errors.Join(errs...)
}

// ServeHTTP serves one request of the contract, without OnStart and OnStop.
func (a *App) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	a.init()
	ctx := NewContext(r.Context(), a.Call(r.Header))
	a.mux.ServeHTTP(w, r.WithContext(ctx))
}

// init makes what the zero App lacks, once.
func (a *App) init() {
	a.once.Do(func() {
		a.root, a.stop = context.WithCancelCause(context.Background())
		if a.log = a.Logger; a.log == nil {
			a.log = newLogger()
		}
		a.mux = http.NewServeMux()
		a.mux.HandleFunc("POST /invocations", a.serveInvocation)
		a.mux.HandleFunc("GET /ping", a.servePing)
		a.mux.HandleFunc("GET /ws", a.serveWebSocket)
		for pattern, h := range a.Routes {
			a.mux.Handle(pattern, h)
		}
	})
}

func (a *App) context() context.Context {
	a.init()
	return a.root
}

func (a *App) logger() *slog.Logger {
	a.init()
	return a.log
}

func newLogger() *slog.Logger { return slog.New(NewLogHandler(os.Stderr, nil)) }

func (a *App) address() string {
	host, port := a.Host, a.Port
	if host == "" && !inContainer() {
		host = "127.0.0.1"
	}
	if port == 0 {
		port = 8080
	}
	return net.JoinHostPort(host, strconv.Itoa(port))
}

// inContainer is how the official SDK for Python decides where it listens.
func inContainer() bool {
	_, err := os.Stat("/.dockerenv")
	return err == nil || os.Getenv("DOCKER_CONTAINER") != ""
}
