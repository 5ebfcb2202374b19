// Package a2aagent hosts an agent of the official A2A library as AgentCore
// and Isolde want it: JSON-RPC on port 9000 at /, and the agent's card at
// /.well-known/agent-card.json.
//
//	a2aagent.New(&a2a.AgentCard{Name: "weather", Version: "1"}, executor).Main()
//
// Deploy it with protocol: a2a in its isolde.yaml.
package a2aagent

import (
	"cmp"
	"fmt"
	"net/http"
	"os"

	"github.com/a2aproject/a2a-go/v2/a2a"
	"github.com/a2aproject/a2a-go/v2/a2asrv"

	"github.com/isolde-run/isolde/agent"
)

// Port is where runtimes expect an A2A agent.
const Port = 9000

// New returns an App that serves the agent. In the executor [agent.FromContext]
// and [agent.Go] work as in any handler. The address in the card is that of
// AGENTCORE_RUNTIME_URL, which a runtime sets, or else this machine's; a card that
// names interfaces already keeps them if the variable is not set.
func New(card *a2a.AgentCard, executor a2asrv.AgentExecutor, options ...a2asrv.RequestHandlerOption) *agent.App {
	described := *card
	url := os.Getenv("AGENTCORE_RUNTIME_URL")
	if url != "" || len(card.SupportedInterfaces) == 0 {
		url = cmp.Or(url, fmt.Sprintf("http://localhost:%d/", Port))
		described.SupportedInterfaces = []*a2a.AgentInterface{a2a.NewAgentInterface(url, a2a.TransportProtocolJSONRPC)}
	}
	return &agent.App{Port: Port, Routes: map[string]http.Handler{
		"POST /{$}":                            a2asrv.NewJSONRPCHandler(a2asrv.NewHandler(executor, options...)),
		"GET " + a2asrv.WellKnownAgentCardPath: a2asrv.NewStaticAgentCardHandler(&described),
	}}
}
