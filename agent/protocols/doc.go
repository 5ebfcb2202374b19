// Package protocols is a module that hosts servers of other agent protocols
// on github.com/isolde-run/isolde/agent, with its lifecycle, logs and calls:
// mcpagent servers of the official MCP library, a2aagent agents of the
// official A2A library. It is apart from agent so that agents without
// these protocols need nothing but the standard library.
package protocols
