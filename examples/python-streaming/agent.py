"""An agent that streams its answer, calls tools and remembers its session.

One process serves one session, so the Agent below, made once, is the memory of
one conversation: the next invocation with the same session id finds it again.
"""

import asyncio
from contextlib import aclosing

from bedrock_agentcore.runtime import BedrockAgentCoreApp
from strands import Agent

import assistant
from models import pick_model

app = BedrockAgentCoreApp()

agent = Agent(
    model=pick_model(assistant.script),
    tools=assistant.TOOLS,
    system_prompt=assistant.PROMPT,
    callback_handler=None,  # the default one prints every chunk, which would fill the log
)
turn = asyncio.Lock()  # an Agent answers one prompt at a time; the next one waits


@app.entrypoint
async def invoke(payload):
    """Yield the answer to payload["prompt"] as it is made."""
    prompt = payload.get("prompt") if isinstance(payload, dict) else payload
    if not isinstance(prompt, str) or not prompt.strip():
        yield {"error": 'the payload has no prompt; send for example {"prompt": "2X5"}'}
        return
    try:
        # aclosing ends the agent's turn at once when the caller goes away in the middle of it.
        async with turn, aclosing(agent.stream_async(prompt)) as events:
            async for event in events:
                if "data" in event:
                    yield event["data"]
    except Exception as e:
        app.logger.exception("the agent failed")  # the traceback, for the log; the caller gets one line
        yield {"error": str(e), "error_type": type(e).__name__}


if __name__ == "__main__":
    app.run()
