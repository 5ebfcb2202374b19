"""An MCP server on the official SDK: add adds, count counts the calls of this
process, so that a client sees whether it comes back to the same sandbox."""

import os

from mcp.server.mcpserver import MCPServer

server = MCPServer("test")
calls = 0


@server.tool()
def add(a: int, b: int) -> int:
    return a + b


@server.tool()
def count() -> int:
    global calls
    calls += 1
    return calls


server.run(
    transport="streamable-http", host="0.0.0.0", port=8000,
    stateless_http=os.environ["STATELESS"] == "true",
)
