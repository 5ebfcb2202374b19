"""Tests of the agent with its scripted model: python -m unittest"""

import os
import unittest

# No real model and no waiting, whatever the shell that runs the tests has set.
for name in ("BEDROCK_MODEL_ID", "ANTHROPIC_API_KEY", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
    os.environ.pop(name, None)
os.environ["SCRIPTED_MODEL_DELAY_MS"] = "0"

from bedrock_agentcore.runtime.context import RequestContext

import agent as subject

# Digits and dashes that are no arithmetic.
CONTEXT = RequestContext(session_id="2024-11-22-0123456789-session-of-33")


def ask(prompt, user_id="1"):
    return subject.invoke({"prompt": prompt, "user_id": user_id}, CONTEXT)


class AgentTest(unittest.TestCase):
    def setUp(self):
        subject.agent.messages.clear()  # a new session

    def test_remembers_the_session(self):
        self.assertEqual(ask("what is the weather?"), "Hello Maira. It is sunny in your city.")
        self.assertEqual(ask("2X5"), "Hello Maira. 2 * 5 is 10.")
        self.assertEqual(ask("and that plus 34?"), "Hello Maira. 10 + 34 is 44.")

    def test_a_new_session_knows_nothing(self):
        self.assertIn("nothing was calculated", ask("And plus 10?"))

    def test_knows_the_users(self):
        self.assertEqual(ask("2X5", user_id=3), "Hello Mark. 2 * 5 is 10.")
        self.assertIn("no user '9'", ask("2X5", user_id="9")["error"])

    def test_a_payload_without_a_prompt(self):
        self.assertIn("no prompt", ask(None)["error"])

    def test_the_model_is_told_the_session(self):
        ask("2X5")
        self.assertIn(CONTEXT.session_id, subject.agent.messages[0]["content"][0]["text"])


if __name__ == "__main__":
    unittest.main()
