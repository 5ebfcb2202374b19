"""An A2A agent on the official SDKs: it answers with the text it was sent and
how many messages this process has seen."""

from a2a.helpers import new_text_message
from a2a.server.agent_execution import AgentExecutor
from bedrock_agentcore.runtime.a2a import serve_a2a

seen = 0


class Echo(AgentExecutor):
    async def execute(self, context, event_queue):
        global seen
        seen += 1
        await event_queue.enqueue_event(new_text_message(f"{context.get_user_input()} {seen}"))

    async def cancel(self, context, event_queue):
        pass


serve_a2a(Echo())
