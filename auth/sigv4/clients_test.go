package sigv4

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockagentcore"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/smithy-go"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/internal/need"
)

const arn = "arn:aws:bedrock-agentcore:us-east-1:123456789012:runtime/name-0123456789"

// agentCore is a server that verifies, and answers calls with the length of
// their body.
type agentCore struct {
	*httptest.Server
	mu   sync.Mutex
	seen []string // how each call that was accepted told its payload
}

func serve(t *testing.T, v *Verifier) *agentCore {
	s := &agentCore{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p, err := v.Begin(r)
		body, _ := io.ReadAll(r.Body)
		if err == nil {
			_, err = p.Finish(sha256.Sum256(body))
		}
		w.Header().Set("Content-Type", "application/json")
		if err != nil {
			code := isolde.CodeOf(err)
			w.Header().Set("X-Amzn-ErrorType", code.Exception())
			w.WriteHeader(code.HTTPStatus())
			json.NewEncoder(w).Encode(map[string]string{"message": err.Error()}) //nolint:errcheck // the caller is gone then
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		switch _, declared := p.BodySHA256(); {
		case p.NeedsBody():
			s.seen = append(s.seen, "not told")
		case declared:
			s.seen = append(s.seen, "told")
		}
		w.Header().Set("X-Amzn-Bedrock-AgentCore-Runtime-Session-Id", r.Header.Get("X-Amzn-Bedrock-AgentCore-Runtime-Session-Id"))
		json.NewEncoder(w).Encode(map[string]any{"length": len(body)}) //nolint:errcheck // the caller is gone then
	}))
	t.Cleanup(s.Close)
	return s
}

func (s *agentCore) lastSeen() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.seen) == 0 {
		return ""
	}
	return s.seen[len(s.seen)-1]
}

func TestGoSDK(t *testing.T) {
	s := serve(t, verifier(t))
	client := func(secret string) *bedrockagentcore.Client {
		return bedrockagentcore.New(bedrockagentcore.Options{
			BaseEndpoint: aws.String(s.URL), Region: region,
			Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
				return aws.Credentials{AccessKeyID: keyID, SecretAccessKey: secret, SessionToken: "ignored"}, nil
			}),
		})
	}
	in := &bedrockagentcore.InvokeAgentRuntimeInput{AgentRuntimeArn: aws.String(arn), Qualifier: aws.String("DEFAULT"), Payload: []byte(`{"prompt":"é"}`)}
	out, err := client(secret).InvokeAgentRuntime(t.Context(), in)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Response.Close()
	if s.lastSeen() != "not told" {
		t.Errorf("the SDK's payload was %q", s.lastSeen())
	}
	_, err = client("wrong").InvokeAgentRuntime(t.Context(), in)
	var api smithy.APIError
	if !errors.As(err, &api) || api.ErrorCode() != "InvalidSignatureException" || !strings.Contains(api.ErrorMessage(), keyID) {
		t.Errorf("with a wrong secret: %v", err)
	}
}

// TestS3SDK: uploads, and requests presigned for others, of keys that need
// encoding.
func TestS3SDK(t *testing.T) {
	v := verifier(t)
	v.Service, v.S3 = "s3", true
	s := serve(t, v)
	client := s3.New(s3.Options{
		BaseEndpoint: aws.String(s.URL), Region: region, UsePathStyle: true,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: keyID, SecretAccessKey: secret}, nil
		}),
	})
	key := aws.String("folder/a b+c:d/é~.zip")
	if _, err := client.PutObject(t.Context(), &s3.PutObjectInput{Bucket: aws.String("bucket"), Key: key, Body: strings.NewReader("body")}); err != nil || s.lastSeen() != "told" {
		t.Errorf("%v, payload %q", err, s.lastSeen())
	}
	presigned, err := s3.NewPresignClient(client).PresignGetObject(t.Context(), &s3.GetObjectInput{Bucket: aws.String("bucket"), Key: key})
	if err != nil {
		t.Fatal(err)
	}
	for at, want := range map[string]int{presigned.URL: http.StatusOK, strings.Replace(presigned.URL, "folder", "other", 1): http.StatusForbidden} {
		resp, err := http.Get(at)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: %s, want %d", at, resp.Status, want)
		}
	}
}

// line is what the clients of test/clients print.
type line struct{ Event, Code, Message, Body string }

func TestPythonAndJavaScript(t *testing.T) {
	python, node := need.Command(t, "python3"), need.Command(t, "node")
	packages := boto3(t, python)
	js := javascript(t)
	s := serve(t, verifier(t))
	for _, c := range []struct{ name, payload, program, script string }{
		{"boto3", "not told", python, "../../test/clients/boto3_client.py"},
		{"JavaScript", "told", node, filepath.Join(js, "js_client.mjs")},
	} {
		run := func(secret string) line {
			cmd := exec.Command(c.program, c.script, "json", arn, `{"prompt":"é"}`)
			cmd.Env = append(os.Environ(), "PYTHONPATH="+packages, "AWS_ENDPOINT_URL_BEDROCK_AGENTCORE="+s.URL, "AWS_REGION="+region, "AWS_DEFAULT_REGION="+region,
				"AWS_ACCESS_KEY_ID="+keyID, "AWS_SECRET_ACCESS_KEY="+secret, "AWS_EC2_METADATA_DISABLED=true")
			out, _ := cmd.Output() // a failed call is a line
			var last line
			for text := range bytes.Lines(out) {
				if err := json.Unmarshal(text, &last); err != nil {
					t.Fatalf("%s printed %q", c.name, text)
				}
			}
			return last
		}
		if l := run(secret); l.Event != "end" || !strings.Contains(l.Body, "15") || s.lastSeen() != c.payload {
			t.Errorf("%s: %+v, payload %q", c.name, l, s.lastSeen())
		}
		if l := run("wrong"); l.Code != "InvalidSignatureException" || !strings.Contains(l.Message, keyID) {
			t.Errorf("%s with a wrong secret: %+v", c.name, l)
		}
	}
}

// botocoreSigns signs WebSocket requests as AWS's own helpers do: with Host
// alone, in headers and in the query, the ARN escaped and not.
const botocoreSigns = `
import json, sys
from botocore.auth import SigV4Auth, SigV4QueryAuth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
key, secret, urls = sys.argv[1], sys.argv[2], sys.argv[3:]
for url in urls:
    for auth in (SigV4Auth(Credentials(key, secret, "token/+="), "bedrock-agentcore", "us-east-1"),
                 SigV4QueryAuth(Credentials(key, secret, "token/+="), "bedrock-agentcore", "us-east-1", expires=300)):
        request = AWSRequest(method="GET", url=url)
        auth.add_auth(request)
        print(json.dumps({"url": request.url, "headers": dict(request.headers.items())}))
`

func TestBotocoreSignsSockets(t *testing.T) {
	python := need.Command(t, "python3")
	packages := boto3(t, python)
	s := serve(t, verifier(t))
	urls := []string{
		s.URL + "/runtimes/" + url.QueryEscape(arn) + "/ws?qualifier=DEFAULT&X-Amzn-Bedrock-AgentCore-Runtime-Session-Id=" + strings.Repeat("s", 40),
		s.URL + "/runtimes/" + arn + "/ws?qualifier=DEFAULT",
	}
	cmd := exec.Command(python, append([]string{"-c", botocoreSigns, keyID, secret}, urls...)...)
	cmd.Env = append(os.Environ(), "PYTHONPATH="+packages)
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for text := range bytes.Lines(out) {
		var signed struct {
			URL     string
			Headers map[string]string
		}
		if err := json.Unmarshal(text, &signed); err != nil {
			t.Fatal(err)
		}
		r, err := http.NewRequest("GET", signed.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		for name, value := range signed.Headers {
			r.Header.Set(name, value)
		}
		r.Header.Set("Upgrade", "websocket") // after signing, as the helpers do
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s: %s", signed.URL, resp.Status, body)
		}
		n++
	}
	if n != 4 {
		t.Errorf("%d requests were signed", n)
	}
}

// boto3 is the folder where the end-to-end tests of test/ keep boto3.
func boto3(t *testing.T, python string) string {
	return installed(t, "boto3", "requirements.txt", func(dir string) *exec.Cmd {
		return exec.Command(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", dir, "-r", "../../test/clients/requirements.txt")
	})
}

// javascript is the folder where they keep the JavaScript SDK, and its client.
func javascript(t *testing.T) string {
	dir := installed(t, "js", "package-lock.json", func(dir string) *exec.Cmd {
		copyFile(t, "package.json", dir)
		copyFile(t, "package-lock.json", dir)
		cmd := exec.Command("npm", "ci", "--silent", "--no-audit", "--no-fund")
		cmd.Dir = dir
		return cmd
	})
	copyFile(t, "js_client.mjs", dir)
	return dir
}

func installed(t *testing.T, name, lock string, install func(dir string) *exec.Cmd) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../test/clients", lock))
	if err != nil {
		t.Fatal(err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	sum := sha256.Sum256(text)
	dir := filepath.Join(cache, "isolde-test", name+"-"+hex.EncodeToString(sum[:8]))
	if _, err := os.Stat(filepath.Join(dir, ".complete")); err == nil {
		return dir
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if out, err := install(dir).CombinedOutput(); err != nil {
		t.Fatalf("install %s: %v\n%s", name, err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, ".complete"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func copyFile(t *testing.T, name, dir string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../test/clients", name))
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, name), text, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
}
