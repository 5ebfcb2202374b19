"""An agent that works in the background while you go on talking to it.

A tool starts the work and returns at once. While it runs, /ping answers
HealthyBusy, so the runtime keeps the session though nobody calls it; when it is
done, the idle time of the session begins.
"""

import os
import threading

from bedrock_agentcore.runtime import BedrockAgentCoreApp
from strands import Agent, tool

import researcher
from models import pick_model
from prime_counter import count_primes

app = BedrockAgentCoreApp()

PAUSE = float(os.environ.get("PAUSE_SECONDS") or 0.2)
MAX_LIMIT = 100_000_000


class Job:
    """One piece of work in the background. Threads only set its attributes."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.reached = 0
        self.count = 0
        self.error = ""
        self.done = False

    def run(self, task: int) -> None:
        try:
            for self.reached, self.count in count_primes(self.limit, PAUSE):
                pass
        except Exception as e:
            app.logger.exception("the work failed")
            self.error = str(e)
        finally:
            self.done = True
            app.complete_async_task(task)  # else the session would stay busy until its end
            app.logger.info("the work is done")

    def __str__(self) -> str:
        if self.error:
            return f"The work failed: {self.error}."
        if self.done:
            return f"There are {self.count} primes below {self.limit}."
        return f"Not done yet: {self.count} primes below {self.reached}, of {self.limit}."


job: Job | None = None


@tool
def start_counting(limit: int) -> str:
    """Start to count the primes below a number, in the background.

    Args:
        limit: The number, 2 to 100000000.
    """
    global job
    if not 2 <= limit <= MAX_LIMIT:
        raise ValueError(f"{limit} is not from 2 to {MAX_LIMIT}")
    if job and not job.done:
        return f"I am still busy. {job}"
    job = Job(limit)
    task = app.add_async_task("count primes", {"limit": limit})
    threading.Thread(target=job.run, args=(task,), daemon=True).start()
    return f"I started to count the primes below {limit}. Ask me how far I am."


@tool
def get_progress() -> str:
    """Tell how far the work in the background is, or its result."""
    return str(job) if job else "Nothing was started in this session."


agent = Agent(
    model=pick_model(researcher.script),
    tools=[start_counting, get_progress],
    system_prompt="You count primes for the user, in the background, with your tools.",
    callback_handler=None,
)
turn = threading.Lock()  # an Agent answers one prompt at a time; the next one waits


@app.entrypoint
def invoke(payload):
    """Answer payload["prompt"], in text."""
    prompt = payload.get("prompt") if isinstance(payload, dict) else payload
    if not isinstance(prompt, str) or not prompt.strip():
        return {"error": 'the payload has no prompt; send for example {"prompt": "Count the primes below 2000000"}'}
    with turn:
        return agent(prompt).message["content"][0]["text"]


if __name__ == "__main__":
    app.run()
