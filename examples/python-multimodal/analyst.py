"""The script by which the scripted model uses the tools of the agent."""

from typing import Any

from strands.types.content import Messages

from scripted_model import Call, Turn, results, text_of

NOTHING = "I was given neither a workbook nor an image. Send them in base64, as excel_data and image_data."


def script(messages: Messages) -> Turn:
    """Decide what to say after the last message, the user's or the tools'."""
    question = next(m["content"] for m in reversed(messages) if m["role"] == "user" and text_of(m["content"]))
    attached = [sentence for block in question if (sentence := _attached(block))]
    if answers := results(messages):
        return Turn(text=" ".join([*attached, *(answer.text for answer in answers)]))
    tools = [name for kind, name in (("document", "read_workbook"), ("image", "look_at_image")) if any(kind in b for b in question)]
    return Turn([Call(name) for name in tools]) if tools else Turn(text=NOTHING)


def _attached(block: dict[str, Any]) -> str:
    """Say what a block of the user's message is; nothing of text."""
    for kind in ("document", "image"):
        if kind in block:
            return f"I got a {block[kind]['format']} {kind} of {len(block[kind]['source']['bytes'])} bytes."
    return ""
