"""An agent that reads an Excel workbook and an image, in one payload of up to 100 MB.

Both come in base64. The model gets them as a document and an image block, made
small enough for it, and has tools to read the originals in full.
"""

import threading

from bedrock_agentcore.runtime import BedrockAgentCoreApp
from strands import Agent, tool

import analyst
from attachments import Picture, Workbook, decode
from models import pick_model

app = BedrockAgentCoreApp()


class Attachments:
    """What the last payload that brought something brought; later questions are about it too."""

    workbook: Workbook | None = None
    picture: Picture | None = None


@tool
def read_workbook() -> str:
    """Tell the sheets of the workbook, their columns, and sums over all rows."""
    return Attachments.workbook.describe() if Attachments.workbook else "There is no workbook."


@tool
def look_at_image() -> str:
    """Tell the size of the image and its main colours."""
    return Attachments.picture.describe() if Attachments.picture else "There is no image."


agent = Agent(
    model=pick_model(analyst.script),
    tools=[read_workbook, look_at_image],
    system_prompt="You analyse workbooks and images. What you are shown may be an excerpt; your tools read all of it.",
    callback_handler=None,
)
turn = threading.Lock()  # an Agent answers one prompt at a time; the next one waits


@app.entrypoint
def invoke(payload, context):
    """Answer payload["prompt"] about the workbook payload["excel_data"] and the image payload["image_data"]."""
    prompt = payload.get("prompt") or "Analyze the workbook and the image."
    with turn:
        try:
            excel, image = decode(payload, "excel_data"), decode(payload, "image_data")
            # Sizes only: the log is no place for the data.
            app.logger.info("got %d bytes of workbook, %d bytes of image", len(excel or b""), len(image or b""))
            blocks = []
            if excel:
                Attachments.workbook = Workbook(excel)
                blocks.append(Attachments.workbook.block())
            if image:
                Attachments.picture = Picture(image)
                blocks.append(Attachments.picture.block())
        except ValueError as e:
            return {"error": str(e)}
        return agent([*blocks, {"text": prompt}]).message["content"][0]["text"]


if __name__ == "__main__":
    app.run()
