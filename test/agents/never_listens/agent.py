"""Runs, says so, and never opens its port."""

import time

print("loading a model that never finishes loading", flush=True)
while True:
    time.sleep(3600)
