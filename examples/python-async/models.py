"""The agent's model, chosen by the environment."""

import os

from strands.models import Model

from scripted_model import Script, ScriptedModel


def pick_model(script: Script) -> Model:
    """Return the model that the environment sets up, else one that follows script.

    Providers are imported only when they are chosen: their packages are
    optional, and every import makes a session start later.
    """
    env = os.environ.get
    if env("BEDROCK_MODEL_ID"):
        from strands.models import BedrockModel

        return BedrockModel(model_id=env("BEDROCK_MODEL_ID"))  # by the Converse API
    if env("ANTHROPIC_API_KEY"):
        from strands.models.anthropic import AnthropicModel

        return AnthropicModel(
            client_args={"api_key": env("ANTHROPIC_API_KEY")},
            model_id=env("ANTHROPIC_MODEL_ID") or "claude-sonnet-4-5",
            max_tokens=4096,
        )
    if env("OPENAI_API_KEY") or env("OPENAI_BASE_URL"):
        from strands.models.openai import OpenAIModel

        return OpenAIModel(
            client_args={
                "api_key": env("OPENAI_API_KEY") or "none",  # local servers want none, the client wants some
                "base_url": env("OPENAI_BASE_URL") or None,
            },
            model_id=env("OPENAI_MODEL_ID") or "gpt-5-mini",
        )
    return ScriptedModel(script, delay=float(env("SCRIPTED_MODEL_DELAY_MS") or 20) / 1000)
