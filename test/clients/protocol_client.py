"""Calls an MCP, A2A or AG-UI agent through the server with the protocol's own
Python SDK, and prints what it got as JSON.

    protocol_client.py mcp URL MODE SESSION
    protocol_client.py a2a URL SESSION TEXT...
    protocol_client.py agui URL TEXT
"""

import asyncio
import json
import sys

import httpx

SESSION = "X-Amzn-Bedrock-AgentCore-Runtime-Session-Id"


async def mcp(url, mode, session):
    import httpx2
    from mcp.client.client import Client
    from mcp.client.streamable_http import streamable_http_client

    headers = {SESSION: session} if session else {}
    http = httpx2.AsyncClient(headers=headers, timeout=60)
    async with Client(streamable_http_client(url, http_client=http), mode=mode) as client:
        tools = [t.name for t in (await client.list_tools()).tools]
        added = (await client.call_tool("add", {"a": 2, "b": 40})).structured_content
        counts = [(await client.call_tool("count", {})).structured_content["result"] for _ in range(2)]
        return {"tools": tools, "added": added["result"], "counts": counts}


async def a2a(url, session, *texts):
    from a2a.client import ClientConfig, create_client
    from a2a.helpers import get_stream_response_text, new_text_message
    from a2a.types import Role, SendMessageRequest

    async with httpx.AsyncClient(headers={SESSION: session}, timeout=60) as http:
        client = await create_client(url, ClientConfig(httpx_client=http, streaming=True))
        answers = []
        for text in texts:
            async for event in client.send_message(SendMessageRequest(message=new_text_message(text, role=Role.ROLE_USER))):
                answers.append(get_stream_response_text(event))
        return {"answers": answers}


async def agui(url, text):
    from ag_ui.core import Event, RunAgentInput, UserMessage
    from pydantic import TypeAdapter

    run = RunAgentInput(
        thread_id="t", run_id="r", state={}, tools=[], context=[], forwarded_props={},
        messages=[UserMessage(id="1", role="user", content=text)],
    ).model_dump(mode="json", by_alias=True)
    events = TypeAdapter(Event)
    got = []
    async with httpx.AsyncClient(timeout=60) as http:
        async with http.stream("POST", url, json=run, headers={"Accept": "text/event-stream"}) as answer:
            async for line in answer.aiter_lines():
                if line.startswith("data: "):
                    event = events.validate_json(line.removeprefix("data: "))
                    got.append({"type": event.type, "text": getattr(event, "delta", None) or getattr(event, "code", None)})
        return {"status": answer.status_code, "events": got}


print(json.dumps(asyncio.run({"mcp": mcp, "a2a": a2a, "agui": agui}[sys.argv[1]](*sys.argv[2:]))))
