// Command isolde runs agents in sandboxed sessions behind the Amazon Bedrock
// AgentCore Runtime API. Its commands are in internal/cli.
package main

import (
	"context"
	"os"

	"github.com/isolde-run/isolde/internal/cli"
)

func main() {
	os.Exit(cli.Main(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr, os.Getenv))
}
