"""A conversation over one WebSocket: you may interrupt the answer.

Messages are JSON, one a frame. You send {"prompt": "…"}, or {"stop": true}. You
get {"text": "…"} for each piece of an answer as it is made, {"tool": "…"} when
a tool is called, and then {"end": "complete"}, {"end": "interrupted"} or
{"end": "error", "error": "…"}. A prompt that comes during an answer interrupts
it and is answered next.
"""

import asyncio
import json
from contextlib import suppress

from bedrock_agentcore.runtime import BedrockAgentCoreApp
from starlette.websockets import WebSocketDisconnect
from strands import Agent

import assistant
from models import pick_model

app = BedrockAgentCoreApp()

# The session's memory: a connection that breaks is no end of the conversation.
agent = Agent(
    model=pick_model(assistant.script),
    tools=assistant.TOOLS,
    system_prompt=assistant.PROMPT,
    callback_handler=None,
)
turn = asyncio.Lock()  # an Agent answers one prompt at a time, of whatever connection


@app.websocket
async def converse(socket, context):
    """Answer prompts as they come, until the peer goes away."""
    await socket.accept()
    app.logger.info("connected, after %d messages", len(agent.messages))
    answering = None
    try:
        while True:
            prompt = prompt_of(await socket.receive_text())
            if answering and not answering.done():
                agent.cancel()  # at the model's next word; the conversation stays whole
                await answering
            if prompt is not None:
                answering = asyncio.create_task(answer(socket, prompt))
    except WebSocketDisconnect:
        if answering and not answering.done():
            agent.cancel()
            await answering
    except ValueError as e:
        await socket.close(1003, str(e))


def prompt_of(frame):
    """Return the prompt in a frame, None if it only stops the answer."""
    try:
        message = json.loads(frame)
    except json.JSONDecodeError:
        raise ValueError("the message is not JSON") from None
    match message:
        case {"prompt": str(prompt)} if prompt.strip():
            return prompt
        case {"stop": True}:
            return None
    raise ValueError('send {"prompt": "…"} or {"stop": true}')


async def answer(socket, prompt):
    """Send the answer to a prompt. It never raises: its caller may not wait for it."""
    end = {"end": "complete"}
    try:
        async with turn:
            async for event in agent.stream_async(prompt):
                if "data" in event:
                    await send(socket, {"text": event["data"]})
                elif start := event.get("event", {}).get("contentBlockStart", {}).get("start", {}).get("toolUse"):
                    await send(socket, {"tool": start["name"]})
                elif "result" in event and event["result"].stop_reason == "cancelled":
                    end = {"end": "interrupted"}
    except Exception as e:
        app.logger.exception("the agent failed")
        end = {"end": "error", "error": str(e)}
    await send(socket, end)


async def send(socket, message):
    """Send a message, or do nothing if the peer is gone, which converse notices."""
    with suppress(WebSocketDisconnect, RuntimeError):
        await socket.send_json(message)


if __name__ == "__main__":
    app.run()
