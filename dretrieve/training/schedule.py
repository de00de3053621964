"""The learning rate as a pure function of the step."""

from __future__ import annotations

import math
from typing import Literal

ScheduleName = Literal["linear", "cosine", "constant"]
SCHEDULES: tuple[ScheduleName, ...] = ("linear", "cosine", "constant")


def rate_factor(step: int, *, total: int, warmup: int, schedule: ScheduleName) -> float:
    """Return what the peak learning rate is multiplied with at ``step`` (from 0), between 0 and 1.

    Linear warm-up over ``warmup`` steps, then the schedule down to 0 at ``total``. As in transformers, except
    that the first step already moves: factor ``(step + 1) / warmup`` instead of ``step / warmup``.
    """
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "constant":
        return 1.0
    done = (step - warmup) / max(1, total - warmup)
    return 1.0 - done if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))


def warmup_steps(steps: int, ratio: float, total: int) -> int:
    """Return the warm-up's length: ``steps`` when above 0, else ``ratio`` of ``total`` rounded up."""
    return steps if steps > 0 else math.ceil(ratio * total)
