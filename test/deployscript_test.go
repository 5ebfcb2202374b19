package test

import (
	"archive/zip"
	"bytes"
	"encoding/json"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/isolde-run/isolde/internal/need"
)

// TestAWSDeployScript runs scripts in the manner of AWS's own samples, with
// nothing set but what isolde env --aws prints: they make a role, upload a zip
// with the official SDK vendored in it, create the runtime, poll, create an
// endpoint, invoke, and take everything away again.
func TestAWSDeployScript(t *testing.T) {
	clients := clients(t)
	archive, runtime := vendoredAgent(t), pythonRuntime(t)
	forEachDriver(t, func(t *testing.T, b *bed) {
		for _, c := range clients {
			t.Run(c.name, func(t *testing.T) {
				steps := c.deployScript(t, b, archive, "--runtime", runtime, "--entry-point", "agent.py", "--payload", `{"prompt":"tell me"}`)
				var events []string
				for _, s := range steps {
					events = append(events, s.Event+":"+s.What+s.Status)
				}
				told := strings.Join(events, " ")
				for _, want := range []string{
					"runtime:CREATING", "runtime:READY", "endpoint:READY", "stopped:", "deleted:endpoint", "deleted:runtime", "deleted:bucket", "deleted:role", "end:",
				} {
					if !strings.Contains(told, want) {
						t.Errorf("no step %s", want)
					}
				}
				if !strings.Contains(body(steps), "you said: tell me") {
					t.Errorf("the agent answered %q", body(steps))
				}
				if t.Failed() {
					t.Logf("steps: %s", told)
				}
			})
		}
		if agents, err := b.client.Agents(t.Context()); err != nil || len(agents) > 0 {
			t.Errorf("agents are left: %+v, %v", agents, err)
		}
		left, err := filepath.Glob(filepath.Join(b.data, "objects", "buckets", "*"))
		if err != nil || len(left) > 0 {
			t.Errorf("buckets are left: %v, %v", left, err)
		}
	})
}

// TestDeployScriptHearsWhy deploys what cannot work: the script is told why.
func TestDeployScriptHearsWhy(t *testing.T) {
	b := newBed(t, "process")
	c := clients(t)[0]
	archive := zipOf(t, t.TempDir(), map[string]string{"my-agent/agent.py": "print()"})
	steps := c.deployScript(t, b, archive, "--runtime", pythonRuntime(t), "--entry-point", "agent.py", "--keep")
	end := steps[len(steps)-1]
	if end.Event != "error" || !strings.Contains(end.Message, "CREATE_FAILED") || !strings.Contains(end.Message, "my-agent") {
		t.Errorf("the script ended with %+v", end)
	}
}

// pythonRuntime is this machine's Python in the API's words.
func pythonRuntime(t *testing.T) string {
	t.Helper()
	out, err := exec.Command(need.Command(t, "python3"), "-c", `import sys; print("PYTHON_%d_%d" % sys.version_info[:2])`).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(out))
}

// step is a JSON line of clients/deploy_script.py.
type step struct {
	Event   string          `json:"event"`
	What    string          `json:"what"`
	Status  string          `json:"-"`
	Raw     json.RawMessage `json:"status"` // a runtime's status, or an error's number
	Body    string          `json:"body"`
	Message string          `json:"message"`
}

func body(steps []step) string {
	for _, s := range steps {
		if s.Event == "answer" {
			return s.Body
		}
	}
	return ""
}

// deployScript runs the client's deploy script with the variables that isolde
// env --aws prints, and nothing else of AWS's.
func (c client) deployScript(t *testing.T, b *bed, archive string, args ...string) []step {
	t.Helper()
	script, err := filepath.Abs("clients/deploy_script" + filepath.Ext(c.argv[1]))
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Ext(script) == ".mjs" { // next to its node_modules
		copied := filepath.Join(filepath.Dir(c.argv[1]), filepath.Base(script))
		copyFile(t, script, copied)
		script = copied
	}
	home := t.TempDir()
	isolde := command(t, home, "env", "--aws", "--shell", "bash")
	isolde.Env = append(withoutAWS(isolde.Env), "ISOLDE_SERVER="+b.url, "HOME="+home)
	variables, err := isolde.Output()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("bash", append([]string{"-euc", string(variables) + `exec "$@"`, "script", c.argv[0], script, archive}, args...)...)
	cmd.Env = append(append(withoutAWS(os.Environ()), c.env...), "HOME="+home, "AWS_EC2_METADATA_DISABLED=true")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, _ := cmd.Output() // a failed call is a line
	var steps []step
	for line := range strings.Lines(string(out)) {
		var s step
		if err := json.Unmarshal([]byte(line), &s); err != nil {
			t.Fatalf("%s printed %q", c.name, line)
		}
		_ = json.Unmarshal(s.Raw, &s.Status) // empty for an error's number
		steps = append(steps, s)
	}
	if len(steps) == 0 || steps[len(steps)-1].Event == "error" && !strings.Contains(steps[len(steps)-1].Message, "FAILED") {
		t.Fatalf("%s: %+v\n%s", c.name, steps, stderr.String())
	}
	return steps
}

func withoutAWS(env []string) []string {
	var out []string
	for _, kv := range env {
		if !strings.HasPrefix(kv, "AWS_") {
			out = append(out, kv)
		}
	}
	return out
}

const vendoredAgentSource = `
from bedrock_agentcore import BedrockAgentCoreApp

app = BedrockAgentCoreApp()


@app.entrypoint
def invoke(payload, context):
    return f"you said: {payload['prompt']}"


app.run()
`

// vendoredAgent is a zip archive as AWS wants it: the agent, and at its root
// the official SDK with all it needs.
func vendoredAgent(t *testing.T) string {
	t.Helper()
	python := need.Command(t, "python3")
	packages := installed(t, "agentcore-sdk", "agents/vendored/requirements.txt", func(dir string) *exec.Cmd {
		args := []string{"install", "--quiet", "--target", dir, "-r", "agents/vendored/requirements.txt"}
		if uv, err := exec.LookPath("uv"); err == nil {
			return exec.Command(uv, append([]string{"pip", "install", "--python", python}, args[1:]...)...)
		}
		return exec.Command(python, append([]string{"-m", "pip", "--disable-pip-version-check"}, args...)...)
	})
	return zipOf(t, packages, map[string]string{"agent.py": vendoredAgentSource})
}

// zipOf packs a folder and some more files.
func zipOf(t *testing.T, folder string, more map[string]string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "code.zip")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z := zip.NewWriter(f)
	add := func(name string, content []byte) {
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write(content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	err = fs.WalkDir(os.DirFS(folder), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, ".pyc") || path == ".complete" || path == ".lock" {
			return err
		}
		content, err := os.ReadFile(filepath.Join(folder, path))
		if err == nil {
			add(path, content)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range more {
		add(name, []byte(content))
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return name
}
