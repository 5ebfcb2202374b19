package cli

import (
	"strings"

	"github.com/spf13/cobra"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/internal/project"
	"github.com/isolde-run/isolde/operator"
)

// artifactOptions say what to deploy in place of a folder.
type artifactOptions struct {
	image      string
	zip        string
	runtime    string
	entrypoint string
}

func (o *artifactOptions) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&o.image, "image", "", "container image `reference` to deploy instead of a folder")
	f.StringVar(&o.zip, "zip", "", "`s3://bucket/key` of an archive to deploy instead of a folder")
	f.StringVar(&o.runtime, "runtime", "", "`interpreter` of --zip: PYTHON_3_10 to PYTHON_3_14, NODE_22")
	f.StringVar(&o.entrypoint, "entrypoint", "", "`file` in --zip that starts the agent, with opentelemetry-instrument before it if you like")
}

// load reads what the folder's isolde.yaml says and puts the artifact, if one
// is named, in the place of the folder.
func (o artifactOptions) load(folder string, getenv func(string) string) (operator.Deployment, error) {
	artifact, err := o.artifact()
	if err != nil {
		return operator.Deployment{}, err
	}
	if artifact == nil {
		return project.Load(folder, getenv)
	}
	d, found, err := project.LoadSettings(folder, getenv)
	d.Spec.Artifact = artifact
	if !found {
		d.Name = project.ArtifactName(*artifact)
	}
	return d, err
}

// artifact is nil if a folder is to be deployed.
func (o artifactOptions) artifact() (*isolde.Artifact, error) {
	switch {
	case o.image != "" && o.zip != "":
		return nil, isolde.Errorf(isolde.CodeInvalid, "--image and --zip were both given").WithHint("an agent is made of one of them")
	case o.zip == "" && (o.runtime != "" || o.entrypoint != ""):
		return nil, isolde.Errorf(isolde.CodeInvalid, "--runtime and --entrypoint are about the archive of --zip").
			WithHint("what a folder runs its isolde.yaml says")
	case o.image != "":
		return project.ImageArtifact(o.image, ".")
	case o.zip != "":
		return o.code()
	}
	return nil, nil
}

func (o artifactOptions) code() (*isolde.Artifact, error) {
	rest, ok := strings.CutPrefix(o.zip, "s3://")
	bucket, key, _ := strings.Cut(rest, "/")
	if !ok || bucket == "" || key == "" {
		return nil, isolde.Errorf(isolde.CodeInvalid, "--zip %q is not of the form s3://bucket/key", o.zip).
			WithHint("a folder is deployed without it; an archive must be in the store that isolde env --aws leads to")
	}
	if o.runtime == "" || o.entrypoint == "" {
		return nil, isolde.Errorf(isolde.CodeInvalid, "--zip needs --runtime and --entrypoint").
			WithHint("for example --runtime PYTHON_3_12 --entrypoint agent.py")
	}
	return &isolde.Artifact{Code: &isolde.CodeArtifact{
		Code:       isolde.CodeLocation{S3: &isolde.S3Location{Bucket: bucket, Key: key}},
		Runtime:    isolde.CodeRuntime(o.runtime),
		Entrypoint: strings.Fields(o.entrypoint),
	}}, nil
}
