"""The agent of agent/internal/conformance, on the official SDK for Python."""

import os

from bedrock_agentcore.runtime import BedrockAgentCoreApp, BedrockAgentCoreContext
from bedrock_agentcore.runtime.models import PingStatus
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse

app = BedrockAgentCoreApp()
tasks = []


def stream(last=None):
    yield "hello"
    yield {"two": [2, 2]}
    yield "data: x\n\n"
    yield None
    if last:
        raise last


def fail_at_once():
    raise RuntimeError("first")
    yield


def context_of(context):
    headers = {k.lower(): v for k, v in (context.request_headers or {}).items()}
    return {
        "session": context.session_id,
        "request": BedrockAgentCoreContext.get_request_id(),
        "token": BedrockAgentCoreContext.get_workload_access_token(),
        "custom": headers.get("x-amzn-bedrock-agentcore-runtime-custom-color", ""),
        "authorization": headers.get("authorization", ""),
        "cookie": headers.get("cookie", ""),
        "listed": headers.get("x-listed", ""),
    }


@app.entrypoint
def answer(payload, context):
    match payload.get("case") if isinstance(payload, dict) else None:
        case "object":
            return {"a": 1, "b": [True, None, 1.5], "c": "x, y: z"}
        case "text":
            return 'hé <b> & \u2028 " \\ \n'
        case "null":
            return None
        case "echo":
            return payload
        case "bytes":
            return b"raw"
        case "unserializable":
            return len
        case "error":
            raise RuntimeError('no "model"')
        case "status":
            raise HTTPException(404, "no such user")
        case "response":
            return PlainTextResponse("taken", 202)
        case "stream":
            return stream()
        case "stream that fails":
            return stream(RuntimeError("mid"))
        case "stream that fails at once":
            return fail_at_once()
        case "empty stream":
            return (x for x in [])
        case "context":
            return context_of(context)
        case "force":
            app.force_ping_status(PingStatus.HEALTHY_BUSY)
        case "release":
            app.clear_forced_ping_status()
        case "task":
            tasks.append(app.add_async_task("work"))
        case "finish":
            app.complete_async_task(tasks.pop())
    return "done"


@app.websocket
async def talk(websocket, context):
    await websocket.accept()
    while True:
        message = await websocket.receive()
        if message["type"] == "websocket.disconnect":
            return
        if message.get("text") == "fail":
            raise RuntimeError("boom")
        if message.get("text") == "bye":
            return
        if message.get("text") is not None:
            await websocket.send_text(message["text"])
        else:
            await websocket.send_bytes(message["bytes"])


app.run(port=int(os.environ["PORT"]))
