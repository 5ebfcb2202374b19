package image

import (
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/validate"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/internal/need"
)

var goAgent = map[string]string{
	"go.mod":          "module hello\n\ngo 1.26\n",
	"main.go":         "package main\n\nimport \"os\"\n\nfunc main() { os.Stdout.WriteString(\"hello \" + os.Args[1] + \"\\n\") }\n",
	"main_test.go":    "package main\n",
	"prompts/one.txt": "be kind",
}

// goImage is all that an image of a Go agent holds, but for time zones.
const goImage = `
drwxr-xr-x 1000 app
-rwxr-xr-x 1000 app/agent
drwxr-xr-x 1000 app/prompts
-rw-r--r-- 1000 app/prompts/one.txt
drwxr-xr-x 0 dev
drwxr-xr-x 0 etc
-rw-r--r-- 0 etc/group
-rw-r--r-- 0 etc/hosts
-rw-r--r-- 0 etc/nsswitch.conf
-rw-r--r-- 0 etc/passwd
drwxr-xr-x 0 etc/pki
drwxr-xr-x 0 etc/pki/tls
Lrwxrwxrwx 0 etc/pki/tls/cert.pem
drwxr-xr-x 0 etc/pki/tls/certs
Lrwxrwxrwx 0 etc/pki/tls/certs/ca-bundle.crt
-rw-r--r-- 0 etc/resolv.conf
drwxr-xr-x 0 etc/ssl
Lrwxrwxrwx 0 etc/ssl/cert.pem
drwxr-xr-x 0 etc/ssl/certs
-rw-r--r-- 0 etc/ssl/certs/ca-certificates.crt
drwxr-xr-x 0 home
drwxr-xr-x 1000 home/agent
drwxr-xr-x 0 mnt
drwxr-xr-x 0 opt
drwxr-xr-x 0 proc
drwx------ 0 root
drwxr-xr-x 0 run
drwxr-xr-x 0 sys
drwxrwxrwx 0 tmp
drwxr-xr-x 0 usr
drwxr-xr-x 0 usr/lib
drwxr-xr-x 0 usr/lib/ssl
Lrwxrwxrwx 0 usr/lib/ssl/cert.pem
drwxr-xr-x 0 usr/local
drwxr-xr-x 0 usr/local/bin
drwxr-xr-x 0 usr/share
drwxr-xr-x 0 usr/share/zoneinfo
drwxr-xr-x 0 var
drwxrwxrwx 0 var/tmp
`

func TestGoImage(t *testing.T) {
	need.Command(t, "go")
	if !exists("/" + certificates) {
		t.Skip("this machine has its certificates elsewhere")
	}
	s := open(t, Config{})
	img := mustBuild(t, s, Source{Dir: write(t, goAgent), Entrypoint: []string{".", "you"}})
	fsys := root(t, img)
	tools := toolNames(goImage)
	var got strings.Builder
	got.WriteString("\n")
	_ = fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			t.Fatal(err)
		}
		if name == "." || strings.HasPrefix(name, zones+"/") || tools[name] {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			t.Fatal(err)
		}
		owner := info.(interface{ UID() uint32 }).UID()
		got.WriteString(info.Mode().String() + " " + map[uint32]string{0: "0", agentID: "1000"}[owner] + " " + name + "\n")
		return nil
	})
	if diff := cmp.Diff(goImage, got.String()); diff != "" {
		t.Errorf("image (-want +got):\n%s", diff)
	}
	if want := []string{"/app/agent", "you"}; !slices.Equal(img.Command, want) || img.Dir != "/app" || img.UID != 1000 || img.GID != 1000 {
		t.Errorf("starts %v in %s as %d:%d", img.Command, img.Dir, img.UID, img.GID)
	}
	if !slices.Contains(img.Env, "DOCKER_CONTAINER=1") || !slices.Contains(img.Env, "HOME=/home/agent") {
		t.Errorf("environment %v", img.Env)
	}
	if out := runHost(t, img); out != "hello you\n" {
		t.Errorf("on the host it says %q", out)
	}
}

// runHost runs an image's plain form as the process driver does.
func runHost(t *testing.T, img Image) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "copy")
	if out, err := exec.Command("cp", "-a", img.Root.Host.Code, dir).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	command := img.Root.Host.Command
	program := command[0]
	if !filepath.IsAbs(program) {
		program = filepath.Join(dir, program)
	}
	cmd := exec.Command(program, command[1:]...)
	cmd.Dir = dir
	cmd.Env = append(slices.Clone(img.Env), img.Root.Host.Env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("run on the host: %v: %s", err, out)
	}
	return string(out)
}

// TestEqualInputsGiveEqualDigests: the same agent in another folder and
// another store is the same image.
func TestEqualInputsGiveEqualDigests(t *testing.T) {
	need.Command(t, "go")
	a := mustBuild(t, open(t, Config{}), Source{Dir: write(t, goAgent)})
	b := mustBuild(t, open(t, Config{}), Source{Dir: write(t, goAgent)})
	if a.Digest != b.Digest {
		t.Errorf("digests %s and %s", a.Digest, b.Digest)
	}
	x, err := os.ReadFile(a.Root.Image)
	if err != nil {
		t.Fatal(err)
	}
	y, err := os.ReadFile(b.Root.Image)
	if err != nil {
		t.Fatal(err)
	}
	if string(x) != string(y) {
		t.Error("the EROFS files differ")
	}
}

// TestOCI: what is built is a valid image that others can read and push.
func TestOCI(t *testing.T) {
	need.Command(t, "go")
	s := open(t, Config{})
	img := mustBuild(t, s, Source{Dir: write(t, goAgent)})
	index, err := layout.ImageIndexFromPath(filepath.Join(s.dir, "oci"))
	if err != nil {
		t.Fatal(err)
	}
	if err := validate.Index(index, validate.Fast); err != nil {
		t.Error(err)
	}
	digest, err := v1.NewHash(img.Digest)
	if err != nil {
		t.Fatal(err)
	}
	oci, err := index.Image(digest)
	if err != nil {
		t.Fatal(err)
	}
	layers, err := oci.Layers()
	if err != nil || len(layers) != 2 {
		t.Fatalf("%d layers, %v", len(layers), err)
	}
	for _, l := range layers {
		checkLayer(t, l)
	}
	config, err := oci.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(v1.Config{Cmd: img.Command, Env: img.Env, WorkingDir: "/app", User: "1000:1000"}, config.Config); diff != "" {
		t.Errorf("configuration (-want +got):\n%s", diff)
	}
}

// checkLayer compares a layer's content with both of its digests.
func checkLayer(t *testing.T, l v1.Layer) {
	t.Helper()
	for _, c := range []struct {
		open   func() (io.ReadCloser, error)
		digest func() (v1.Hash, error)
	}{{l.Compressed, l.Digest}, {l.Uncompressed, l.DiffID}} {
		want, err := c.digest()
		if err != nil {
			t.Fatal(err)
		}
		r, err := c.open()
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := v1.SHA256(r)
		r.Close()
		if err != nil || got != want {
			t.Errorf("layer %s has content %s, %v", want, got, err)
		}
	}
}

func TestGoErrors(t *testing.T) {
	need.Command(t, "go")
	s := open(t, Config{})
	for name, c := range map[string]struct {
		main  string
		entry []string
		want  string
	}{
		"does not compile": {"package main\n\nfunc main() { undefined() }\n", nil, "main.go:3:15: undefined: undefined"},
		"no program":       {"package lib\n", nil, "is not a program"},
		"no such folder":   {"package main\n", []string{"cmd/agent"}, "there is no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := write(t, map[string]string{"go.mod": goAgent["go.mod"], "main.go": c.main})
			_, err := s.Build(t.Context(), Source{Dir: dir, Entrypoint: c.entry}, nil)
			refused(t, err, isolde.CodeInvalid, c.want)
		})
	}
}
