// Package isolde is the vocabulary of Isolde, a runtime that hosts AI agents
// in sessions of their own and speaks the Amazon Bedrock AgentCore Runtime
// API.
//
// An agent runtime ([AgentRuntime]) is a hosted agent: a name and immutable
// versions ([Version]). An endpoint ([Endpoint]) is a name that points at a
// version; DEFAULT follows the newest. A session ([Session]) is one user's
// conversation with one agent runtime: a [SessionID], and at most one sandbox
// at a time. A session that stopped is not gone: the next invocation with its
// id gives it a new sandbox.
//
// The package does no I/O. Every other package adapts one thing to this
// vocabulary, and the path of an invocation passes them in this order:
//
//	agentcore  the wire: paths, headers, error names
//	gateway    target → endpoint → version; acquire the session; carry bytes
//	session    one actor per session: its lifecycle, timers, admission
//	sandbox    drivers that start, dial and stop the agent's sandbox
//
// Beside that line, catalog keeps agent runtimes and builds their versions,
// image makes root file systems, network links sandboxes, sqlite remembers,
// operator is the API of Isolde's own, and server wires all of it.
package isolde
