"""Randomness without state: every draw has a seed folded from what it belongs to (a step, a text's id)."""

from __future__ import annotations

import hashlib

import numpy as np


def fold(seed: int, *parts: int | str) -> int:
    """Return a seed in ``0 … 2**63 - 1`` that depends on all arguments and on nothing else.

    Python's own ``hash`` changes with the process; SHA-256 does not.
    """
    text = "\x1f".join(str(part) for part in (seed, *parts))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *parts: int | str) -> np.random.Generator:
    """Return numpy's generator for that place."""
    return np.random.Generator(np.random.PCG64(fold(seed, *parts)))
