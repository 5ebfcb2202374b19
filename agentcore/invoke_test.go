package agentcore_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockagentcore"
	"github.com/aws/aws-sdk-go-v2/service/bedrockagentcore/types"
	"github.com/aws/smithy-go"
	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/agentcore"
)

const sessionID = "session-000000000000000000000000000001"

func (b *bed) invoke(t *testing.T, in *bedrockagentcore.InvokeAgentRuntimeInput) (*bedrockagentcore.InvokeAgentRuntimeOutput, error) {
	t.Helper()
	if in.AgentRuntimeArn == nil {
		in.AgentRuntimeArn = aws.String(b.arn)
	}
	out, err := b.data.InvokeAgentRuntime(t.Context(), in)
	if err == nil {
		t.Cleanup(func() { out.Response.Close() })
	}
	return out, err
}

func TestInvokePassesBytesAndNamesTheSession(t *testing.T) {
	b := newBed(t, nil)
	out, err := b.invoke(t, &bedrockagentcore.InvokeAgentRuntimeInput{
		Payload: []byte(`{"prompt":"hi"}`), RuntimeSessionId: aws.String(sessionID), ContentType: aws.String("application/json"),
	})
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(out.Response)
	if string(body) != `{"prompt":"hi"}` || aws.ToString(out.RuntimeSessionId) != sessionID || aws.ToInt32(out.StatusCode) != 200 || aws.ToString(out.ContentType) != "application/json" {
		t.Errorf("answer %q, session %q, status %d, type %q", body, aws.ToString(out.RuntimeSessionId), aws.ToInt32(out.StatusCode), aws.ToString(out.ContentType))
	}
}

func TestInvokeWithoutASessionGetsOne(t *testing.T) {
	b := newBed(t, nil)
	resp := b.post(t, "/runtimes/"+url.PathEscape(b.arn)+"/invocations", nil, strings.NewReader("{}"))
	id := resp.Header.Get(agentcore.HeaderSession)
	if _, err := isolde.ParseSessionID(id); err != nil || resp.StatusCode != 200 {
		t.Errorf("status %s, session %q: %v", resp.Status, id, err)
	}
}

func TestTargetForms(t *testing.T) {
	b := newBed(t, nil)
	id := strings.TrimPrefix(b.arn, b.locality.RuntimeARN(""))
	for _, test := range []struct {
		name, target, want string
	}{
		{"escaped ARN", url.PathEscape(b.arn), ""},
		{"raw ARN", b.arn, ""},
		{"id", id, ""},
		{"name", "echo", ""},
		{"unknown id", "other-0123456789", "ResourceNotFoundException"},
		{"ARN of another account", strings.Replace(url.PathEscape(b.arn), "123456789012", "999999999999", 1), "ResourceNotFoundException"},
		{"ARN of another service", "arn:aws:lambda:us-west-2:123456789012:function%2Fx", "ValidationException"},
		{"ARN with a bad id", "arn:aws:bedrock-agentcore:us-west-2:123456789012:runtime%2Fx", "ValidationException"},
	} {
		t.Run(test.name, func(t *testing.T) {
			resp := b.post(t, "/runtimes/"+test.target+"/invocations", nil, strings.NewReader("{}"))
			if got := resp.Header.Get("X-Amzn-ErrorType"); got != test.want {
				body, _ := io.ReadAll(resp.Body)
				t.Errorf("%s, error type %q, want %q: %s", resp.Status, got, test.want, body)
			}
		})
	}
}

func TestStreamArrivesAsItIsWritten(t *testing.T) {
	next := make(chan struct{})
	b := newBed(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		for i := range 3 {
			fmt.Fprintf(w, "data: %d\n\n", i)
			_ = http.NewResponseController(w).Flush()
			select {
			case <-next:
			case <-r.Context().Done():
			}
		}
	}))
	out, err := b.invoke(t, &bedrockagentcore.InvokeAgentRuntimeInput{Payload: []byte(`{}`)})
	if err != nil {
		t.Fatal(err)
	}
	if got := aws.ToString(out.ContentType); got != "text/event-stream" {
		t.Errorf("content type %q", got)
	}
	for i := range 3 {
		part := make([]byte, len("data: 0\n\n"))
		if _, err := io.ReadFull(out.Response, part); err != nil || string(part) != fmt.Sprintf("data: %d\n\n", i) {
			t.Fatalf("part %d = %q, %v", i, part, err)
		}
		next <- struct{}{} // the agent goes on only once the client has the part
	}
}

func TestErrorsHaveTheirExceptions(t *testing.T) {
	b := newBed(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, `{"error":"secret detail"}`, http.StatusInternalServerError)
	}))
	var validation *types.ValidationException
	var notFound *types.ResourceNotFoundException
	var agent *types.RuntimeClientError
	for _, test := range []struct {
		name    string
		in      bedrockagentcore.InvokeAgentRuntimeInput
		as      any
		message string
	}{
		{"short session id", bedrockagentcore.InvokeAgentRuntimeInput{RuntimeSessionId: aws.String("short")}, &validation, `"short" has 5 characters`},
		{"unknown endpoint", bedrockagentcore.InvokeAgentRuntimeInput{Qualifier: aws.String("prod")}, &notFound, `no endpoint "prod"`},
		{"agent answers 500", bedrockagentcore.InvokeAgentRuntimeInput{}, &agent, "Received error (500) from runtime."},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.in.Payload = []byte("{}")
			_, err := b.invoke(t, &test.in)
			if !errors.As(err, test.as) {
				t.Fatalf("error %T %v, want %T", err, err, test.as)
			}
			var api smithy.APIError
			if errors.As(err, &api); !strings.Contains(api.ErrorMessage(), test.message) || strings.Contains(api.ErrorMessage(), "secret") {
				t.Errorf("message %q, want …%s…", api.ErrorMessage(), test.message)
			}
		})
	}
}

func TestAgentErrorIsKeptInFullForItsOwner(t *testing.T) {
	b := newBed(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, `{"error":"the detail"}`, http.StatusTeapot)
	}))
	_, _ = b.invoke(t, &bedrockagentcore.InvokeAgentRuntimeInput{Payload: []byte("{}"), RuntimeSessionId: aws.String(sessionID)})
	s := b.sessions.Sessions()[0]
	if s.LastError == nil || s.LastError.Status != 418 || !strings.Contains(s.LastError.Message, "the detail") || s.LastError.Request == "" {
		t.Errorf("last error = %+v", s.LastError)
	}
}

func TestAgentThatBreaksOffCutsTheStream(t *testing.T) {
	b := newBed(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: 1\n\n")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	out, err := b.invoke(t, &bedrockagentcore.InvokeAgentRuntimeInput{Payload: []byte("{}")})
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(out.Response)
	if string(body) != "data: 1\n\n" || err == nil {
		t.Errorf("read %q, %v; want the first part and an error", body, err)
	}
}

func TestPayloadLimit(t *testing.T) {
	sum := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := sha256.New()
		n, err := io.Copy(h, r.Body)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		fmt.Fprintf(w, "%d %x", n, h.Sum(nil))
	})
	b := newBed(t, sum)
	most := bytes.Repeat([]byte("0123456789"), isolde.MaxPayload/10)
	path := "/runtimes/" + url.PathEscape(b.arn) + "/invocations"
	for _, test := range []struct {
		name string
		body io.Reader
		want int
	}{
		{"largest", bytes.NewReader(most), 200},
		{"largest, no length", io.MultiReader(bytes.NewReader(most)), 200},
		{"one more", io.MultiReader(bytes.NewReader(most), strings.NewReader("x")), 400},
	} {
		t.Run(test.name, func(t *testing.T) {
			resp := b.post(t, path, nil, test.body)
			body, _ := io.ReadAll(resp.Body)
			if resp.StatusCode != test.want {
				t.Fatalf("%s: %s", resp.Status, body)
			}
			want := fmt.Sprintf("%d %x", len(most), sha256.Sum256(most))
			if test.want == 200 && string(body) != want {
				t.Errorf("agent got %s, want %s", body, want)
			}
			if test.want == 400 && !strings.Contains(string(body), "100000000") {
				t.Errorf("message does not name the limit: %s", body)
			}
		})
	}
}

func TestHeadersThatReachTheAgent(t *testing.T) {
	b := newBed(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Process-Time", "1")
		w.Header().Set("Set-Cookie", "a=b")
		json.NewEncoder(w).Encode(r.Header) //nolint:errcheck // the test fails below
	}))
	resp := b.post(t, "/runtimes/echo/invocations", http.Header{
		agentcore.HeaderSession: {sessionID},
		"Authorization":         {"AWS4-HMAC-SHA256 Credential=x"},
		"Cookie":                {"a=b"},
		"X-Forwarded-For":       {"1.2.3.4"},
		"Traceparent":           {"00-1-2-01"},
		"X-Amzn-Bedrock-Agentcore-Runtime-Custom-Tenant": {"t1"},
	}, strings.NewReader("{}"))
	var got http.Header
	if err := json.NewDecoder(resp.Body).Decode(&got); err != nil {
		t.Fatal(err)
	}
	request := got.Get(agentcore.HeaderAgentRequest)
	if request == "" || request != resp.Header.Get(agentcore.HeaderRequestID) {
		t.Errorf("request id: agent got %q, client %q", request, resp.Header.Get(agentcore.HeaderRequestID))
	}
	delete(got, agentcore.HeaderAgentRequest)
	want := http.Header{
		agentcore.HeaderSession: {sessionID},
		"Traceparent":           {"00-1-2-01"},
		"X-Amzn-Bedrock-Agentcore-Runtime-Custom-Tenant": {"t1"},
		"Content-Type":   {"application/json"},
		"Accept":         {"application/json, text/event-stream;q=0.9, */*;q=0.8"},
		"Content-Length": {"2"},
		"User-Agent":     {"isolde"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("agent's headers (-want +got):\n%s", diff)
	}
	if resp.Header.Get("X-Process-Time") != "1" || resp.Header.Get("Set-Cookie") != "" {
		t.Errorf("client's headers: %v", resp.Header)
	}
}

func TestStopRuntimeSession(t *testing.T) {
	b := newBed(t, nil)
	if _, err := b.invoke(t, &bedrockagentcore.InvokeAgentRuntimeInput{Payload: []byte("{}"), RuntimeSessionId: aws.String(sessionID)}); err != nil {
		t.Fatal(err)
	}
	in := &bedrockagentcore.StopRuntimeSessionInput{AgentRuntimeArn: aws.String(b.arn), RuntimeSessionId: aws.String(sessionID)}
	out, err := b.data.StopRuntimeSession(t.Context(), in)
	if err != nil || aws.ToString(out.RuntimeSessionId) != sessionID || aws.ToInt32(out.StatusCode) != 200 {
		t.Fatalf("stop = %+v, %v", out, err)
	}
	if n := b.fake.Live(); n != 0 {
		t.Errorf("%d sandboxes live after the stop", n)
	}
	var notFound *types.ResourceNotFoundException
	if _, err := b.data.StopRuntimeSession(t.Context(), in); !errors.As(err, &notFound) || !strings.Contains(err.Error(), "not found or already terminated") {
		t.Errorf("second stop = %v", err)
	}
}
