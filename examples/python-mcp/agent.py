"""An MCP server whose session is a sandbox: what a tool remembers, it remembers for one client."""

from datetime import datetime
from zoneinfo import ZoneInfo

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from arithmetic import evaluate

server = MCPServer("assistant", instructions="Calculates, tells the time, and keeps notes of this session.")

notes: list[str] = []  # one process serves one session, so these are one client's


@server.tool()
def calculator(expression: str) -> str:
    """Work out an arithmetic expression: numbers with + - * / // % ** and parentheses."""
    try:
        value = evaluate(expression)
    except (ValueError, ArithmeticError) as e:
        raise ToolError(str(e)) from None  # the client hears of this one; other errors stay in the log
    return f"{value:.12g}" if isinstance(value, float) else str(value)


@server.tool()
def get_time(timezone: str = "UTC") -> str:
    """Tell the current date and time in an IANA time zone, such as Europe/Paris."""
    return datetime.now(ZoneInfo(timezone)).strftime("%Y-%m-%d %H:%M:%S %Z")


@server.tool()
def take_note(text: str) -> int:
    """Keep a note until the session ends. Returns how many there are."""
    notes.append(text)
    return len(notes)


@server.resource("notes://all")
def all_notes() -> str:
    """The notes of this session, one a line."""
    return "\n".join(notes)


if __name__ == "__main__":
    # The runtime adds and returns Mcp-Session-Id; the server itself keeps no sessions, as AgentCore recommends.
    server.run(transport="streamable-http", host="0.0.0.0", port=8000, stateless_http=True)
