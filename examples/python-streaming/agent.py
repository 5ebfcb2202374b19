"""An agent that streams its answer, calls tools and remembers its session.

One process serves one session, so the Agent below, made once, is the memory of
one conversation: the next invocation with the same session id finds it again.
"""

import asyncio
import os
from contextlib import aclosing
from datetime import datetime
from zoneinfo import ZoneInfo

from bedrock_agentcore.runtime import BedrockAgentCoreApp
from strands import Agent, tool
from strands.models import Model

from arithmetic import evaluate

app = BedrockAgentCoreApp()


@tool
def get_weather(city: str = "your city") -> str:
    """Tell the current weather.

    Args:
        city: Name of the city.
    """
    return f"It is sunny in {city}."  # a dummy, so that the example needs no network


@tool
def get_time(timezone: str = "UTC") -> str:
    """Tell the current date and time.

    Args:
        timezone: An IANA time zone, such as Europe/Paris.
    """
    return datetime.now(ZoneInfo(timezone)).strftime("%Y-%m-%d %H:%M:%S %Z")


@tool
def calculator(expression: str) -> str:
    """Work out an arithmetic expression.

    Args:
        expression: Numbers with + - * / // % ** and parentheses, such as "2 * (3 + 4)".
    """
    value = evaluate(expression)
    return f"{value:.12g}" if isinstance(value, float) else str(value)


def pick_model() -> Model:
    """Choose the model that the environment sets up, else the scripted one.

    Providers are imported only when they are chosen: their packages are
    optional, and every import makes a session start later.
    """
    env = os.environ.get
    if env("BEDROCK_MODEL_ID"):
        from strands.models import BedrockModel

        return BedrockModel(model_id=env("BEDROCK_MODEL_ID"))
    if env("ANTHROPIC_API_KEY"):
        from strands.models.anthropic import AnthropicModel

        return AnthropicModel(
            client_args={"api_key": env("ANTHROPIC_API_KEY")},
            model_id=env("ANTHROPIC_MODEL_ID") or "claude-sonnet-4-5",
            max_tokens=4096,
        )
    if env("OPENAI_API_KEY") or env("OPENAI_BASE_URL"):
        from strands.models.openai import OpenAIModel

        return OpenAIModel(
            client_args={
                "api_key": env("OPENAI_API_KEY") or "none",  # local servers want none, the client wants some
                "base_url": env("OPENAI_BASE_URL") or None,
            },
            model_id=env("OPENAI_MODEL_ID") or "gpt-5-mini",
        )
    from scripted_model import ScriptedModel

    return ScriptedModel(delay=float(env("SCRIPTED_MODEL_DELAY_MS") or 20) / 1000)


agent = Agent(
    model=pick_model(),
    tools=[get_weather, get_time, calculator],
    system_prompt="You are a helpful assistant. You calculate, and tell the weather and the time, with your tools.",
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
