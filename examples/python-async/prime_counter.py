"""Work that takes a while: counting primes, piece by piece."""

import math
import time
from collections.abc import Iterator

PIECE = 100_000  # numbers sieved at once: an interpreter is never busy for long, so pings are answered


def count_primes(limit: int, pause: float = 0.0) -> Iterator[tuple[int, int]]:
    """Count the primes below limit. After each piece it yields how far it is, and the count so far.

    pause is slept after each piece, in seconds: it stands for the waiting that
    long work usually does.
    """
    small = _sieve(math.isqrt(max(limit, 1)) + 1)
    count = 0
    for low in range(0, limit, PIECE):
        high = min(low + PIECE, limit)
        piece = bytearray([1]) * (high - low)
        for p in small:
            first = max(p * p, (low + p - 1) // p * p)
            if first < high:
                piece[first - low :: p] = bytes(len(range(first, high, p)))
        if low == 0:
            piece[:2] = bytes(min(2, high))  # 0 and 1
        count += piece.count(1)
        time.sleep(pause)
        yield high, count


def _sieve(limit: int) -> list[int]:
    """Return the primes below limit."""
    marks = bytearray([1]) * limit
    marks[:2] = bytes(min(2, limit))
    for n in range(2, math.isqrt(limit) + 1):
        if marks[n]:
            marks[n * n :: n] = bytes(len(range(n * n, limit, n)))
    return [n for n in range(limit) if marks[n]]
