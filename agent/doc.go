// Package agent hosts an AI agent behind the contract of Amazon Bedrock
// AgentCore Runtime: POST /invocations, GET /ping and GET /ws on port 8080. An
// agent written with it runs on Isolde, in a container on AgentCore, and alone
// on a laptop. It is to Go what BedrockAgentCoreApp is to Python, and needs
// nothing but the standard library.
//
//	package main
//
//	import (
//		"context"
//
//		"github.com/isolde-run/isolde/agent"
//	)
//
//	type Request struct {
//		Prompt string `json:"prompt"`
//	}
//
//	type Answer struct {
//		Text string `json:"text"`
//	}
//
//	func answer(ctx context.Context, in Request) (Answer, error) {
//		return Answer{"You said " + in.Prompt}, nil
//	}
//
//	func main() { agent.Main(agent.Handle(answer)) }
//
// Try it with go run . and
//
//	curl -d '{"prompt": "hello"}' localhost:8080/invocations
//
// or with isolde dev, which gives every session a sandbox of its own.
//
// # Answers
//
// [Handle] makes an entry point of a function from a payload to an answer,
// which is sent as JSON. [HandleStream] takes one that returns an iterator:
// each value is sent at once, as a server-sent event.
//
//	func tell(ctx context.Context, in Request) iter.Seq2[string, error] {
//		return func(yield func(string, error) bool) {
//			for token, err := range model.Generate(ctx, in.Prompt) {
//				if !yield(token, err) {
//					return // the caller went away
//				}
//			}
//		}
//	}
//
// Where a library calls you back with each piece, return a [Stream], which is
// handed something to send with. A function that does one or the other
// returns any. What needs its own status, headers or form returns an
// [http.Handler]; and a [Handler] of your own reads the request itself.
//
// # Errors
//
// An error before any output is answered with 500 and {"error": "…"}, or with
// the status of an [*Error]. Within a stream, whose status is sent, it is
// the last event. A panic is an error, and its stack is in the log. On AgentCore
// and Isolde the API's caller sees 424 for any error before output; its text
// is in the session's log.
//
// # The call
//
// [FromContext] has the session id, the request id, the user, the headers and the workload
// token of the call, also in goroutines that were handed the ctx. One
// process serves one session: what a variable holds is the session's, and
// calls of the session may run at the same time.
//
//	slog.InfoContext(ctx, "thinking", "model", name)
//
// logs a line of JSON with the ids of request and session once [Main] runs; see
// [NewLogHandler]. isolde logs shows them.
//
// # Work in the background
//
// A session without a call ends when it was idle for a while. [Go] runs a
// function that outlives its call and keeps the session from being idle
// meanwhile: GET /ping says HealthyBusy. [Busy] does that for work that is not
// one function. [App.Ping] and [App.ForceStatus] say something else.
//
// # WebSockets
//
// [App.WebSocket] talks to a client of /ws. Messages of a client have 1 MiB
// at most; ours go out in frames of 32 KiB, as AgentCore wants them. Extensions
// and subprotocols are not negotiated.
//
// # Large payloads
//
// A payload has up to 100 MB on AgentCore. A file in it is a string in base64,
// which encoding/json holds three times before a program has its bytes. A
// [Blob] in the payload's type is decoded while it comes, into a temporary
// file if it is large; [DecodeBlobs] hands it on as a reader.
//
// # Begin and end
//
// [App.OnStart], [App.OnRestore] and [App.OnStop] are for what is opened,
// renewed and closed. When a runtime ends the session it sends SIGTERM: calls
// may end within [App.Grace], tasks see their ctx end, and then the process exits.
//
// # Other protocols
//
// github.com/isolde-run/isolde/agent/protocols, a module of its own, hosts
// servers of the official MCP and A2A libraries with one line each.
//
// # What it does not do
//
// It does not authenticate anyone: that is the runtime's work, and without one
// it listens on 127.0.0.1 alone. It does not bound payloads, which is the runtime's
// as well. docs/AGENT-CONTRACT.md of Isolde compares it with AWS's SDKs.
package agent
