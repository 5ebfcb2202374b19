package test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockagentcore"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/internal/need"
)

// line is a JSON line of a program in clients/; see clients/boto3_client.py.
type line struct {
	Event       string  `json:"event"`
	Seconds     float64 `json:"seconds"`
	StatusCode  int     `json:"statusCode"`
	ContentType string  `json:"contentType"`
	Session     string  `json:"runtimeSessionId"`
	Data        string  `json:"data"`
	Bytes       int64   `json:"bytes"`
	Body        any     `json:"body"`
	Exception   string  `json:"exception"`
	Code        string  `json:"code"`
	Status      int     `json:"status"`
	Message     string  `json:"message"`
	ExitCode    int     `json:"exitCode"`
	Outcome     string  `json:"outcome"`
}

// client is one of the AWS SDKs in other languages, installed and ready.
type client struct {
	name string
	argv []string
	env  []string
}

// clients installs boto3 and the JavaScript SDK as their lock files say, once
// for all runs.
func clients(t *testing.T) []client {
	t.Helper()
	python, node := need.Command(t, "python3"), need.Command(t, "node")
	packages := installed(t, "boto3", "clients/requirements.txt", func(dir string) *exec.Cmd {
		if uv, err := exec.LookPath("uv"); err == nil {
			return exec.Command(uv, "pip", "install", "--quiet", "--target", dir, "-r", "clients/requirements.txt")
		}
		return exec.Command(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", dir, "-r", "clients/requirements.txt")
	})
	script, err := filepath.Abs("clients/boto3_client.py")
	if err != nil {
		t.Fatal(err)
	}
	js := installed(t, "js", "clients/package-lock.json", func(dir string) *exec.Cmd {
		for _, f := range []string{"package.json", "package-lock.json"} {
			copyFile(t, filepath.Join("clients", f), filepath.Join(dir, f))
		}
		cmd := exec.Command("npm", "ci", "--silent", "--no-audit", "--no-fund")
		cmd.Dir = dir
		return cmd
	})
	copyFile(t, "clients/js_client.mjs", filepath.Join(js, "js_client.mjs")) // next to its node_modules
	return []client{
		{"boto3", []string{python, script}, []string{"PYTHONPATH=" + packages}},
		{"JavaScript", []string{node, filepath.Join(js, "js_client.mjs")}, nil},
	}
}

// installed runs an install into a folder of the cache unless that was done
// before with the same lock file, and returns the folder.
func installed(t *testing.T, name, lock string, install func(dir string) *exec.Cmd) string {
	t.Helper()
	text, err := os.ReadFile(lock)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(text)
	dir := filepath.Join(cacheDir(), name+"-"+hex.EncodeToString(sum[:8]))
	done := filepath.Join(dir, ".complete")
	if _, err := os.Stat(done); err == nil {
		return dir
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := install(dir)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, out)
	}
	if err := os.WriteFile(done, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	text, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, text, 0o644); err != nil {
		t.Fatal(err)
	}
}

// run calls the server and returns the lines the client printed.
func (c client) run(t *testing.T, b *bed, args ...string) []line {
	t.Helper()
	cmd := exec.Command(c.argv[0], append(c.argv[1:], args...)...)
	cmd.Env = append(append(os.Environ(),
		"AWS_ENDPOINT_URL_BEDROCK_AGENTCORE="+b.url, "AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1",
		"AWS_ACCESS_KEY_ID=any", "AWS_SECRET_ACCESS_KEY=any", "AWS_EC2_METADATA_DISABLED=true"), c.env...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, _ := cmd.Output() // a failed call is a line
	var lines []line
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		var l line
		if err := json.Unmarshal(s.Bytes(), &l); err != nil {
			t.Fatalf("%s printed %q", c.name, s.Text())
		}
		lines = append(lines, l)
	}
	if len(lines) == 0 {
		t.Fatalf("%s printed nothing:\n%s", c.name, stderr.String())
	}
	return lines
}

// answer joins the strings of a stream's data events.
func answer(lines []line) string {
	var text strings.Builder
	for _, l := range lines {
		var s string
		if l.Event == "chunk" && json.Unmarshal([]byte(l.Data), &s) == nil {
			text.WriteString(s)
		}
	}
	return text.String()
}

func last(lines []line) line { return lines[len(lines)-1] }

// TestMainJob is what Isolde is for: an agent on the official SDK, in
// sessions, called by AWS's own clients.
func TestMainJob(t *testing.T) {
	clients := clients(t)
	forEachDriver(t, func(t *testing.T, b *bed) {
		arn := b.deploy("../examples/python-streaming")
		for i, c := range clients {
			t.Run(c.name, func(t *testing.T) {
				mine, other := string(sessionNumber(2*i)), string(sessionNumber(2*i+1))
				lines := c.run(t, b, "stream", arn, "what is 2X5?", "--session", mine)
				if head := lines[0]; head.Event != "response" || head.StatusCode != 200 || !strings.Contains(head.ContentType, "text/event-stream") || head.Session != mine {
					t.Fatalf("response = %+v", head)
				}
				if got := answer(lines); !strings.Contains(got, "10") || last(lines).Event != "end" {
					t.Errorf("2X5 → %q, %+v", got, last(lines))
				}
				arrivals := make(map[float64]bool)
				for _, l := range lines {
					if l.Event == "chunk" {
						arrivals[l.Seconds] = true
					}
				}
				if len(arrivals) < 4 {
					t.Errorf("chunks came at %d moments: not streamed", len(arrivals))
				}
				if got := answer(c.run(t, b, "stream", arn, "and that plus 34?", "--session", mine)); !strings.Contains(got, "44") {
					t.Errorf("and that plus 34? → %q, want 44", got)
				}
				if got := answer(c.run(t, b, "stream", arn, "and that plus 34?", "--session", other)); strings.Contains(got, "44") {
					t.Errorf("another session knows the conversation: %q", got)
				}
				if got := last(c.run(t, b, "stop", arn, "--session", mine)); got.Event != "end" {
					t.Errorf("stop = %+v", got)
				}
				if got := last(c.run(t, b, "stop", arn, "--session", mine)); got.Exception != "ResourceNotFoundException" {
					t.Errorf("second stop = %+v", got)
				}
				if got := answer(c.run(t, b, "stream", arn, "and that plus 34?", "--session", mine)); strings.Contains(got, "44") {
					t.Errorf("the session's memory outlived its end: %q", got)
				}
			})
		}
		t.Run("Go", func(t *testing.T) { testGoClient(t, b, arn) })
	})
}

func testGoClient(t *testing.T, b *bed, arn string) {
	client := bedrockagentcore.New(bedrockagentcore.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(b.url),
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "any", SecretAccessKey: "any"}, nil
		}),
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	out, err := client.InvokeAgentRuntime(ctx, &bedrockagentcore.InvokeAgentRuntimeInput{
		AgentRuntimeArn: aws.String(arn), Payload: []byte(`{"prompt":"6 times 7"}`),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer out.Response.Close()
	body, err := io.ReadAll(out.Response)
	if err != nil || !strings.Contains(string(body), "42") || !strings.HasPrefix(aws.ToString(out.ContentType), "text/event-stream") {
		t.Errorf("6 times 7 → %q, type %q, %v", body, aws.ToString(out.ContentType), err)
	}
	if _, err := isolde.ParseSessionID(aws.ToString(out.RuntimeSessionId)); err != nil {
		t.Error(err)
	}
}

// TestTypeScriptAgent calls the agent on the official TypeScript SDK with
// clients that leave Content-Type and Accept open.
func TestTypeScriptAgent(t *testing.T) {
	clients := clients(t)
	forEachDriver(t, func(t *testing.T, b *bed) {
		arn := b.deploy("../examples/typescript-streaming")
		for i, c := range clients {
			lines := c.run(t, b, "stream", arn, "hello", "--session", string(sessionNumber(i)))
			if got := last(lines); got.Event != "end" || lines[0].StatusCode != 200 {
				t.Errorf("%s: %+v", c.name, lines)
			}
		}
	})
}

func TestGoAgent(t *testing.T) {
	forEachDriver(t, func(t *testing.T, b *bed) {
		arn := b.deploy("../examples/go-hello")
		resp, body := b.call(arn, sessionNumber(1), strings.NewReader(`{"prompt":"hello"}`))
		if resp.StatusCode != 200 || !json.Valid(body) {
			t.Errorf("%s: %s", resp.Status, body)
		}
	})
}
