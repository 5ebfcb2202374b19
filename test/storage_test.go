package test

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol"
	"github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol/types"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/operator"
)

// TestSessionStorage creates a runtime as AWS's own sample does, has sessions
// write files, and takes it through all that keeps the files and all that does
// not.
func TestSessionStorage(t *testing.T) {
	forEachDriver(t, func(t *testing.T, b *bed) {
		source, err := os.ReadFile("agents/echo/agent.py")
		if err != nil {
			t.Fatal(err)
		}
		b.uploadCode("storage", "agent.zip", string(source))
		storage := []types.FilesystemConfiguration{&types.FilesystemConfigurationMemberSessionStorage{
			Value: types.SessionStorageConfiguration{MountPath: aws.String("/mnt/data")},
		}}
		network := &types.NetworkConfiguration{NetworkMode: types.NetworkModePublic}
		created, err := b.control().CreateAgentRuntime(t.Context(), &bedrockagentcorecontrol.CreateAgentRuntimeInput{
			AgentRuntimeName: aws.String("keeper"), RoleArn: aws.String(roleARN), NetworkConfiguration: network,
			AgentRuntimeArtifact: codeArtifact("storage", "agent.zip"), FilesystemConfigurations: storage,
		})
		if err != nil {
			t.Fatal(err)
		}
		id, arn := *created.AgentRuntimeId, *created.AgentRuntimeArn
		if r, err := settled(t.Context(), b.control(), id); err != nil || r.Status != types.AgentRuntimeStatusReady || len(r.FilesystemConfigurations) != 1 {
			t.Fatalf("runtime = %+v, %v", r, err)
		}
		const path = "/mnt/data/note"
		mine, other := sessionNumber(1), sessionNumber(2)
		read := func(s isolde.SessionID) string {
			t.Helper()
			text, _ := b.echo(arn, s, fmt.Sprintf(`{"read":[%q]}`, path)).Read[path].(string)
			return text
		}
		b.echo(arn, mine, fmt.Sprintf(`{"write":{%q:"kept"}}`, path))
		if got := read(other); strings.Contains(got, "kept") {
			t.Errorf("another session reads %q", got)
		}
		b.stopSession(arn, mine)
		if got := read(mine); got != "kept" {
			t.Errorf("after a stop it reads %q", got)
		}
		b.stop(syscall.SIGKILL)
		b.start()
		if got := read(mine); got != "kept" {
			t.Errorf("after the server's death it reads %q", got)
		}
		b.stopSession(arn, mine)
		if got := read(mine); got != "kept" {
			t.Errorf("after the server's death and a stop it reads %q", got)
		}

		var list operator.StorageList
		if err := json.Unmarshal([]byte(b.mustIsolde("session", "storage", "ls", "-o", "json")), &list); err != nil || len(list.Storage) != 2 || list.Storage[0].Bytes == 0 {
			t.Errorf("isolde session storage ls: %+v, %v", list, err)
		}
		if _, stderr, exit := b.isolde("session", "storage", "rm", string(mine)); exit != 5 || !strings.Contains(stderr, "isolde session stop") {
			t.Errorf("removing what a running session keeps: exit %d, %s", exit, stderr)
		}
		b.stopSession(arn, mine)
		b.mustIsolde("session", "storage", "rm", string(mine))
		if got := read(mine); got == "kept" {
			t.Error("what was removed is there")
		}

		// A new version begins anew; the agent takes everything with it.
		b.echo(arn, mine, fmt.Sprintf(`{"write":{%q:"of version 1"}}`, path))
		if _, err := b.control().UpdateAgentRuntime(t.Context(), &bedrockagentcorecontrol.UpdateAgentRuntimeInput{
			AgentRuntimeId: &id, RoleArn: aws.String(roleARN), NetworkConfiguration: network,
			AgentRuntimeArtifact: codeArtifact("storage", "agent.zip"), FilesystemConfigurations: storage, Description: aws.String("another"),
		}); err != nil {
			t.Fatal(err)
		}
		if r, err := settled(t.Context(), b.control(), id); err != nil || r.Status != types.AgentRuntimeStatusReady {
			t.Fatalf("runtime = %+v, %v", r, err)
		}
		if got := read(mine); got != "of version 1" {
			t.Errorf("a session that runs on reads %q", got)
		}
		b.stopSession(arn, mine)
		if got := read(mine); got == "of version 1" {
			t.Error("the new version finds the files of the old one")
		}
		b.mustIsolde("agent", "rm", "keeper")
		left, err := filepath.Glob(filepath.Join(b.data, "storage", "*", "*"))
		if err != nil || len(left) > 0 {
			t.Errorf("left on the disk: %v, %v", left, err)
		}
	})
}

// TestAllowedFolder mounts a folder that the server allows.
func TestAllowedFolder(t *testing.T) {
	folder := t.TempDir()
	if err := os.Mkdir(filepath.Join(folder, "models"), 0o777); err != nil {
		t.Fatal(err)
	}
	writeFile(t, filepath.Join(folder, "models", "small"), "weights")
	forEachDriver(t, func(t *testing.T, b *bed) {
		project := t.TempDir()
		copyFile(t, "agents/echo/agent.py", filepath.Join(project, "agent.py"))
		yaml := "name: reader\nmounts:\n- {path: /mnt/models, folder: %s, readonly: true}\n"
		writeFile(t, filepath.Join(project, "isolde.yaml"), fmt.Sprintf(yaml, "/etc"))
		if _, stderr, exit := b.isolde("deploy", project); exit != 9 || !strings.Contains(stderr, "--allow-mount /etc:ro") {
			t.Errorf("a folder that is not allowed: exit %d, %s", exit, stderr)
		}
		writeFile(t, filepath.Join(project, "isolde.yaml"), fmt.Sprintf(yaml, filepath.Join(folder, "models")))
		arn := b.deploy(project)
		r := b.echo(arn, sessionNumber(1), `{"read":["/mnt/models/small"],"write":{"/mnt/models/more":"x"}}`)
		if r.Read["/mnt/models/small"] != "weights" {
			t.Errorf("it reads %v", r.Read)
		}
		if _, err := os.Stat(filepath.Join(folder, "models", "more")); err == nil {
			t.Error("it wrote to a folder that is read-only")
		}
	}, "--allow-mount", folder+":ro")
}
