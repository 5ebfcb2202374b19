"""Opens a shell with the official SDK's ShellSession, types lines, and prints what came as JSON.

usage: shell_client.py WS_URL SESSION_ID SHELL_ID LINE...
"""

import asyncio
import json
import sys

from bedrock_agentcore.runtime.shell.protocol import ShellChannel
from bedrock_agentcore.runtime.shell.session import ShellSession


class Client:
    """Stands in for AgentCoreRuntimeClient, which connects to AWS's own hosts only."""

    def __init__(self, url):
        self.url = url

    def connect_shell(self, runtime_arn, session_id=None, endpoint_name=None, shell_id=None):
        return f"{self.url}?shellId={shell_id}", {"X-Amzn-Bedrock-AgentCore-Runtime-Session-Id": session_id}


async def main(url, session_id, shell_id, *lines):
    arn = "arn:aws:bedrock-agentcore:us-east-1:000000000000:runtime/any-0123456789"
    shown = ""
    async with ShellSession(Client(url), arn, session_id=session_id, shell_id=shell_id) as shell:
        await shell.resize(101, 33)
        for line in lines:
            await shell.send(line + "\n")
        async for frame in shell:
            if frame.channel == ShellChannel.STDOUT:
                shown += frame.text
    print(json.dumps({"shown": shown, "exitCode": shell.exit_code, "shellId": shell.shell_id, "kicked": shell.kicked}))


asyncio.run(main(*sys.argv[1:]))
