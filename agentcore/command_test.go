package agentcore_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockagentcore"
	"github.com/aws/aws-sdk-go-v2/service/bedrockagentcore/types"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/sandbox"
	"github.com/isolde-run/isolde/sandbox/sandboxtest"
)

// script is what a sandbox does with a command.
type script func(ctx context.Context, cmd sandbox.Command) (int, error)

func newCommandBed(t *testing.T, run script) *bed {
	b := newBed(t, nil)
	b.fake.Script = func(sandbox.Spec) sandboxtest.Script { return sandboxtest.Script{Exec: run} }
	return b
}

// ran is what a client saw of a command.
type ran struct {
	started        bool
	stdout, stderr string
	deltas         int
	exit           int
	status         types.CommandExecutionStatus
	err            error // of the stream
}

func (b *bed) runCommand(t *testing.T, ctx context.Context, command string, timeout *int32) (*ran, error) {
	t.Helper()
	out, err := b.data.InvokeAgentRuntimeCommand(ctx, &bedrockagentcore.InvokeAgentRuntimeCommandInput{
		AgentRuntimeArn: aws.String(b.arn), Accept: aws.String("application/vnd.amazon.eventstream"),
		Body: &types.InvokeAgentRuntimeCommandRequestBody{Command: aws.String(command), Timeout: timeout},
	})
	if err != nil {
		return nil, err
	}
	stream := out.GetStream()
	defer stream.Close()
	r := &ran{exit: -100}
	var stdout, stderr strings.Builder
	for e := range stream.Events() {
		chunk, ok := e.(*types.InvokeAgentRuntimeCommandStreamOutputMemberChunk)
		if !ok {
			t.Fatalf("event %T", e)
		}
		switch {
		case chunk.Value.ContentStart != nil:
			r.started = true
		case chunk.Value.ContentDelta != nil:
			r.deltas++
			stdout.WriteString(aws.ToString(chunk.Value.ContentDelta.Stdout))
			stderr.WriteString(aws.ToString(chunk.Value.ContentDelta.Stderr))
		case chunk.Value.ContentStop != nil:
			r.exit, r.status = int(aws.ToInt32(chunk.Value.ContentStop.ExitCode)), chunk.Value.ContentStop.Status
		}
	}
	r.stdout, r.stderr, r.err = stdout.String(), stderr.String(), stream.Err()
	return r, nil
}

func (b *bed) mustRun(t *testing.T, command string) *ran {
	t.Helper()
	r, err := b.runCommand(t, t.Context(), command, nil)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestCommand(t *testing.T) {
	b := newCommandBed(t, func(_ context.Context, cmd sandbox.Command) (int, error) {
		if cmd.Args[0] != "/bin/bash" || cmd.Args[1] != "-c" || cmd.Args[2] != "say it\n" {
			t.Errorf("args %q", cmd.Args)
		}
		for _, part := range []string{"gr\xc3", "\xbc\xc3\x9fe \xf0\x9f", "\x98\x80 \xff", "<&>\xe2\x82"} {
			if err := cmd.Stdout(([]byte)(part)); err != nil {
				return -1, err
			}
		}
		return 3, cmd.Stderr([]byte("error"))
	})
	r := b.mustRun(t, "say it\n")
	if !r.started || r.stdout != "grüße 😀 \uFFFD<&>\uFFFD" || r.stderr != "error" || r.exit != 3 || r.status != types.CommandExecutionStatusCompleted || r.err != nil {
		t.Errorf("%+v", r)
	}
	sessions := b.sessions.Sessions()
	if len(sessions) != 1 || sessions[0].State != isolde.SessionIdle || sessions[0].Requests != 1 {
		t.Errorf("sessions %+v", sessions)
	}
}

// TestCommandOutputComesAtOnce wants each part to arrive before the command
// goes on, and the session to be active for as long.
func TestCommandOutputComesAtOnce(t *testing.T) {
	goOn := make(chan struct{})
	b := newCommandBed(t, func(ctx context.Context, cmd sandbox.Command) (int, error) {
		for range 3 {
			if err := cmd.Stdout([]byte("x")); err != nil {
				return -1, err
			}
			select {
			case <-goOn:
			case <-ctx.Done():
				return -1, ctx.Err()
			}
		}
		return 0, nil
	})
	out, err := b.data.InvokeAgentRuntimeCommand(t.Context(), &bedrockagentcore.InvokeAgentRuntimeCommandInput{
		AgentRuntimeArn: aws.String(b.arn), Body: &types.InvokeAgentRuntimeCommandRequestBody{Command: aws.String("x")},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer out.GetStream().Close()
	<-out.GetStream().Events() // contentStart
	for range 3 {
		<-out.GetStream().Events()
		if s := b.sessions.Sessions(); len(s) != 1 || s[0].State != isolde.SessionActive {
			t.Errorf("sessions %+v", s)
		}
		goOn <- struct{}{}
	}
}

func TestCommandTimeout(t *testing.T) {
	b := newCommandBed(t, func(ctx context.Context, _ sandbox.Command) (int, error) {
		<-ctx.Done()
		return -1, ctx.Err()
	})
	r, err := b.runCommand(t, t.Context(), "sleep", aws.Int32(1))
	if err != nil || r.exit != -1 || r.status != types.CommandExecutionStatusTimedOut || r.err != nil {
		t.Errorf("%+v, %v", r, err)
	}
}

func TestCommandEndsWithItsClient(t *testing.T) {
	began, ended := make(chan struct{}), make(chan struct{})
	b := newCommandBed(t, func(ctx context.Context, _ sandbox.Command) (int, error) {
		close(began)
		<-ctx.Done()
		close(ended)
		return -1, ctx.Err()
	})
	ctx, cancel := context.WithCancel(t.Context())
	go func() { <-began; cancel() }()
	_, _ = b.runCommand(t, ctx, "sleep", nil)
	select {
	case <-ended:
	case <-time.After(time.Minute):
		t.Fatal("the command runs on")
	}
}

func TestCommandEndsWithItsSession(t *testing.T) {
	var b *bed
	b = newCommandBed(t, func(ctx context.Context, _ sandbox.Command) (int, error) {
		go b.sessions.StopAll(context.Background(), isolde.EndOperator, "was stopped", func(isolde.Session) bool { return true }) //nolint:errcheck // seen below
		<-ctx.Done()
		return -1, ctx.Err()
	})
	r := b.mustRun(t, "sleep")
	var failed *types.RuntimeClientError
	if !r.started || !errors.As(r.err, &failed) || !strings.Contains(failed.ErrorMessage(), "it was stopped") {
		t.Errorf("%+v", r)
	}
}

func TestCommandPrintsTooMuch(t *testing.T) {
	block := bytes.Repeat([]byte("x"), 8<<20)
	var taken atomic.Int64
	b := newCommandBed(t, func(ctx context.Context, cmd sandbox.Command) (int, error) {
		for {
			if err := cmd.Stdout(block); err != nil {
				<-ctx.Done()
				return -1, err
			}
			taken.Add(int64(len(block)))
		}
	})
	r := b.mustRun(t, "yes")
	var quota *types.ServiceQuotaExceededException
	if !errors.As(r.err, &quota) || !strings.Contains(quota.ErrorMessage(), "100000000 bytes") {
		t.Errorf("error %v", r.err)
	}
	if taken.Load() > 100_000_000 || int64(len(r.stdout)) != taken.Load() || r.deltas < len(r.stdout)/(64<<10) {
		t.Errorf("%d bytes in %d events; the command wrote %d", len(r.stdout), r.deltas, taken.Load())
	}
}

func TestCommandFindsAShell(t *testing.T) {
	var has atomic.Value
	b := newCommandBed(t, func(_ context.Context, cmd sandbox.Command) (int, error) {
		if cmd.Args[0] != has.Load() {
			return -1, isolde.Errorf(isolde.CodeAgent, "no %s", cmd.Args[0]).WithCause(sandbox.ErrNotExecutable)
		}
		return 0, cmd.Stdout([]byte(cmd.Args[0]))
	})
	for _, there := range []string{"/bin/bash", "bash", "/bin/sh"} {
		has.Store(there)
		if r := b.mustRun(t, "x"); r.stdout != there || r.exit != 0 {
			t.Errorf("%s: %+v", there, r)
		}
	}
	has.Store("none")
	var failed *types.RuntimeClientError
	if r := b.mustRun(t, "x"); !errors.As(r.err, &failed) || !strings.Contains(failed.ErrorMessage(), "neither bash nor sh") {
		t.Errorf("%+v", r)
	}
}

func TestDriverWithoutCommands(t *testing.T) {
	b := newBed(t, nil)
	var invalid *types.ValidationException
	if r := b.mustRun(t, "x"); !errors.As(r.err, &invalid) || invalid.Reason == "" {
		t.Errorf("%+v", r)
	}
}

func TestCommandRefused(t *testing.T) {
	b := newCommandBed(t, func(context.Context, sandbox.Command) (int, error) {
		t.Error("it ran")
		return 0, nil
	})
	path := "/runtimes/" + strings.ReplaceAll(b.arn, "/", "%2F") + "/commands"
	long := strings.Repeat("é", 65537)
	for body, want := range map[string]string{
		``:                                 "command",
		`{}`:                               "command",
		`{"command":""}`:                   "command",
		`{"command":1}`:                    "command",
		`{"command":"a\u0000b"}`:           "command",
		`{"command":"` + long + `"}`:       "command",
		`{"command":"x","timeout":0}`:      "timeout",
		`{"command":"x","timeout":3601}`:   "timeout",
		`{"command":"x","timeout":1.5}`:    "timeout",
		`{"command":"x","timeout":"1"}`:    "timeout",
		`{"command":"x"`:                   "",
		`["x"]`:                            "",
		"{\"command\":\"\xff\"}":           "",
		strings.Repeat(" ", 1<<20) + `{}x`: "",
	} {
		resp := b.post(t, path, http.Header{"Content-Type": {"application/json"}}, strings.NewReader(body))
		var e struct {
			Message   string
			FieldList []struct{ Name string }
		}
		if err := json.NewDecoder(resp.Body).Decode(&e); err != nil || resp.StatusCode != 400 || resp.Header.Get("X-Amzn-Errortype") != "ValidationException" {
			t.Errorf("%.60s: %s, %v", body, resp.Status, err)
			continue
		}
		if want != "" && (len(e.FieldList) != 1 || e.FieldList[0].Name != want) {
			t.Errorf("%.60s: %+v", body, e)
		}
	}
	for path, status := range map[string]int{
		"/runtimes/nobody-0123456789/commands": 404, path + "?qualifier=none": 404, "/runtimes/arn:aws:x/commands": 400,
	} {
		resp := b.post(t, path, nil, strings.NewReader(`{"command":"x"}`))
		if resp.StatusCode != status || resp.Header.Get("X-Amzn-Bedrock-Agentcore-Runtime-Session-Id") == "" {
			t.Errorf("%s: %s", path, resp.Status)
		}
	}
	if n := len(b.sessions.Sessions()); n != 0 {
		t.Errorf("%d sessions were started", n)
	}
}

// TestCommandAnswersHead looks at what Go's SDK keeps to itself.
func TestCommandAnswersHead(t *testing.T) {
	b := newCommandBed(t, func(context.Context, sandbox.Command) (int, error) { return 0, nil })
	session := strings.Repeat("s", 33)
	resp := b.post(t, "/runtimes/echo/commands", http.Header{
		"X-Amzn-Bedrock-Agentcore-Runtime-Session-Id": {session}, "Traceparent": {"a"}, "Baggage": {"b=c"},
	}, strings.NewReader(`{"command":"x"}`))
	for name, want := range map[string]string{
		"X-Amzn-Bedrock-Agentcore-Runtime-Session-Id": session, "Content-Type": "application/vnd.amazon.eventstream",
		"Traceparent": "a", "Baggage": "b=c",
	} {
		if got := resp.Header.Get(name); got != want {
			t.Errorf("%s: %q", name, got)
		}
	}
	if resp.StatusCode != 200 || resp.Header.Get("X-Amzn-Requestid") == "" {
		t.Errorf("%s, %v", resp.Status, resp.Header)
	}
}

// TestLongestCommand is taken: 65,536 characters of any length.
func TestLongestCommand(t *testing.T) {
	command := strings.Repeat("😀", 65536)
	b := newCommandBed(t, func(_ context.Context, cmd sandbox.Command) (int, error) {
		if cmd.Args[2] != command {
			t.Error("it is another")
		}
		return 0, nil
	})
	if r := b.mustRun(t, command); r.exit != 0 || r.err != nil {
		t.Errorf("%+v", r)
	}
}
