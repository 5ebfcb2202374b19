package test

import (
	"archive/zip"
	"bufio"
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/isolde-run/isolde/identity"
	"github.com/isolde-run/isolde/objects"
)

// step is a JSON line of a deploy script; see clients/deploy_script.py.
type step struct {
	Event   string `json:"event"`
	Created bool   `json:"created"`
	Bytes   int64  `json:"bytes"`
	What    string `json:"what"`
	Message string `json:"message"`
}

// TestDeployScriptStorage runs the half of AWS's deploy scripts that makes a
// role and uploads a zip, twice, and takes both away again.
func TestDeployScriptStorage(t *testing.T) {
	dir := t.TempDir()
	store, err := objects.Open(objects.Config{Dir: filepath.Join(dir, "objects")})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	id, err := identity.Open(identity.Config{File: filepath.Join(dir, "identity.json")})
	if err != nil {
		t.Fatal(err)
	}
	handlers := map[string]http.Handler{"s3": store.Handler(), "sts": id.Handler(), "iam": id.Handler()}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := handlers[identity.SignedFor(r)]; h != nil {
			h.ServeHTTP(w, r)
			return
		}
		t.Errorf("%s %s is signed for %q", r.Method, r.URL, identity.SignedFor(r))
		w.WriteHeader(http.StatusNotFound)
	}))
	defer server.Close()
	archive := zipOf(t, dir, 20<<20) // several parts of a multipart upload
	for _, c := range clients(t) {
		t.Run(c.name, func(t *testing.T) {
			first := c.deployScript(t, server.URL, archive, "--storage-only", "--keep")
			again := c.deployScript(t, server.URL, archive, "--storage-only")
			for i, want := range []string{"caller", "role", "bucket", "upload"} {
				if first[i].Event != want || again[i].Event != want || (want == "role" || want == "bucket") && (!first[i].Created || again[i].Created) {
					t.Errorf("step %d: %+v, then %+v", i, first[i], again[i])
				}
			}
			if first[3].Bytes < 20<<20 {
				t.Errorf("uploaded %d bytes", first[3].Bytes)
			}
			var gone []string
			for _, s := range again {
				if s.Event == "deleted" {
					gone = append(gone, s.What)
				}
			}
			if want := []string{"object", "bucket", "role"}; !slices.Equal(gone, want) {
				t.Errorf("deleted %q, want %q", gone, want)
			}
		})
	}
}

// deployScript runs the client's deploy script to its end.
func (c client) deployScript(t *testing.T, url, archive string, args ...string) (steps []step) {
	t.Helper()
	name := "deploy_script" + filepath.Ext(c.argv[1])
	script := filepath.Join(filepath.Dir(c.argv[1]), name)
	if filepath.Ext(name) == ".mjs" {
		copyFile(t, filepath.Join("clients", name), script) // next to its node_modules
	}
	cmd := exec.CommandContext(t.Context(), c.argv[0], append([]string{script, archive}, args...)...)
	cmd.Env = append(append(os.Environ(), c.env...),
		"AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1", "AWS_ACCESS_KEY_ID=any", "AWS_SECRET_ACCESS_KEY=any", "AWS_EC2_METADATA_DISABLED=true")
	for _, service := range []string{"S3", "STS", "IAM", "BEDROCK_AGENTCORE", "BEDROCK_AGENTCORE_CONTROL"} {
		cmd.Env = append(cmd.Env, "AWS_ENDPOINT_URL_"+service+"="+url)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	for s := bufio.NewScanner(bytes.NewReader(out)); s.Scan(); {
		var line step
		if err := json.Unmarshal(s.Bytes(), &line); err != nil {
			t.Fatalf("%s printed %q", c.name, s.Text())
		}
		steps = append(steps, line)
	}
	if err != nil || len(steps) < 5 || steps[len(steps)-1].Event != "end" {
		t.Fatalf("%s: %v\n%s\n%s", c.name, err, strings.TrimSpace(string(out)), stderr.String())
	}
	return steps
}

// zipOf makes an archive with an agent and so many bytes beside it.
func zipOf(t *testing.T, dir string, size int) string {
	t.Helper()
	file := filepath.Join(dir, "code.zip")
	f, err := os.Create(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z := zip.NewWriter(f)
	for name, text := range map[string][]byte{"agent.py": []byte("print('hello')\n"), "data.bin": make([]byte, size)} {
		w, err := z.CreateHeader(&zip.FileHeader{Name: name, Method: zip.Store})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write(text); err != nil {
			t.Fatal(err)
		}
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return file
}
