package test

import (
	"archive/tar"
	"bytes"
	"encoding/json"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/isolde-run/isolde/operator"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol"
	"github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol/types"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// TestContainerImage runs an agent from a container image: out of a registry
// and out of the output of docker save, updates it, and moves an endpoint.
func TestContainerImage(t *testing.T) {
	b := newBed(t, "gvisor")
	reg := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(reg.Close)
	host := strings.TrimPrefix(reg.URL, "http://")
	agent := agentImage(t, "1000:1000")
	tag, err := name.NewTag(host + "/agents/hello:one")
	if err != nil {
		t.Fatal(err)
	}
	if err := remote.Write(tag, agent); err != nil {
		t.Fatal(err)
	}
	ctx, c := t.Context(), b.control()
	created, err := c.CreateAgentRuntime(ctx, &bedrockagentcorecontrol.CreateAgentRuntimeInput{
		AgentRuntimeName: aws.String("hello"), RoleArn: aws.String(roleARN), AgentRuntimeArtifact: containerArtifact(tag.String()),
		EnvironmentVariables: map[string]string{"GREETING": "Salve"},
	})
	if err != nil {
		t.Fatal(err)
	}
	id, arn := created.AgentRuntimeId, *created.AgentRuntimeArn
	ready := func() *bedrockagentcorecontrol.GetAgentRuntimeOutput {
		t.Helper()
		r, err := settled(ctx, c, *id)
		if err != nil || r.Status != types.AgentRuntimeStatusReady {
			t.Fatalf("runtime is %+v, %v", r, err)
		}
		return r
	}
	ready()
	if resp, body := b.call(arn, sessionNumber(1), strings.NewReader(`{"prompt":"hi"}`)); resp.StatusCode != 200 {
		t.Fatalf("invocation: %s: %s", resp.Status, body)
	}

	archive := filepath.Join(t.TempDir(), "hello.tar")
	if err := tarball.WriteToFile(archive, tag, agentImage(t, "0")); err != nil { // root, in its own kernel
		t.Fatal(err)
	}
	if _, err := c.UpdateAgentRuntime(ctx, &bedrockagentcorecontrol.UpdateAgentRuntimeInput{
		AgentRuntimeId: id, RoleArn: aws.String(roleARN), AgentRuntimeArtifact: containerArtifact("docker-archive:" + archive),
	}); err != nil {
		t.Fatal(err)
	}
	if r := ready(); *r.AgentRuntimeVersion != "2" {
		t.Errorf("version %s", *r.AgentRuntimeVersion)
	}
	if resp, body := b.call(arn, sessionNumber(2), strings.NewReader(`{"prompt":"hi"}`)); resp.StatusCode != 200 {
		t.Errorf("invocation of the archive: %s: %s", resp.Status, body)
	}
	sessions, err := b.client.Sessions(ctx, operator.SessionFilter{})
	if err != nil || len(sessions) != 2 || sessions[0].Version+sessions[1].Version != 3 {
		t.Errorf("running sessions keep their version: %+v, %v", sessions, err)
	}

	_, err = c.UpdateAgentRuntime(ctx, &bedrockagentcorecontrol.UpdateAgentRuntimeInput{
		AgentRuntimeId: id, RoleArn: aws.String(roleARN), AgentRuntimeArtifact: containerArtifact(host + "/agents/hello:nosuch"),
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := settled(ctx, c, *id)
	if err != nil || r.Status != types.AgentRuntimeStatusUpdateFailed || !strings.Contains(aws.ToString(r.FailureReason), "nosuch") {
		t.Errorf("runtime of no image: %s, %q, %v", r.Status, aws.ToString(r.FailureReason), err)
	}
	if resp, body := b.call(arn, sessionNumber(3), strings.NewReader(`{"prompt":"hi"}`)); resp.StatusCode != 200 {
		t.Errorf("after a failed update: %s: %s", resp.Status, body)
	}
	out := b.mustIsolde("agent", "get", "hello", "-o", "json")
	var shown struct {
		Status string `json:"status"`
		Reason string `json:"failureReason"`
	}
	if err := json.Unmarshal([]byte(out), &shown); err != nil || shown.Status != "UPDATE_FAILED" || !strings.Contains(shown.Reason, "nosuch") {
		t.Errorf("isolde agent get: %+v, %v", shown, err)
	}
}

// TestContainerImageNeedsItsOwnRoot: the process driver says why it cannot.
func TestContainerImageNeedsItsOwnRoot(t *testing.T) {
	b := newBed(t, "process")
	archive := filepath.Join(t.TempDir(), "hello.tar")
	if err := tarball.WriteToFile(archive, name.MustParseReference("hello:one").(name.Tag), agentImage(t, "")); err != nil { //nolint:errcheck,forcetypeassert // a tag by its text
		t.Fatal(err)
	}
	created, err := b.control().CreateAgentRuntime(t.Context(), &bedrockagentcorecontrol.CreateAgentRuntimeInput{
		AgentRuntimeName: aws.String("hello"), RoleArn: aws.String(roleARN), AgentRuntimeArtifact: containerArtifact("docker-archive:" + archive),
	})
	if err != nil {
		t.Fatal(err)
	}
	r, err := settled(t.Context(), b.control(), *created.AgentRuntimeId)
	if err != nil || r.Status != types.AgentRuntimeStatusCreateFailed || !strings.Contains(aws.ToString(r.FailureReason), "gvisor") {
		t.Errorf("runtime = %s, %q, %v", r.Status, aws.ToString(r.FailureReason), err)
	}
}

func containerArtifact(uri string) types.AgentRuntimeArtifact {
	return &types.AgentRuntimeArtifactMemberContainerConfiguration{Value: types.ContainerConfiguration{ContainerUri: aws.String(uri)}}
}

// agentImage is an image "FROM scratch" with one static program.
func agentImage(t *testing.T, user string) v1.Image {
	t.Helper()
	program := filepath.Join(t.TempDir(), "agent")
	build := exec.Command("go", "build", "-o", program, ".")
	build.Dir = "../examples/go-hello"
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build agent: %v\n%s", err, out)
	}
	binary, err := os.ReadFile(program)
	if err != nil {
		t.Fatal(err)
	}
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	if err := w.WriteHeader(&tar.Header{Name: "srv/agent", Mode: 0o755, Size: int64(len(binary))}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(binary); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	l, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(layer.Bytes())), nil })
	if err != nil {
		t.Fatal(err)
	}
	img, err := mutate.AppendLayers(empty.Image, l)
	if err != nil {
		t.Fatal(err)
	}
	config, err := img.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	config = config.DeepCopy()
	config.OS, config.Architecture = "linux", runtime.GOARCH
	config.Config = v1.Config{Entrypoint: []string{"/srv/agent"}, WorkingDir: "/srv", User: user, Env: []string{"FROM=image"}}
	if img, err = mutate.ConfigFile(img, config); err != nil {
		t.Fatal(err)
	}
	return img
}
