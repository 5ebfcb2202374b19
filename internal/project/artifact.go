package project

import (
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/isolde-run/isolde"
)

// fileSchemes begin the references of images in files.
var fileSchemes = []string{"oci", "docker-archive"}

// ImageArtifact is the artifact of a container image. The server may have
// another working folder, so a path in the reference, which is meant from
// folder, becomes one from the root.
func ImageArtifact(ref, folder string) (*isolde.Artifact, error) {
	scheme, file, _ := strings.Cut(ref, ":")
	if slices.Contains(fileSchemes, scheme) {
		if file == "" {
			return nil, isolde.Errorf(isolde.CodeInvalid, "image %q names no path", ref).WithHint("for example oci:./layout, or docker-archive:agent.tar")
		}
		if !filepath.IsAbs(file) {
			file = filepath.Join(folder, file)
		}
		abs, err := filepath.Abs(file)
		if err != nil {
			return nil, fmt.Errorf("find %s: %w", file, err)
		}
		ref = scheme + ":" + abs
	}
	return &isolde.Artifact{Container: &isolde.ContainerArtifact{URI: ref}}, nil
}

// ArtifactName makes an agent's name from what an artifact is called:
// "weather" of ghcr.io/me/weather:1 and of s3://bucket/builds/weather.zip.
func ArtifactName(a isolde.Artifact) string {
	var name string
	switch {
	case a.Container != nil:
		name, _, _ = strings.Cut(a.Container.URI, "@")
	case a.Code != nil && a.Code.Code.S3 != nil:
		name = a.Code.Code.S3.Key
	}
	name, _, _ = strings.Cut(path.Base(name), ":")
	if ext := path.Ext(name); ext == ".tar" || ext == ".zip" {
		name = strings.TrimSuffix(name, ext)
	}
	return isolde.SuggestName(name)
}
