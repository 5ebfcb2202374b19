"""An AG-UI agent on the official SDKs: it says the caller's last message, and
answers anything that is no run with the SDK's own error."""

from ag_ui.core import (
    EventType, RunFinishedEvent, RunStartedEvent, TextMessageContentEvent, TextMessageEndEvent, TextMessageStartEvent,
)
from bedrock_agentcore.runtime.ag_ui import AGUIApp

app = AGUIApp()


@app.entrypoint
async def run(run):
    yield RunStartedEvent(type=EventType.RUN_STARTED, thread_id=run.thread_id, run_id=run.run_id)
    yield TextMessageStartEvent(type=EventType.TEXT_MESSAGE_START, message_id="m", role="assistant")
    for word in run.messages[-1].content.split():
        yield TextMessageContentEvent(type=EventType.TEXT_MESSAGE_CONTENT, message_id="m", delta=word + " ")
    yield TextMessageEndEvent(type=EventType.TEXT_MESSAGE_END, message_id="m")
    yield RunFinishedEvent(type=EventType.RUN_FINISHED, thread_id=run.thread_id, run_id=run.run_id)


app.run()
