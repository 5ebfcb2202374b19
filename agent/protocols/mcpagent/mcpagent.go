// Package mcpagent hosts a server of the official MCP library as AgentCore
// and Isolde want it: streamable HTTP on port 8000, POST /mcp.
//
//	server := mcp.NewServer(&mcp.Implementation{Name: "weather"}, nil)
//	mcp.AddTool(server, &mcp.Tool{Name: "get_weather"}, getWeather)
//	mcpagent.New(server, nil).Main()
//
// Deploy it with protocol: mcp in its isolde.yaml.
package mcpagent

import (
	"context"
	"net/http"

	"github.com/modelcontextprotocol/go-sdk/mcp"

	"github.com/isolde-run/isolde/agent"
)

// Port is where runtimes expect an MCP server.
const Port = 8000

// New returns an App that serves the MCP server. In its tools
// [agent.FromContext] and [agent.Go] work as in any handler. With options nil
// the server is stateless, which is what AgentCore expects: it keeps the
// client in one sandbox by an Mcp-Session-Id of its own.
func New(server *mcp.Server, options *mcp.StreamableHTTPOptions) *agent.App {
	if options == nil {
		options = &mcp.StreamableHTTPOptions{Stateless: true}
	}
	app := &agent.App{Port: Port}
	server.AddReceivingMiddleware(withCall(app))
	app.Routes = map[string]http.Handler{
		"/mcp": mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, options),
	}
	return app
}

// withCall puts the call into the context of a method: the library's own does
// not come from the HTTP request.
func withCall(app *agent.App) mcp.Middleware {
	return func(next mcp.MethodHandler) mcp.MethodHandler {
		return func(ctx context.Context, method string, req mcp.Request) (mcp.Result, error) {
			if extra := req.GetExtra(); extra != nil && agent.FromContext(ctx).RequestID == "" {
				ctx = agent.NewContext(ctx, app.Call(extra.Header))
			}
			return next(ctx, method, req)
		}
	}
}
