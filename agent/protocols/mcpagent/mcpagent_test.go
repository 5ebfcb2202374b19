package mcpagent_test

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/isolde-run/isolde/agent"
	"github.com/isolde-run/isolde/agent/protocols/mcpagent"
)

// TestTool calls a tool with the library's own client.
func TestTool(t *testing.T) {
	server := mcp.NewServer(&mcp.Implementation{Name: "test", Version: "1"}, nil)
	type input struct {
		City string `json:"city"`
	}
	finish := make(chan bool)
	mcp.AddTool(server, &mcp.Tool{Name: "weather"}, func(ctx context.Context, _ *mcp.CallToolRequest, in input) (*mcp.CallToolResult, any, error) {
		agent.Go(ctx, "forecast", func(context.Context) error { <-finish; return nil })
		text := "sunny in " + in.City + " for " + agent.FromContext(ctx).SessionID
		return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: text}}}, nil, nil
	})
	app := mcpagent.New(server, nil)
	app.Logger = slog.New(slog.DiscardHandler)
	host := httptest.NewServer(app)
	defer host.Close()

	client := mcp.NewClient(&mcp.Implementation{Name: "test"}, nil)
	session, err := client.Connect(t.Context(), &mcp.StreamableClientTransport{
		Endpoint:   host.URL + "/mcp",
		HTTPClient: &http.Client{Transport: inSession("s-1")},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer session.Close()
	result, err := session.CallTool(t.Context(), &mcp.CallToolParams{Name: "weather", Arguments: input{"Paris"}})
	if err != nil {
		t.Fatal(err)
	}
	if text, ok := result.Content[0].(*mcp.TextContent); !ok || text.Text != "sunny in Paris for s-1" {
		t.Errorf("got %+v", result.Content[0])
	}
	if got := app.Status(); got != agent.HealthyBusy {
		t.Errorf("with a task in the background the agent is %s", got)
	}
	close(finish)
}

// inSession sends the session's id with every request, as a runtime does.
type inSession string

func (s inSession) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("X-Amzn-Bedrock-AgentCore-Runtime-Session-Id", string(s))
	return http.DefaultTransport.RoundTrip(r)
}
