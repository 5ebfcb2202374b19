"""The assistant as an A2A agent, which other agents find by its card.

Within a session, each A2A context is a conversation of its own.
"""

from a2a.types import AgentCapabilities, AgentCard, AgentSkill
from bedrock_agentcore.runtime.a2a import serve_a2a
from strands import Agent
from strands.multiagent.a2a.executor import StrandsA2AExecutor

import assistant
from models import pick_model


def converse(context_id: str) -> Agent:
    """Begin the conversation of an A2A context."""
    return Agent(
        model=pick_model(assistant.script),
        tools=assistant.TOOLS,
        system_prompt=assistant.PROMPT,
        callback_handler=None,
    )


def skill(tool) -> AgentSkill:
    return AgentSkill(id=tool.tool_name, name=tool.tool_name, description=tool.tool_spec["description"], tags=["tool"])


executor = StrandsA2AExecutor(agent_factory=converse, enable_a2a_compliant_streaming=True)

card = AgentCard(
    name="assistant",
    description="Calculates, and tells the weather and the time.",
    version="1.0.0",
    url="http://localhost:9000/",  # the runtime puts its own in its place
    capabilities=AgentCapabilities(streaming=True),
    skills=[skill(tool) for tool in assistant.TOOLS],
    default_input_modes=["text"],
    default_output_modes=["text"],
)

if __name__ == "__main__":
    serve_a2a(executor, card)
