package project

import (
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/operator"
)

func containerOf(uri string) *isolde.Artifact {
	return &isolde.Artifact{Container: &isolde.ContainerArtifact{URI: uri}}
}

func TestLoadImage(t *testing.T) {
	for image, want := range map[string]func(dir string) string{
		"ghcr.io/me/agent:1":        func(string) string { return "ghcr.io/me/agent:1" },
		"oci:layout:latest":         func(dir string) string { return "oci:" + filepath.Join(dir, "layout") + ":latest" },
		"docker-archive:../a.tar":   func(dir string) string { return "docker-archive:" + filepath.Join(filepath.Dir(dir), "a.tar") },
		"docker-archive:/tmp/a.tar": func(string) string { return "docker-archive:/tmp/a.tar" },
	} {
		dir := folder(t, "my-agent", map[string]string{File: "image: " + image + "\nresources: {cpus: 1}\n"})
		got, err := Load(dir, shell)
		wanted := operator.Deployment{Name: "my_agent", Spec: isolde.VersionSpec{
			Artifact: containerOf(want(dir)), Resources: isolde.Resources{CPUs: 1},
		}}
		if diff := cmp.Diff(wanted, got); diff != "" || err != nil {
			t.Errorf("image: %s: %v\n%s", image, err, diff)
		}
	}
	for _, image := range []string{"oci:", "docker-archive:"} {
		if _, err := Load(folder(t, "a", map[string]string{File: "image: '" + image + "'\n"}), shell); isolde.CodeOf(err) != isolde.CodeInvalid {
			t.Errorf("image: %s: %v", image, err)
		}
	}
}

func TestRelativeImageIsOfTheFolder(t *testing.T) {
	t.Chdir(folder(t, "here", nil))
	a, err := ImageArtifact("oci:layout", ".")
	here, err2 := filepath.Abs(".")
	if err != nil || err2 != nil || a.Container.URI != "oci:"+filepath.Join(here, "layout") {
		t.Errorf("%+v, %v, %v", a, err, err2)
	}
}

func TestArtifactName(t *testing.T) {
	zip := func(key string) *isolde.Artifact {
		return &isolde.Artifact{Code: &isolde.CodeArtifact{Code: isolde.CodeLocation{S3: &isolde.S3Location{Bucket: "b", Key: key}}}}
	}
	for want, artifacts := range map[string][]*isolde.Artifact{
		"weather": {
			containerOf("weather"), containerOf("weather:1.2"), containerOf("ghcr.io/me/weather:1@sha256:abc"), containerOf("localhost:5000/weather"),
			containerOf("oci:/tmp/weather:latest"), containerOf("docker-archive:/tmp/weather.tar"), zip("weather.zip"), zip("builds/weather.zip"),
		},
		"my_agent": {containerOf("me/my-agent"), zip("my-agent")},
	} {
		for _, a := range artifacts {
			if got := ArtifactName(*a); got != want {
				t.Errorf("name of %+v, %+v is %q, want %q", a.Container, a.Code, got, want)
			}
		}
	}
}

func TestLoadSettings(t *testing.T) {
	dir := folder(t, "calc", map[string]string{File: "entrypoint: gone.py\nlanguage: python\nresources: {cpus: 1}\n"})
	got, found, err := LoadSettings(dir, shell)
	if diff := cmp.Diff(operator.Deployment{Name: "calc", Spec: isolde.VersionSpec{Resources: isolde.Resources{CPUs: 1}}}, got); diff != "" || !found || err != nil {
		t.Errorf("%v, %v\n%s", found, err, diff)
	}
	if got, found, err = LoadSettings(folder(t, "bare", nil), shell); found || err != nil || got.Name != "" {
		t.Errorf("without a file: %+v, %v, %v", got, found, err)
	}
	if _, _, err = LoadSettings(filepath.Join(dir, "nowhere"), shell); isolde.CodeOf(err) != isolde.CodeInvalid {
		t.Errorf("without a folder: %v", err)
	}
}
