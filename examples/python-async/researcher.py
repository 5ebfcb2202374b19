"""The script by which the scripted model uses the tools of the agent."""

import re

from strands.types.content import Messages

from scripted_model import Call, Turn, asked, results

HELP = (
    "I am a small scripted model. Try: Count the primes below 2000000, and then: How far are you? "
    "The README says how to give me a real model."
)


def script(messages: Messages) -> Turn:
    """Decide what to say after the last message, the user's or the tools'."""
    if answers := results(messages):
        return Turn(text=" ".join(answer.text for answer in answers))
    prompt = asked(messages)
    if below := re.search(r"\bprimes (?:below|under|up to) ([\d,]+)", prompt, re.I):
        return Turn([Call("start_counting", {"limit": int(below[1].replace(",", ""))})])
    if re.search(r"\b(far|done|ready|progress|status|result|how many)\b", prompt, re.I):
        return Turn([Call("get_progress")])
    return Turn(text=HELP)
