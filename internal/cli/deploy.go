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
	c := &cobra.Command{
		Use:     "deploy [FOLDER]",
		Aliases: []string{"launch"},
		Short:   "Upload a folder as a new version of its agent",
		Long: `Upload a folder as a new version of its agent, and wait until it is READY.

The folder's isolde.yaml says what to run. The upload leaves out .git, virtual
environments, node_modules, caches, and what .isoldeignore names. Sessions that run
keep the version they began with.`,
		Example: `  isolde deploy
  isolde deploy ./weather --env BEDROCK_MODEL_ID --env UNITS=metric
  arn=$(isolde deploy ./weather -o json | jq -r .agentRuntimeArn)`,
		Args: arguments(0, 1),
		RunE: func(c *cobra.Command, args []string) error {
			return a.deploy(c.Context(), optional(args, 0, "."), o)
		},
	}
	a.serverFlag(c)
	a.outputFlag(c)
	o.flags(c)
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

func (a *app) deploy(ctx context.Context, folder string, o deployOptions) error {
	client, err := a.client()
	if err != nil {
		return err
	}
	d, err := project.Load(folder, a.getenv)
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
	err = a.answer(deployed, func(w io.Writer) {
		row(w, "NAME", deployed.Name)
		row(w, "VERSION", deployed.Version)
		row(w, "STATUS", deployed.Status)
		row(w, "ID", deployed.ID)
		row(w, "ARN", deployed.ARN)
	})
	if err == nil && a.output == formatText {
		a.err.printf("\ncall it: isolde invoke %s 'hello'", deployed.Name)
	}
	return err
}
