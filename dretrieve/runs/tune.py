"""One fusion weight for several dev sets: every candidate is tried on all of them, the best mean wins.

TASER tunes one alpha of 0.5, 0.6 … 2.0 on two dev sets together. Each set counts the same, whatever its
size; of equal candidates the smallest wins.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Any

from dretrieve.errors import DataError, UsageError, quoted
from dretrieve.runs.fuse import Pair, fuse
from dretrieve.runs.options import FuseOptions
from dretrieve.types import SILENT, Progress, Run

LARGEST_GRID = 10_000


@dataclass(frozen=True, slots=True)
class DevSet:
    """One dev set.

    Attributes:
        pair: its two runs.
        query_ids: its judged queries.
        worth: measures a fused run on them; larger is better.
    """

    name: str
    pair: Pair
    query_ids: Sequence[str]
    worth: Callable[[Run], float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """What was tried.

    Attributes:
        alphas: [A] in ascending order.
        values: [A][S] the measure of each alpha on each set.
    """

    measure: str
    sets: Sequence[str]
    alphas: Sequence[float]
    values: Sequence[Sequence[float]]

    @property
    def means(self) -> list[float]:
        """The mean over sets of each alpha."""
        return [sum(row) / len(row) for row in self.values]

    @property
    def best(self) -> float:
        """The alpha with the largest mean, the smallest of equals."""
        means = self.means
        return self.alphas[means.index(max(means))]

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {
            "measure": self.measure,
            "sets": list(self.sets),
            "alphas": list(self.alphas),
            "values": [list(row) for row in self.values],
            "means": self.means,
            "best": self.best,
        }


def parse_alphas(text: str) -> list[float]:
    """Return the candidates of ``start:stop:step`` (both ends are candidates) or of ``a,b,c``, ascending.

    Raises:
        UsageError: not such a text, or nothing in it.
    """
    try:
        if ":" in text:
            parts = [Decimal(part) for part in text.split(":")]
            if len(parts) != 3 or not all(part.is_finite() for part in parts):
                raise InvalidOperation
            found = _steps(text, *parts)
        else:
            found = [Decimal(part) for part in text.split(",") if part.strip()]
    except InvalidOperation:
        raise UsageError(
            f"--tune {quoted(text)} is no range; write start:stop:step, for example 0.5:2.0:0.1"
        ) from None
    if not found:
        raise UsageError(f"--tune {quoted(text)} holds no alpha; write start:stop:step with start up to stop")
    if any(not alpha.is_finite() or alpha < 0 for alpha in found):
        raise UsageError(f"--tune {quoted(text)} holds an alpha below 0; weights start at 0")
    return sorted({float(alpha) for alpha in found})


def _steps(text: str, start: Decimal, stop: Decimal, step: Decimal) -> list[Decimal]:
    if step <= 0:
        raise UsageError(f"--tune {quoted(text)} has step {step}; it must be above 0")
    count = int((stop - start) / step) + 1 if stop >= start else 0
    if count > LARGEST_GRID:
        raise UsageError(f"--tune {quoted(text)} holds {count:,} alphas; give at most {LARGEST_GRID:,}")
    return [start + turn * step for turn in range(count)]


def tune_alpha(
    sets: Sequence[DevSet],
    options: FuseOptions,
    alphas: Sequence[float],
    measure: str,
    *,
    threads: int = 1,
    progress: Progress = SILENT,
) -> Curve:
    """Return the measure of every alpha on every set; the alphas rise, and there is one of each at least.

    Raises:
        DataError: no query of a set's runs is judged.
    """
    for dev in sets:
        if not set(dev.query_ids) & set(dev.pair.query_ids):
            held, judged = (next(iter(ids), "none") for ids in (dev.pair.query_ids, dev.query_ids))
            raise DataError(
                f"none of the queries of the runs for {dev.name} is in it (a run has {held!r}, the set "
                f"{judged!r}); give the runs of this split"
            )
    progress.start("tune", len(alphas) * len(sets), "fusions")
    values = []
    for alpha in alphas:
        row = []
        for dev in sets:
            row.append(dev.worth(fuse(dev.pair, replace(options, alpha=alpha), threads=threads)))
            progress.advance(1)
        values.append(row)
    progress.finish()
    return Curve(measure=measure, sets=[dev.name for dev in sets], alphas=list(alphas), values=values)
