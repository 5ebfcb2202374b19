"""Tests of the agent with its scripted model: python -m unittest"""

import os
import unittest
import uuid

# No real model and no waiting, whatever the shell that runs the tests has set.
for name in ("BEDROCK_MODEL_ID", "ANTHROPIC_API_KEY", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
    os.environ.pop(name, None)
os.environ["SCRIPTED_MODEL_DELAY_MS"] = "0"

from bedrock_agentcore.runtime.a2a import build_a2a_app
from starlette.testclient import TestClient

import agent as subject

client = TestClient(build_a2a_app(subject.executor, subject.card))


def ask(text, context_id):
    message = {"messageId": uuid.uuid4().hex, "role": "user", "contextId": context_id, "parts": [{"kind": "text", "text": text}]}
    request = {"jsonrpc": "2.0", "id": 1, "method": "message/send", "params": {"message": message}}
    task = client.post("/", json=request).json()["result"]
    return "".join(part["text"] for artifact in task["artifacts"] for part in artifact["parts"])


class AgentTest(unittest.TestCase):
    def test_remembers_a_context(self):
        self.assertEqual(ask("2X5", "one"), "2 * 5 is 10.")
        self.assertEqual(ask("and that plus 34?", "one"), "10 + 34 is 44.")
        self.assertIn("nothing was calculated", ask("and that plus 34?", "two"))

    def test_the_card_tells_its_skills(self):
        card = client.get("/.well-known/agent-card.json").json()
        self.assertEqual([s["id"] for s in card["skills"]], ["get_weather", "get_time", "calculator"])
        self.assertTrue(card["capabilities"]["streaming"])


if __name__ == "__main__":
    unittest.main()
