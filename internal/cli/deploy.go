package cli

import (
	"context"
	"io"

	"github.com/spf13/cobra"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/internal/project"
	"github.com/isolde-run/isolde/operator"
)

// deployOptions override what isolde.yaml says.
type deployOptions struct {
	name string
	env  []string
}

func (a *app) deployCommand() *cobra.Command {
	var o deployOptions
	var artifact artifactOptions
	c := &cobra.Command{
		Use:     "deploy [FOLDER]",
		Aliases: []string{"launch"},
		Short:   "Make a new version of an agent: of a folder, an image or an archive",
		Long: `Make a new version of an agent, and wait until it is READY.

The folder's isolde.yaml says what to run. The upload leaves out .git, virtual
environments, node_modules, caches, and what .isoldeignore names. Sessions that run
keep the version they began with.

--image takes a container image instead, as does image: in isolde.yaml: a reference as
docker pull takes it, which the server pulls, or oci:PATH or docker-archive:PATH, which
it reads on its own machine. --zip takes an archive with the code and all its packages,
in S3 or the server's own store. The rest of isolde.yaml holds for them too, but the
file need not be there; the name is then the image's or the archive's.

Without isolde.yaml, a project of AWS's tools is deployed as it is: what
.bedrock_agentcore.yaml or agentcore/agentcore.json say, with a warning for what
Isolde does not do. Of several agents in one file, --name picks one.`,
		Example: `  isolde deploy
  isolde deploy ./weather --env BEDROCK_MODEL_ID --env UNITS=metric
  arn=$(isolde deploy ./weather -o json | jq -r .agentRuntimeArn)
  isolde deploy --image ghcr.io/me/weather:1
  isolde deploy --zip s3://builds/weather.zip --runtime PYTHON_3_12 --entrypoint agent.py`,
		Args: arguments(0, 1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.deploy(c.Context(), optional(args, 0, "."), o, artifact)
		},
	}
	a.serverFlag(c)
	a.outputFlag(c)
	o.flags(c)
	artifact.flags(c)
	return c
}

func (o *deployOptions) flags(c *cobra.Command) {
	c.Flags().StringVar(&o.name, "name", "", "`name` of the agent, instead of the file's")
	c.Flags().StringArrayVar(&o.env, "env", nil, "variable `KEY=VALUE` for the agent, or KEY to pass yours on (repeatable)")
}

// apply puts the options over what the file says.
func (o deployOptions) apply(d operator.Deployment, getenv func(string) string) (operator.Deployment, error) {
	if o.name != "" {
		if err := isolde.ValidateName("agent name", o.name); err != nil {
			return d, err
		}
		d.Name = o.name
	}
	var err error
	d.Spec.Environment, err = project.MergeEnvironment(d.Spec.Environment, o.env, getenv)
	return d, err
}

func (a *app) deploy(ctx context.Context, folder string, o deployOptions, artifact artifactOptions) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	d, err := artifact.load(folder, a.getenv)
	if isolde.CodeOf(err) == isolde.CodeNotConfigured {
		f, ferr := project.LoadForeign(folder, o.name)
		if ferr != nil {
			return ferr
		}
		if f != nil {
			a.tellForeign(f)
			d, folder, err = f.Deployment, f.Folder, nil
		}
	}
	if err != nil {
		return err
	}
	if d, err = o.apply(d, a.getenv); err != nil {
		return err
	}
	p := newProgress(a.err)
	deployed, err := client.Deploy(ctx, d, folder, p.step)
	if err != nil {
		return err
	}
	p.finish()
	if !deployed.Changed {
		a.err.printf("nothing changed: version %s of %s is already this", deployed.Version, deployed.Name)
	}
	return a.answerDeployed(deployed)
}

// tellForeign says what is taken from a project file of AWS's tools, and what
// is not.
func (a *app) tellForeign(f *project.Foreign) {
	a.err.printf("no %s; taking %s from %s", project.File, f.Name, f.File)
	for _, warning := range f.Warnings {
		a.err.warn(warning, "")
	}
}

// answerDeployed prints a version that is READY.
func (a *app) answerDeployed(d operator.Deployed) error {
	err := a.answer(d, func(w io.Writer) {
		row(w, "NAME", d.Name)
		row(w, "VERSION", d.Version)
		row(w, "STATUS", d.Status)
		row(w, "ID", d.ID)
		row(w, "ARN", d.ARN)
	})
	if err == nil && a.output == formatText {
		a.err.printf("\ncall it: isolde invoke %s 'hello'", d.Name)
	}
	return err
}
