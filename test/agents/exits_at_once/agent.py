"""Ends with a traceback and exit code 3 before it opens its port."""

import sys
import traceback


def connect():
    raise RuntimeError("DATABASE_URL is not set")


try:
    connect()
except RuntimeError:
    traceback.print_exc()
    sys.exit(3)
