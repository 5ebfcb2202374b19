"""An assistant: its tools, and the script by which the scripted model uses them."""

import re
from datetime import datetime
from zoneinfo import ZoneInfo

from strands import tool
from strands.types.content import Messages

from arithmetic import evaluate
from scripted_model import Call, Result, Turn, asked, earlier_results, results


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


TOOLS = [get_weather, get_time, calculator]

PROMPT = "You are a helpful assistant. You calculate, and tell the weather and the time, with your tools."

ABILITIES = (
    "I am a small scripted model and know three things: sums (try 2X5, then: and that plus 34?), "
    "the weather (what's the weather in Paris?) and the time (what time is it?). "
    "The README says how to give me a real model for everything else."
)
NO_SUM_YET = "I have no result to go on with: nothing was calculated in this session yet. Try 2X5 first."


def script(messages: Messages) -> Turn:
    """Decide what to say after the last message, the user's or the tools'."""
    question, _, _ = asked(messages).partition("\n\n")  # what follows is context
    if answers := results(messages):
        turn = Turn(text=" ".join(_sentence(answer) for answer in answers))
    else:
        turn = _understand(question, earlier_results(messages, "calculator"))
    if turn.text and (name := re.match(r"My name is (\w+)\.", question)):
        turn.text = f"Hello {name[1]}. {turn.text}"
    return turn


def _understand(prompt: str, sums: list[str]) -> Turn:
    if re.search(r"\bbreak off\b", prompt, re.I):
        return Turn(text="I begin to answer, and then ", error="the model broke off, as you asked")
    calls = []
    match find_sum(prompt):
        case None:
            pass
        case expression if PREVIOUS not in expression:
            calls.append(Call("calculator", {"expression": expression}))
        case _ if not sums:
            return Turn(text=NO_SUM_YET)
        case expression:
            calls.append(Call("calculator", {"expression": expression.replace(PREVIOUS, sums[-1])}))
    if re.search(r"\bweather\b", prompt, re.I):
        city = re.search(r"\bin ([A-Z][\w'’-]*(?: [A-Z][\w'’-]*)*)", prompt)
        calls.append(Call("get_weather", {"city": city[1]} if city else {}))
    if re.search(r"\bwhat(['’]s| is)?( the)?( current)? (time|date)\b|\btime is it\b|\bo'?clock\b", prompt, re.I):
        zone = re.search(r"\b[A-Z]\w+/[A-Z]\w+\b", prompt)  # Europe/Paris
        calls.append(Call("get_time", {"timezone": zone[0]} if zone else {}))
    return Turn(calls) if calls else Turn(text=ABILITIES)


def _sentence(answer: Result) -> str:
    """Say in words what a tool answered."""
    if answer.failed:
        return f"The tool {answer.call.tool} failed. {answer.text}"
    if answer.call.tool == "calculator":
        return f"{answer.call.input['expression']} is {answer.text}."
    if answer.call.tool == "get_time":
        return f"It is {answer.text}."
    return answer.text


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
