package test

import (
	"strings"
	"testing"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/bedrockagentcorecontrol"

	"github.com/isolde-run/isolde"
)

// TestWaitForWhatTheAPIBegan: the command tells how a build ends that an SDK
// began, while it is built or later.
func TestWaitForWhatTheAPIBegan(t *testing.T) {
	forEachDriver(t, func(t *testing.T, b *bed) {
		b.uploadAgent("builds", "agent.zip")
		for key, want := range map[string]struct {
			exit   int
			stdout string
			stderr string
		}{
			"agent.zip":   {0, "READY", "call it: isolde invoke agent"},
			"missing.zip": {isolde.CodeInvalid.ExitCode(), "", "CREATE_FAILED: "},
		} {
			name, _, _ := strings.Cut(key, ".")
			_, err := b.control().CreateAgentRuntime(t.Context(), &bedrockagentcorecontrol.CreateAgentRuntimeInput{
				AgentRuntimeName: &name, AgentRuntimeArtifact: codeArtifact("builds", key), RoleArn: aws.String(roleARN),
			})
			if err != nil {
				t.Fatal(err)
			}
			for _, again := range []bool{false, true} {
				out, errs, exit := b.isolde("agent", "wait", name)
				if exit != want.exit || !strings.Contains(out, want.stdout) || !strings.Contains(errs, want.stderr) {
					t.Errorf("wait for %s, again: %v: exit code %d\n%s%s", key, again, exit, out, errs)
				}
			}
		}
		b.mustIsolde("invoke", "agent", "{}", "--new-session")
		b.mustIsolde("agent", "rm", "agent", "missing")
		if _, errs, exit := b.isolde("agent", "wait", "agent"); exit != isolde.CodeNotFound.ExitCode() {
			t.Errorf("wait for what is gone: exit code %d\n%s", exit, errs)
		}
	})
}
