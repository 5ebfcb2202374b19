"""Tests of the agent with its scripted model: python -m unittest"""

import os
import threading
import unittest

# No real model and no waiting, whatever the shell that runs the tests has set.
for name in ("BEDROCK_MODEL_ID", "ANTHROPIC_API_KEY", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
    os.environ.pop(name, None)
os.environ["SCRIPTED_MODEL_DELAY_MS"] = "0"
os.environ["PAUSE_SECONDS"] = "0.001"

import agent as subject
from prime_counter import count_primes


def ask(prompt):
    return subject.invoke({"prompt": prompt})


def ping():
    return subject.app.get_current_ping_status().value


class AgentTest(unittest.TestCase):
    def setUp(self):
        subject.agent.messages.clear()  # a new session
        subject.job = None

    def test_works_in_the_background(self):
        self.assertEqual(ask("How far are you?"), "Nothing was started in this session.")
        held = threading.Event()
        counting = subject.count_primes
        self.addCleanup(setattr, subject, "count_primes", counting)

        def hold(limit, pause):
            for i, progress in enumerate(counting(limit, pause)):
                yield progress
                if i == 0:
                    held.wait()

        subject.count_primes = hold
        self.assertIn("I started", ask("Count the primes below 1,000,000"))
        while not subject.job.reached:
            pass
        self.assertEqual(ping(), "HealthyBusy")
        self.assertEqual(ask("How far are you?"), "Not done yet: 9592 primes below 100000, of 1000000.")
        self.assertIn("still busy", ask("Count the primes below 10"))
        held.set()
        while ping() == "HealthyBusy":
            pass
        self.assertEqual(ask("What is the result?"), "There are 78498 primes below 1000000.")

    def test_work_that_fails_ends(self):
        counting = subject.count_primes
        self.addCleanup(setattr, subject, "count_primes", counting)
        subject.count_primes = lambda *_: [][0]
        ask("Count the primes below 100")
        while ping() == "HealthyBusy":
            pass
        self.assertIn("The work failed", ask("Are you done?"))

    def test_a_limit_out_of_bounds(self):
        self.assertIn("not from 2 to", ask("Count the primes below 1"))
        self.assertEqual(ping(), "Healthy")


class CountPrimesTest(unittest.TestCase):
    def test_counts(self):
        for limit, want in {1: 0, 2: 0, 3: 1, 10: 4, 100_000: 9592, 100_003: 9592, 100_004: 9593, 200_001: 17984}.items():
            with self.subTest(limit=limit):
                self.assertEqual(list(count_primes(limit))[-1], (limit, want))


if __name__ == "__main__":
    unittest.main()
