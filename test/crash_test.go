package test

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol"
	"github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol/types"
	"github.com/aws/smithy-go"

	"github.com/isolde-run/isolde"
)

// TestControlPlaneSurvivesTheServersDeath changes agent runtimes from several
// clients at once and kills the server in the middle, again and again. After
// that all that was promised is there, nothing is stuck, and what is deleted
// leaves nothing.
func TestControlPlaneSurvivesTheServersDeath(t *testing.T) {
	b := newBed(t, "gvisor")
	if err := os.Remove(filepath.Join(b.data, "images")); err != nil { // what is collected must be this test's
		t.Fatal(err)
	}
	b.restart()
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	b.uploadAgent("bucket", "agent.zip")
	w := &world{t: t, b: b, promised: map[string]bool{}}
	w.first()
	for round := range 12 {
		rounds := rand.New(rand.NewPCG(seed, uint64(round)))
		ctx, cancel := context.WithCancel(t.Context())
		var wg sync.WaitGroup
		for client := range 3 {
			random := rand.New(rand.NewPCG(seed, uint64(round*10+client+1000)))
			wg.Go(func() { w.change(ctx, b.control(), random) })
		}
		time.Sleep(time.Duration(rounds.IntN(1000)) * time.Millisecond) // where it is hit, not how long it takes
		b.stop(syscall.SIGKILL)
		cancel()
		wg.Wait()
		b.start()
	}
	w.check()
	w.deleteAll()
}

// world knows what the server has promised.
type world struct {
	t *testing.T
	b *bed

	mu       sync.Mutex
	promised map[string]bool // runtimes by id: true if its deletion was never asked for
	updates  atomic.Int64    // that were promised
}

// first makes the first runtime and waits for it: with its base layer kept, the
// builds of the others are short enough to come to their end between two deaths.
func (w *world) first() {
	out, err := w.b.control().CreateAgentRuntime(w.t.Context(), &bedrockagentcorecontrol.CreateAgentRuntimeInput{
		AgentRuntimeName: aws.String("first"), AgentRuntimeArtifact: codeArtifact("bucket", "agent.zip"), RoleArn: aws.String(roleARN),
	})
	if err != nil {
		w.t.Fatal(err)
	}
	w.promise(*out.AgentRuntimeId, true)
	if r, err := settled(w.t.Context(), w.b.control(), *out.AgentRuntimeId); err != nil || r.Status != types.AgentRuntimeStatusReady {
		w.t.Fatalf("first runtime = %+v, %v", r, err)
	}
}

// change makes one change after the other until ctx ends.
func (w *world) change(ctx context.Context, c *bedrockagentcorecontrol.Client, random *rand.Rand) {
	for ctx.Err() == nil {
		id := w.pick(random)
		var err error
		switch n := random.IntN(20); {
		case id == "" || n < 2 && w.alive() < 6:
			var out *bedrockagentcorecontrol.CreateAgentRuntimeOutput
			out, err = c.CreateAgentRuntime(ctx, &bedrockagentcorecontrol.CreateAgentRuntimeInput{
				AgentRuntimeName: aws.String(fmt.Sprintf("agent_%d", random.Uint64())), AgentRuntimeArtifact: codeArtifact("bucket", "agent.zip"), RoleArn: aws.String(roleARN),
			})
			if err == nil {
				w.promise(*out.AgentRuntimeId, true)
			}
		case n < 9:
			key := []string{"agent.zip", "missing.zip"}[random.IntN(2)]
			_, err = c.UpdateAgentRuntime(ctx, &bedrockagentcorecontrol.UpdateAgentRuntimeInput{
				AgentRuntimeId: &id, AgentRuntimeArtifact: codeArtifact("bucket", key), RoleArn: aws.String(roleARN),
			})
			if err == nil {
				w.updates.Add(1)
			}
		case n < 13:
			_, err = c.CreateAgentRuntimeEndpoint(ctx, &bedrockagentcorecontrol.CreateAgentRuntimeEndpointInput{AgentRuntimeId: &id, Name: aws.String("prod")})
		case n < 16:
			_, err = c.DeleteAgentRuntimeEndpoint(ctx, &bedrockagentcorecontrol.DeleteAgentRuntimeEndpointInput{AgentRuntimeId: &id, EndpointName: aws.String("prod")})
		case n < 19:
			_, err = c.UpdateAgentRuntimeEndpoint(ctx, &bedrockagentcorecontrol.UpdateAgentRuntimeEndpointInput{AgentRuntimeId: &id, EndpointName: aws.String("prod")})
		default:
			w.promise(id, false) // asked for; the answer may be lost with the server
			_, err = c.DeleteAgentRuntime(ctx, &bedrockagentcorecontrol.DeleteAgentRuntimeInput{AgentRuntimeId: &id})
		}
		w.expect(ctx, err)
	}
}

// expect fails for an error that is neither one of the API nor the server's death.
func (w *world) expect(ctx context.Context, err error) {
	var conflict *types.ConflictException
	var gone *types.ResourceNotFoundException
	var api smithy.APIError
	switch {
	case err == nil, ctx.Err() != nil, errors.As(err, &conflict), errors.As(err, &gone):
	case errors.As(err, &api): // refused for what is none of this test's business, or failed
		w.t.Errorf("the server answered: %v", err)
	}
}

func (w *world) promise(id string, there bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.promised[id] = there
}

func (w *world) alive() (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, there := range w.promised {
		if there {
			n++
		}
	}
	return n
}

func (w *world) pick(random *rand.Rand) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var ids []string
	for id, there := range w.promised {
		if there {
			ids = append(ids, id)
		}
	}
	if len(ids) < 3 {
		return "" // so few that another is made
	}
	slices.Sort(ids)
	return ids[random.IntN(len(ids))]
}

// check waits until nothing is under way and compares with what was promised.
func (w *world) check() {
	t, ctx, c := w.t, w.t.Context(), w.b.control()
	var ready []string
	for id, there := range w.promised {
		r, err := settled(ctx, c, id)
		var gone *types.ResourceNotFoundException
		switch {
		case errors.As(err, &gone) && !there:
			continue
		case err != nil:
			t.Errorf("runtime %s, which was promised: %v", id, err)
			continue
		}
		endpoints, err := c.ListAgentRuntimeEndpoints(ctx, &bedrockagentcorecontrol.ListAgentRuntimeEndpointsInput{AgentRuntimeId: &id})
		if err != nil {
			t.Error(err)
			continue
		}
		for _, e := range endpoints.RuntimeEndpoints {
			if r.Status == types.AgentRuntimeStatusReady && *e.Name == "DEFAULT" && (e.Status != types.AgentRuntimeEndpointStatusReady || aws.ToString(e.LiveVersion) != *r.AgentRuntimeVersion) {
				t.Errorf("runtime %s is READY at version %s, and DEFAULT %s at %s", id, *r.AgentRuntimeVersion, e.Status, aws.ToString(e.LiveVersion))
			}
			if s := e.Status; s == types.AgentRuntimeEndpointStatusCreating || s == types.AgentRuntimeEndpointStatusUpdating || s == types.AgentRuntimeEndpointStatusDeleting {
				t.Errorf("endpoint %s of %s is stuck in %s", *e.Name, id, s)
			}
		}
		if r.Status == types.AgentRuntimeStatusReady {
			ready = append(ready, id)
		} else if r.FailureReason == nil {
			t.Errorf("runtime %s is %s for no reason", id, r.Status)
		}
	}
	t.Logf("%d runtimes were promised, %d are left, of which %d are READY; %d updates", len(w.promised), w.alive(), len(ready), w.updates.Load())
	if len(ready) == 0 || w.updates.Load() == 0 {
		t.Fatal("no runtime is READY: this test has seen nothing")
	}
	if resp, body := w.b.call(ready[0], sessionNumber(1), strings.NewReader(`{}`)); resp.StatusCode != http.StatusOK {
		t.Errorf("invocation: %s: %s", resp.Status, body)
	}
}

// deleteAll deletes every runtime, and looks for what is left of them.
func (w *world) deleteAll() {
	t, ctx, c := w.t, w.t.Context(), w.b.control()
	agents, err := w.b.client.Agents(ctx)
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range agents {
		id := string(a.ID)
		if _, err := c.DeleteAgentRuntime(ctx, &bedrockagentcorecontrol.DeleteAgentRuntimeInput{AgentRuntimeId: &id}); err != nil {
			t.Errorf("delete %s: %v", id, err)
			continue
		}
		var gone *types.ResourceNotFoundException
		if _, err := settled(ctx, c, id); !errors.As(err, &gone) {
			t.Errorf("deleted runtime %s: %v", id, err)
		}
	}
	w.b.restart() // which waits for what is collected in the background
	for _, folder := range []string{"tmp", "images/images", "images/tmp", "logs"} {
		left, err := os.ReadDir(filepath.Join(w.b.data, folder))
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
		for _, e := range left {
			if folder == "images/tmp" { // each process has a folder of its own there
				inside, _ := os.ReadDir(filepath.Join(w.b.data, folder, e.Name()))
				if len(inside) == 0 {
					continue
				}
			}
			t.Errorf("left in %s: %s", folder, e.Name())
		}
	}
}

// settled waits until a runtime is in a final status.
func settled(ctx context.Context, c *bedrockagentcorecontrol.Client, id string) (*bedrockagentcorecontrol.GetAgentRuntimeOutput, error) {
	for {
		r, err := c.GetAgentRuntime(ctx, &bedrockagentcorecontrol.GetAgentRuntimeInput{AgentRuntimeId: &id})
		if err != nil {
			return nil, err
		}
		if isolde.Status(r.Status).Final() {
			return r, nil
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return nil, fmt.Errorf("runtime %s is still %s: %w", id, r.Status, ctx.Err())
		}
	}
}

const roleARN = "arn:aws:iam::000000000000:role/agent"

func codeArtifact(bucket, key string) types.AgentRuntimeArtifact {
	return &types.AgentRuntimeArtifactMemberCodeConfiguration{Value: types.CodeConfiguration{
		Code:    &types.CodeMemberS3{Value: types.S3Location{Bucket: aws.String(bucket), Prefix: aws.String(key)}},
		Runtime: types.AgentManagedRuntimeTypePython311, EntryPoint: []string{"agent.py"},
	}}
}

// control is a client of the control plane that gives up at the first error.
func (b *bed) control() *bedrockagentcorecontrol.Client {
	return bedrockagentcorecontrol.New(bedrockagentcorecontrol.Options{
		Region: "us-east-1", BaseEndpoint: aws.String(b.url), Retryer: aws.NopRetryer{},
		HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}},
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: "any", SecretAccessKey: "any"}, nil
		}),
	})
}

// restart ends the server politely and starts another on the same data.
func (b *bed) restart() {
	b.t.Helper()
	b.stop(syscall.SIGTERM)
	b.start()
}

// smallAgent needs nothing but Python.
const smallAgent = `
import http.server, json

class Agent(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        self.answer({"status": "Healthy"})

    def do_POST(self):
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.answer({"version": 1})

    def log_message(self, *args):
        pass

http.server.ThreadingHTTPServer(("0.0.0.0", 8080), Agent).serve_forever()
`

// uploadAgent puts a zip archive with the small agent into the server's S3.
func (b *bed) uploadAgent(bucket, key string) {
	b.t.Helper()
	b.uploadCode(bucket, key, smallAgent)
}

// uploadCode does so with any agent.
func (b *bed) uploadCode(bucket, key, source string) {
	b.t.Helper()
	var archive bytes.Buffer
	z := zip.NewWriter(&archive)
	f, err := z.Create("agent.py")
	if err == nil {
		_, err = io.WriteString(f, source)
	}
	if err = errors.Join(err, z.Close()); err != nil {
		b.t.Fatal(err)
	}
	b.put("/"+bucket, nil)
	b.put("/"+bucket+"/"+key, archive.Bytes())
}

// put sends a PUT to the server's S3, as anybody may who names the service.
func (b *bed) put(path string, body []byte) {
	b.t.Helper()
	req, err := http.NewRequestWithContext(b.t.Context(), http.MethodPut, b.url+path, bytes.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	req.Header.Set("Authorization", "AWS4-HMAC-SHA256 Credential=any/20261122/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0")
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		b.t.Fatal(err)
	}
	defer resp.Body.Close()
	if answer, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
		b.t.Fatalf("PUT %s: %s: %s", path, resp.Status, answer)
	}
}
