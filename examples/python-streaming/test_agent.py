"""Tests of the agent with its scripted model: python -m unittest"""

import asyncio
import os
import unittest

# No real model and no waiting, whatever the shell that runs the tests has set.
for name in ("BEDROCK_MODEL_ID", "ANTHROPIC_API_KEY", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
    os.environ.pop(name, None)
os.environ["SCRIPTED_MODEL_DELAY_MS"] = "0"

import agent as subject
from arithmetic import evaluate
from assistant import find_sum, script


def ask(payload):
    async def collect():
        return [chunk async for chunk in subject.invoke(payload)]

    return asyncio.run(collect())


def answer(prompt):
    return "".join(ask({"prompt": prompt}))


class AgentTest(unittest.TestCase):
    def setUp(self):
        subject.agent.messages.clear()  # a new session

    def test_remembers_the_session(self):
        self.assertEqual(answer("2X5"), "2 * 5 is 10.")
        self.assertEqual(answer("and that plus 34?"), "10 + 34 is 44.")
        self.assertEqual(answer("And minus 4"), "44 - 4 is 40.")

    def test_a_new_session_knows_nothing(self):
        self.assertIn("nothing was calculated", answer("And plus 10?"))

    def test_streams_word_by_word(self):
        self.assertEqual(ask({"prompt": "6 times 7"}), ["6 ", "* ", "7 ", "is ", "42."])

    def test_calls_every_tool_asked_for(self):
        text = answer("What's the weather in New York, what time is it in Europe/Paris, and what is 2X5?")
        self.assertRegex(text, r"^2 \* 5 is 10\. It is sunny in New York\. It is \d{4}-\d\d-\d\d \d\d:\d\d:\d\d CES?T\.$")
        used = [b["toolUse"]["name"] for m in subject.agent.messages for b in m["content"] if "toolUse" in b]
        self.assertEqual(used, ["calculator", "get_weather", "get_time"])

    def test_says_what_it_can_do(self):
        self.assertIn("three things", answer("Write me a poem"))

    def test_a_tool_that_fails_does_not_end_the_session(self):
        self.assertIn("division by zero", answer("1 / 0"))
        self.assertEqual(answer("2X5"), "2 * 5 is 10.")

    def test_a_payload_without_a_prompt(self):
        for payload in ({}, {"prompt": 7}, {"prompt": " "}, None, [1]):
            with self.subTest(payload=payload):
                (chunk,) = ask(payload)
                self.assertIn("no prompt", chunk["error"])

    def test_an_error_in_the_middle_follows_the_words_before_it(self):
        with self.assertLogs(subject.app.logger, "ERROR"):
            *words, error = ask({"prompt": "Break off in the middle"})
        self.assertEqual("".join(words), "I begin to answer, and then ")
        self.assertEqual(error, {"error": "the model broke off, as you asked", "error_type": "RuntimeError"})
        self.assertEqual(answer("2X5"), "2 * 5 is 10.")

    def test_an_error_of_the_model_reaches_the_caller(self):
        working = subject.agent.model
        self.addCleanup(setattr, subject.agent, "model", working)

        class Broken(type(working)):
            async def stream(self, *args, **kwargs):
                raise RuntimeError("no model today")
                yield

        subject.agent.model = Broken(script)
        with self.assertLogs(subject.app.logger, "ERROR"):
            self.assertEqual(ask({"prompt": "2X5"}), [{"error": "no model today", "error_type": "RuntimeError"}])
        subject.agent.model = working
        self.assertEqual(answer("2X5"), "2 * 5 is 10.")


class FindSumTest(unittest.TestCase):
    def test_finds(self):
        for prompt, want in {
            "2X5": "2 * 5",
            "2x5": "2 * 5",
            "2 × 5": "2 * 5",
            "What is 6 times 7?": "6 * 7",
            "Calculate (1 + 2) * 3.5, please": "( 1 + 2 ) * 3.5",
            "-3 plus 5": "- 3 + 5",
            "2 to the power of 10": "2 ** 10",
            "and that plus 34?": "that + 34",
            "And plus 10?": "that + 10",
            "divide 10 by 2": None,
            "what time is it": None,
            "how does x-ray work in 2026?": None,
        }.items():
            with self.subTest(prompt=prompt):
                self.assertEqual(find_sum(prompt), want)


class ArithmeticTest(unittest.TestCase):
    def test_values(self):
        for expression, want in {"2 * 5": 10, "7 / 2": 3.5, "6 / 2": 3, "-2 ** 2": -4, "7 // 2 + 7 % 4": 6}.items():
            with self.subTest(expression=expression):
                self.assertEqual(evaluate(expression), want)

    def test_refuses(self):
        for expression in (
            "__import__('os').getcwd()", "a + 1", "'a' * 9", "True + 1", "1 if 1 else 2", "1 +", "",
            "9 ** 9 ** 9", "(-8) ** 0.5", "1" * 201,
        ):  # fmt: skip
            with self.subTest(expression=expression), self.assertRaises(ValueError):
                evaluate(expression)


if __name__ == "__main__":
    unittest.main()
