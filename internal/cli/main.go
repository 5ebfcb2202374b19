// Package cli is the isolde command: [Main] takes arguments and streams, and
// returns the exit code. docs/CLI.md holds the rules that every command
// follows. In short: stdout is the answer and stderr is information, -o json
// is a contract that only grows, an error is a line "error:" and a line
// "hint:", and the exit code is that of the error's [isolde.Code].
package cli

import (
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"sync"
	"syscall"

	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"

	"github.com/isolde-run/isolde"
)

// Main runs the command line args, without the program's name, and returns
// its exit code. The first SIGINT, SIGTERM or SIGHUP ends ctx, which drains a
// server and breaks off anything else; the second ends the process.
func Main(ctx context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer, getenv func(string) string) int {
	ctx, release := interruptible(ctx)
	defer release()
	a := newApp(stdin, stdout, stderr, getenv)
	defer a.http.CloseIdleConnections()
	root := a.root()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	return a.report(root.ExecuteContext(ctx))
}

// app is what the commands share.
type app struct {
	in     io.Reader
	out    io.Writer // answers
	err    *terminal // information
	getenv func(string) string
	http   *http.Client

	server string // --server
	output format // --output
}

func newApp(stdin io.Reader, stdout, stderr io.Writer, getenv func(string) string) *app {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.DisableCompression = true // an agent's bytes are shown as they come
	return &app{
		in:     stdin,
		out:    stdout,
		err:    newTerminal(stderr, getenv),
		getenv: getenv,
		http:   &http.Client{Transport: &signer{Transport: transport, getenv: getenv, signer: v4.NewSigner()}},
	}
}

// interruption is the cause of a context that a signal ended.
type interruption struct{ signal syscall.Signal }

func (i interruption) Error() string { return i.signal.String() }

func interruptible(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	if !signal.Ignored(syscall.SIGHUP) { // nohup ignores it
		signal.Notify(signals, syscall.SIGHUP)
	}
	var wait sync.WaitGroup
	wait.Go(func() {
		select {
		case s := <-signals:
			signal.Stop(signals) // from here on a signal does what it does by default
			cancel(interruption{s.(syscall.Signal)})
		case <-ctx.Done():
		}
	})
	return ctx, func() {
		signal.Stop(signals)
		cancel(context.Canceled)
		wait.Wait()
	}
}

// report writes an error as "error:" and "hint:", and returns the exit code.
func (a *app) report(err error) int {
	if err == nil {
		return 0
	}
	if i, ok := errors.AsType[interruption](err); ok {
		return 128 + int(i.signal)
	}
	if code, ok := errors.AsType[exited](err); ok {
		return int(code)
	}
	a.err.error(err)
	return codeOf(err).ExitCode()
}

// codeOf is [isolde.CodeOf]; any other error is a fault of the command.
func codeOf(err error) isolde.Code {
	if e, ok := errors.AsType[*isolde.Error](err); ok {
		return e.Code
	}
	return isolde.CodeInternal
}

// describe splits an error into what "error:" and "hint:" say. Whoever runs
// the command owns the machine, so that faults are told in full.
func describe(err error) (message, hint string) {
	e, ok := errors.AsType[*isolde.Error](err)
	if !ok {
		return err.Error(), ""
	}
	message = e.Message
	if e.Op != "" {
		message = e.Op + ": " + message
	}
	if e.Code == isolde.CodeInternal && e.Err != nil && !strings.Contains(message, e.Err.Error()) {
		message += ": " + e.Err.Error()
	}
	return message, e.Hint
}
