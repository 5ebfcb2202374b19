package cli

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/isolde-run/isolde"
	"github.com/isolde-run/isolde/operator"
)

// defaultRegion is the region of a server that was not told another.
const defaultRegion = "us-east-1"

func (a *app) envCommand() *cobra.Command {
	var aws bool
	var shell string
	c := &cobra.Command{
		Use:   "env",
		Short: "Print the variables that lead clients to the server",
		Long: `Print the variables that lead clients to the server, as lines for a shell.

--aws prints those of the AWS SDKs and boto3. They lead the calls of AgentCore, S3, STS
and IAM to the server, and no others: those of Bedrock and all else go where they
went, with your own credentials. S3 is left out if the server fetches code archives
from another store. The region is the server's, whatever yours is. Credentials are
printed only if you have none and the server asks for none: the SDKs do not call
without. At a server with keys, set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to yours
(isolde keys add prints them).`,
		Example: `  eval "$(isolde env --aws)"
  isolde env --aws --shell fish | source`,
		Args: arguments(0, 0),
		RunE: func(c *cobra.Command, _ []string) error {
			return a.env(c.Context(), aws, shell)
		},
	}
	a.serverFlag(c)
	c.Flags().BoolVar(&aws, "aws", false, "for boto3 and the AWS SDKs")
	c.Flags().StringVar(&shell, "shell", "", "`shell` to write for: bash, fish or powershell (default: yours)")
	return c
}

func (a *app) env(ctx context.Context, aws bool, shell string) error {
	format, err := a.exportFormat(shell)
	if err != nil {
		return err
	}
	server, err := a.serverURL()
	if err != nil {
		return err
	}
	var out strings.Builder
	export := func(name, value string) { fmt.Fprintf(&out, format, name, value) }
	if !aws {
		export("ISOLDE_SERVER", server)
	} else {
		region, s3, keys := a.serverInfo(ctx)
		export("AWS_ENDPOINT_URL_BEDROCK_AGENTCORE", server)
		export("AWS_ENDPOINT_URL_BEDROCK_AGENTCORE_CONTROL", server)
		export("AWS_ENDPOINT_URL_STS", server)
		export("AWS_ENDPOINT_URL_IAM", server)
		if s3 == operator.S3Embedded {
			export("AWS_ENDPOINT_URL_S3", server)
		} else {
			fmt.Fprintf(&out, "# AWS_ENDPOINT_URL_S3 stays as it is: the server fetches code archives from %s.\n", oneLine(s3))
		}
		export("AWS_REGION", region)
		export("AWS_DEFAULT_REGION", region)
		switch {
		case keys && a.getenv("AWS_ACCESS_KEY_ID") == "":
			fmt.Fprintln(&out, "# The server asks for a key: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY to yours.")
		case !keys && !a.hasAWSCredentials():
			fmt.Fprintln(&out, "# You have no AWS credentials. These are not real: they only make the SDKs sign.")
			export("AWS_ACCESS_KEY_ID", "isolde")
			export("AWS_SECRET_ACCESS_KEY", "isolde")
		}
	}
	_, err = fmt.Fprint(a.out, out.String())
	return err
}

// exportFormat is the line that sets a variable in the shell. The values hold
// no quotes: serverURL and Locality.Validate see to that.
func (a *app) exportFormat(shell string) (string, error) {
	named := shell != ""
	if !named {
		shell = filepath.Base(a.getenv("SHELL"))
	}
	switch shell {
	case "fish":
		return "set -gx %s '%s'\n", nil
	case "powershell", "pwsh":
		return "$Env:%s = '%s'\n", nil
	case "bash", "zsh", "sh":
		return "export %s='%s'\n", nil
	}
	if named {
		return "", isolde.Errorf(isolde.CodeInvalid, "--shell %q is not known", shell).WithHint("bash, fish or powershell")
	}
	return "export %s='%s'\n", nil
}

// serverInfo is the region that clients sign for, where code archives are, and
// whether the server asks for keys; the defaults if it does not run yet. Where
// archives are is told to those who may know; for others it is the server.
func (a *app) serverInfo(ctx context.Context) (region, s3 string, keys bool) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	client, err := a.client()
	if err != nil {
		return defaultRegion, operator.S3Embedded, false
	}
	region, s3 = defaultRegion, operator.S3Embedded
	if alive, err := client.Alive(ctx); err == nil {
		keys = alive.Authentication == operator.AuthKeys
		if (isolde.Locality{Region: alive.Region, Account: "000000000000"}).Validate() == nil {
			region = alive.Region
		}
	}
	info, err := client.Info(ctx)
	if err != nil || (isolde.Locality{Region: info.Region, Account: info.Account}).Validate() != nil {
		return region, s3, keys
	}
	return info.Region, cmp.Or(info.S3, operator.S3Embedded), keys
}

// hasAWSCredentials tells whether the SDKs would find credentials.
func (a *app) hasAWSCredentials() bool {
	variables := []string{
		"AWS_ACCESS_KEY_ID", "AWS_PROFILE", "AWS_DEFAULT_PROFILE", "AWS_WEB_IDENTITY_TOKEN_FILE",
		"AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_CREDENTIALS_FULL_URI",
	}
	if slices.ContainsFunc(variables, func(v string) bool { return a.getenv(v) != "" }) {
		return true
	}
	file := func(variable, name string) string {
		if f := a.getenv(variable); f != "" {
			return f
		}
		return filepath.Join(a.getenv("HOME"), ".aws", name)
	}
	if _, err := os.Stat(file("AWS_SHARED_CREDENTIALS_FILE", "credentials")); err == nil {
		return true
	}
	config, err := os.ReadFile(file("AWS_CONFIG_FILE", "config"))
	return err == nil && credentialsRE.Match(config)
}

// credentialsRE finds the settings of an AWS config file that lead to
// credentials; a region alone does not.
var credentialsRE = regexp.MustCompile(`(?m)^\s*(aws_access_key_id|credential_process|credential_source|login_session|sso_|web_identity_token_file|source_profile)`)
