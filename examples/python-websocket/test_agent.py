"""Tests of the agent with its scripted model: python -m unittest"""

import os
import unittest

# No real model, whatever the shell that runs the tests has set.
for name in ("BEDROCK_MODEL_ID", "ANTHROPIC_API_KEY", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
    os.environ.pop(name, None)
os.environ["SCRIPTED_MODEL_DELAY_MS"] = "20"

from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

import agent as subject


def until_end(socket):
    """Return the text up to the end of an answer, the tools called, and the end."""
    text, tools = "", []
    while True:
        message = socket.receive_json()
        if "end" in message:
            return text, tools, message["end"]
        text += message.get("text", "")
        tools += [message["tool"]] if "tool" in message else []


class AgentTest(unittest.TestCase):
    def setUp(self):
        subject.agent.messages.clear()  # a new session

    def test_a_conversation_outlives_its_connection(self):
        client = TestClient(subject.app)
        with client.websocket_connect("/ws") as socket:
            socket.send_json({"prompt": "2X5"})
            self.assertEqual(until_end(socket), ("2 * 5 is 10.", ["calculator"], "complete"))
        with client.websocket_connect("/ws") as socket:
            socket.send_json({"prompt": "and that plus 34?"})
            self.assertEqual(until_end(socket), ("10 + 34 is 44.", ["calculator"], "complete"))

    def test_a_prompt_interrupts_the_answer_before(self):
        with TestClient(subject.app).websocket_connect("/ws") as socket:
            socket.send_json({"prompt": "What can you do?"})
            self.assertEqual(socket.receive_json(), {"text": "I "})
            socket.send_json({"prompt": "6 times 7"})
            text, _, end = until_end(socket)
            self.assertEqual(end, "interrupted")
            self.assertNotIn("everything else", text)
            self.assertEqual(until_end(socket), ("6 * 7 is 42.", ["calculator"], "complete"))

    def test_stop(self):
        with TestClient(subject.app).websocket_connect("/ws") as socket:
            socket.send_json({"prompt": "What can you do?"})
            socket.receive_json()
            socket.send_json({"stop": True})
            self.assertEqual(until_end(socket)[2], "interrupted")

    def test_an_error_of_the_model(self):
        with TestClient(subject.app).websocket_connect("/ws") as socket, self.assertLogs(subject.app.logger, "ERROR"):
            socket.send_json({"prompt": "break off"})
            self.assertEqual(until_end(socket)[2], "error")

    def test_other_messages_are_refused(self):
        for text in ("hello", '{"prompt": 1}', "[]"):
            with self.subTest(text=text), TestClient(subject.app).websocket_connect("/ws") as socket:
                socket.send_text(text)
                with self.assertRaises(WebSocketDisconnect) as closed:
                    socket.receive_json()
                self.assertEqual(closed.exception.code, 1003)


if __name__ == "__main__":
    unittest.main()
