"""Echoes what comes over a WebSocket, on the official SDK. Its first message
says what it got with the handshake; "exit" ends its process, "close" closes."""

import json
import os

from bedrock_agentcore import BedrockAgentCoreApp
from starlette.websockets import WebSocketDisconnect

app = BedrockAgentCoreApp()


@app.websocket
async def converse(socket, context):
    await socket.accept()
    await socket.send_text(json.dumps({"session": context.session_id, "headers": dict(socket.headers)}))
    try:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                print("closed with", message["code"], flush=True)
                return
            if message.get("text") == "exit":
                os._exit(3)
            if message.get("text") == "close":
                await socket.close(4000, "as you say")
                return
            await socket.send({"type": "websocket.send", "text": message.get("text"), "bytes": message.get("bytes")})
    except WebSocketDisconnect as e:
        print("closed with", e.code, flush=True)


app.run()
