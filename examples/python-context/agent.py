"""An agent that knows who asks, and remembers what was said in the session.

The runtime gives each session id a sandbox of its own, so the Agent below, made
once per process, holds one user's conversation; another session has another
process, and nothing is shared.
"""

import threading

from bedrock_agentcore.runtime import BedrockAgentCoreApp
from strands import Agent

import assistant
from models import pick_model

app = BedrockAgentCoreApp()

agent = Agent(
    model=pick_model(assistant.script),
    tools=assistant.TOOLS,
    system_prompt=assistant.PROMPT + " Begin by greeting the user by name.",
    callback_handler=None,
)
turn = threading.Lock()  # an Agent answers one prompt at a time; the next one waits

USERS = {"1": "Maira", "2": "Mani", "3": "Mark", "4": "Ishan", "5": "Dhawal"}


@app.entrypoint
def invoke(payload, context):
    """Answer payload["prompt"] of the user payload["user_id"], in text."""
    prompt, user_id = payload.get("prompt"), str(payload.get("user_id"))
    if not isinstance(prompt, str) or not prompt.strip():
        return {"error": 'the payload has no prompt; send for example {"prompt": "2X5", "user_id": "1"}'}
    if user_id not in USERS:
        return {"error": f"there is no user {user_id!r}; user_id is one of {', '.join(USERS)}"}
    # The log line carries the session and request ids by itself. Prompts stay out of it.
    app.logger.info("invoked by user %s, after %d messages", user_id, len(agent.messages))
    with turn:
        result = agent(
            f"My name is {USERS[user_id]}. Here is my request: {prompt}\n\n"
            f"Additional context: this is session {context.session_id}."
        )
    return result.message["content"][0]["text"]


if __name__ == "__main__":
    app.run()
