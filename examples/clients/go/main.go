// Command client calls an agent with the AWS SDK for Go and prints its answer
// as it comes:
//
//	go run . ARN "2X5" [SESSION]
package main

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/service/bedrockagentcore"
)

func main() {
	if len(os.Args) < 3 || len(os.Args) > 4 {
		fmt.Fprintln(os.Stderr, "usage: client ARN PROMPT [SESSION]")
		os.Exit(2)
	}
	session := "session-" + rand.Text() // an id has 33 characters and more
	if len(os.Args) == 4 {
		session = os.Args[3]
	}
	if err := call(context.Background(), os.Args[1], os.Args[2], session, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
	fmt.Fprintln(os.Stderr, "session:", session)
}

// call asks the agent and prints its answer, event by event if it streams.
func call(ctx context.Context, arn, prompt, session string, out io.Writer) error {
	cfg, err := config.LoadDefaultConfig(ctx)
	if err != nil {
		return err
	}
	cfg.RetryMaxAttempts = 1 // repeating the call would ask the agent twice
	payload, err := json.Marshal(map[string]string{"prompt": prompt, "user_id": "1"})
	if err != nil {
		return err
	}
	answer, err := bedrockagentcore.NewFromConfig(cfg).InvokeAgentRuntime(ctx, &bedrockagentcore.InvokeAgentRuntimeInput{
		AgentRuntimeArn:  aws.String(arn),
		RuntimeSessionId: aws.String(session),
		ContentType:      aws.String("application/json"),
		Accept:           aws.String("text/event-stream, application/json"),
		Payload:          payload,
	})
	if err != nil {
		return err
	}
	defer answer.Response.Close()
	if !strings.Contains(aws.ToString(answer.ContentType), "text/event-stream") {
		_, err := io.Copy(out, answer.Response)
		return err
	}
	lines := bufio.NewReader(answer.Response) // an event may be of any length
	for {
		line, err := lines.ReadString('\n')
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			var text string
			if json.Unmarshal([]byte(data), &text) != nil {
				text = "\n" + data // an object, such as an error
			}
			fmt.Fprint(out, text)
		}
		if err == io.EOF {
			fmt.Fprintln(out)
			return nil
		}
		if err != nil {
			return fmt.Errorf("the answer breaks off: %w", err)
		}
	}
}
