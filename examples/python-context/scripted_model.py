"""A model that needs no key and no network: it follows a script.

To Strands it is a model like any other. It reads the conversation, asks for
tools, finds their results in the next turn and streams an answer word by word.
What it asks for and says is up to the script, a function of the conversation.
"""

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

from strands.models import Model
from strands.types.content import Messages
from strands.types.streaming import StreamEvent


@dataclass
class Call:
    """A tool to call."""

    tool: str
    input: dict[str, Any] = field(default_factory=dict)


@dataclass
class Turn:
    """What the model says next: either calls or a text."""

    calls: list[Call] = field(default_factory=list)
    text: str = ""
    error: str = ""  # fails with it after the text, as a model does whose connection breaks


@dataclass
class Result:
    """What a tool answered."""

    call: Call
    text: str
    failed: bool


Script = Callable[[Messages], Turn]


class ScriptedModel(Model):
    """Says what its script says. delay is the pause before each word, in seconds."""

    def __init__(self, script: Script, delay: float = 0.02) -> None:
        self._script = script
        self._config: dict[str, Any] = {"model_id": "scripted", "delay": delay, "context_window_limit": 200_000}

    def get_config(self) -> dict[str, Any]:
        return self._config

    def update_config(self, **model_config: Any) -> None:
        self._config.update(model_config)

    async def structured_output(self, output_model, prompt, system_prompt=None, **kwargs):
        raise NotImplementedError("the scripted model gives text only")
        yield  # makes it the generator that the base class declares

    async def stream(self, messages: Messages, *args: Any, **kwargs: Any) -> AsyncIterator[StreamEvent]:
        turn = self._script(messages)
        yield {"messageStart": {"role": "assistant"}}
        for call in turn.calls:
            use = {"toolUseId": f"tooluse_{uuid.uuid4().hex}", "name": call.tool}
            yield {"contentBlockStart": {"start": {"toolUse": use}}}
            yield {"contentBlockDelta": {"delta": {"toolUse": {"input": json.dumps(call.input)}}}}
            yield {"contentBlockStop": {}}
        if turn.text:
            yield {"contentBlockStart": {"start": {}}}
            for word in re.findall(r"\S+\s*", turn.text):
                await asyncio.sleep(self._config["delay"])
                yield {"contentBlockDelta": {"delta": {"text": word}}}
            yield {"contentBlockStop": {}}
        if turn.error:
            raise RuntimeError(turn.error)
        yield {"messageStop": {"stopReason": "tool_use" if turn.calls else "end_turn"}}


def results(messages: Messages) -> list[Result]:
    """Return what the tools answered to the last message's calls, in the order of the calls.

    Tools run at the same time and may finish in any order. The list is empty
    if the last message is the user's.
    """
    answers = {b["toolResult"]["toolUseId"]: b["toolResult"] for b in messages[-1]["content"] if "toolResult" in b}
    return [_result(call, answers[id]) for id, call in _calls(messages).items() if id in answers]


def earlier_results(messages: Messages, tool: str) -> list[str]:
    """Return what a tool answered in the conversation so far, without its failures."""
    calls = _calls(messages)
    answers = (b["toolResult"] for m in messages for b in m["content"] if "toolResult" in b)
    found = (_result(calls[a["toolUseId"]], a) for a in answers if a["toolUseId"] in calls)
    return [r.text for r in found if r.call.tool == tool and not r.failed]


def asked(messages: Messages) -> str:
    """Return the text of the user's last message."""
    return next((text_of(m["content"]) for m in reversed(messages) if m["role"] == "user" and text_of(m["content"])), "")


def text_of(content: list[dict[str, Any]]) -> str:
    """Join the text blocks of a message or of a tool's answer."""
    return " ".join(block["text"] for block in content if "text" in block)


def _result(call: Call, answer: dict[str, Any]) -> Result:
    return Result(call, text_of(answer["content"]), answer["status"] == "error")


def _calls(messages: Messages) -> dict[str, Call]:
    uses = [b["toolUse"] for m in messages for b in m["content"] if "toolUse" in b]
    return {use["toolUseId"]: Call(use["name"], use["input"]) for use in uses}
