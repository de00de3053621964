"""Batches made ahead of the model by a thread, and how long the model waited for them."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

from dretrieve.training.batches import Choosing, TrainingSet, compose
from dretrieve.training.plan import Plan, SetShare
from dretrieve.training.processes import Processes
from dretrieve.training.step import Prepared, StepOptions, prepare

AHEAD = 2


class Feed:
    """A phase's batches by number.

    Args:
        sets: the phase's sets, in order.
        batch: queries per step over all processes.
        choosing: how passages are chosen; its seed also orders the examples.
        options: of the step.
        processes: who takes part.
        packed: whether both sides share pieces.
    """

    def __init__(
        self,
        sets: Sequence[TrainingSet],
        batch: int,
        choosing: Choosing,
        options: StepOptions,
        processes: Processes,
        *,
        packed: bool,
    ) -> None:
        shares = [SetShare(name=of.name, examples=len(of.query_ids), weight=of.weight) for of in sets]
        self.plan = Plan(shares, batch, choosing.seed)
        self._sets, self._choosing, self._options = tuple(sets), choosing, options
        self._processes, self._packed = processes, packed

    def make(self, step: int) -> Prepared:
        """Return this process's part of batch ``step``: a pure function of the step."""
        draw = self.plan.draw(step)
        batch = compose(self._sets[draw.set_index], draw, self._choosing)
        return prepare(batch, self._options, self._processes, packed=self._packed)

    def between(self, start: int, stop: int) -> Iterator[tuple[Prepared, float]]:
        """Yield the batches from ``start`` to ``stop`` (exclusive) with the seconds waited for each."""
        yield from ahead(self.make, start, stop)


def ahead(make: Callable[[int], Prepared], start: int, stop: int) -> Iterator[tuple[Prepared, float]]:
    """Yield ``make(start) … make(stop - 1)``, a few of them under way in a thread, and the waiting times."""
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="batches") as pool:
        waiting: deque[Future[Prepared]] = deque()
        step = start
        try:
            while step < stop or waiting:
                while step < stop and len(waiting) < AHEAD:
                    waiting.append(pool.submit(make, step))
                    step += 1
                began = time.perf_counter()
                prepared = waiting.popleft().result()
                yield prepared, time.perf_counter() - began
        finally:
            for future in waiting:
                future.cancel()
