"""A model that needs no key and no network: it follows a small script.

To Strands it is a model like any other. It reads the conversation, asks for
tools, finds their results in the next turn and streams an answer word by word.
"""

import asyncio
import json
import re
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from strands.models import Model
from strands.types.content import Messages
from strands.types.streaming import StreamEvent

ABILITIES = (
    "I am a small scripted model and know three things: sums (try 2X5, then: and that plus 34?), "
    "the weather (what's the weather in Paris?) and the time (what time is it?). "
    "The README says how to give me a real model for everything else."
)
NO_SUM_YET = "I have no result to go on with: nothing was calculated in this session yet. Try 2X5 first."


@dataclass
class Call:
    """A tool to call."""

    tool: str
    input: dict[str, str]


@dataclass
class Turn:
    """What the model says next: either calls or a text."""

    calls: list[Call] = field(default_factory=list)
    text: str = ""


class ScriptedModel(Model):
    """Answers from a script. delay is the pause before each word, in seconds."""

    def __init__(self, delay: float = 0.02) -> None:
        self._config: dict[str, Any] = {"model_id": "scripted", "delay": delay, "context_window_limit": 200_000}

    def get_config(self) -> dict[str, Any]:
        return self._config

    def update_config(self, **model_config: Any) -> None:
        self._config.update(model_config)

    async def structured_output(self, output_model, prompt, system_prompt=None, **kwargs):
        raise NotImplementedError("the scripted model gives text only")
        yield  # makes it the generator that the base class declares

    async def stream(self, messages: Messages, *args: Any, **kwargs: Any) -> AsyncIterator[StreamEvent]:
        turn = next_turn(messages)
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
        yield {"messageStop": {"stopReason": "tool_use" if turn.calls else "end_turn"}}


def next_turn(messages: Messages) -> Turn:
    """Decide what to say after the last message, the user's or the tools'."""
    last = messages[-1]["content"]
    results = {b["toolResult"]["toolUseId"]: b["toolResult"] for b in last if "toolResult" in b}
    if not results:
        return understand(text_of(last), last_sum(messages))
    # Tools run at the same time and may finish in any order; answer in the order of the calls.
    calls = calls_in(messages).items()
    return Turn(text=" ".join(sentence(call, results[id]) for id, call in calls if id in results))


def understand(prompt: str, previous: str | None) -> Turn:
    """Turn a prompt into calls. previous is the last sum's result, if any."""
    calls = []
    match find_sum(prompt):
        case None:
            pass
        case expression if PREVIOUS not in expression:
            calls.append(Call("calculator", {"expression": expression}))
        case _ if previous is None:
            return Turn(text=NO_SUM_YET)
        case expression:
            calls.append(Call("calculator", {"expression": expression.replace(PREVIOUS, previous)}))
    if re.search(r"\bweather\b", prompt, re.I):
        city = re.search(r"\bin ([A-Z][\w'’-]*(?: [A-Z][\w'’-]*)*)", prompt)
        calls.append(Call("get_weather", {"city": city[1]} if city else {}))
    if re.search(r"\bwhat(['’]s| is)?( the)?( current)? (time|date)\b|\btime is it\b|\bo'?clock\b", prompt, re.I):
        zone = re.search(r"\b[A-Z]\w+/[A-Z]\w+\b", prompt)  # Europe/Paris
        calls.append(Call("get_time", {"timezone": zone[0]} if zone else {}))
    return Turn(calls) if calls else Turn(text=ABILITIES)


PREVIOUS = "that"  # stands for the last result in what find_sum returns

OPERATORS = {
    "x": "*", "×": "*", "times": "*", "multiplied by": "*", "plus": "+", "minus": "-", "−": "-",
    "divided by": "/", "over": "/", "÷": "/", "mod": "%", "to the power of": "**", "^": "**",
}  # fmt: skip

TOKEN = re.compile(
    r"(?P<number>\d+(?:\.\d+)?)"
    r"|(?P<operator>\*\*|//|[-+*/%^×÷−]|x(?![a-wyz])|\b(?:times|plus|minus|over|mod|multiplied by|divided by|to the power of)\b)"
    r"|(?P<paren>[()])"
    r"|(?P<previous>\b(?:that|it|the result|the answer)\b)"
    r"|(?P<other>[^\W\d]+)",
    re.I,
)


def find_sum(prompt: str) -> str | None:
    """Return the first arithmetic in a sentence, in Python's notation.

    "what is 6 times 7?" gives "6 * 7", and "and that plus 34?" and
    "plus 34" give "that + 34". None if there is no arithmetic.
    """
    run: list[tuple[str, str]] = []
    for token in [*TOKEN.finditer(prompt), None]:
        if token and token.lastgroup != "other":
            run.append((token.lastgroup, token[0].lower()))
            continue
        kinds = [kind for kind, _ in run]
        if "number" in kinds and "operator" in kinds:
            if kinds[0] == "operator" and run[0][1] != "-":  # -3 plus 5 starts with a sign
                run.insert(0, ("previous", PREVIOUS))
            return " ".join(PREVIOUS if kind == "previous" else OPERATORS.get(text, text) for kind, text in run)
        run = []
    return None


def sentence(call: Call, result: dict[str, Any]) -> str:
    """Say in words what a tool answered."""
    text = text_of(result["content"])
    if result["status"] == "error":
        return f"The tool {call.tool} failed. {text}"
    if call.tool == "calculator":
        return f"{call.input['expression']} is {text}."
    if call.tool == "get_time":
        return f"It is {text}."
    return text


def last_sum(messages: Messages) -> str | None:
    """Return the newest result of the calculator in the conversation."""
    calls = calls_in(messages)
    for message in reversed(messages):
        for result in (b["toolResult"] for b in reversed(message["content"]) if "toolResult" in b):
            if result["status"] == "success" and calls[result["toolUseId"]].tool == "calculator":
                return text_of(result["content"])
    return None


def calls_in(messages: Messages) -> dict[str, Call]:
    """Return the calls of a conversation by their ids."""
    uses = [b["toolUse"] for m in messages for b in m["content"] if "toolUse" in b]
    return {use["toolUseId"]: Call(use["name"], use["input"]) for use in uses}


def text_of(content: list[dict[str, Any]]) -> str:
    return " ".join(block["text"] for block in content if "text" in block)
