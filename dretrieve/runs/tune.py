"""One fusion weight for several dev sets: every candidate is tried on all of them, the best mean wins.

TASER tunes one alpha of 0.5, 0.6 … 2.0 on two dev sets together. Each set counts the same, whatever its
size; of equal candidates the smallest wins.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np

from dretrieve.errors import DataError, UsageError, quoted
from dretrieve.metrics.answers import Answers
from dretrieve.metrics.judged import judge
from dretrieve.metrics.measure import Measure
from dretrieve.runs.fuse import FuseOptions, Pair, fuse
from dretrieve.text.qrels import qrels_of
from dretrieve.types import Progress, Qrels, Silent

LARGEST_GRID = 10_000


@dataclass(frozen=True, slots=True)
class DevSet:
    """One dev set: what it is called, its two runs, its judgements."""

    name: str
    pair: Pair
    qrels: Qrels


@dataclass(frozen=True, kw_only=True, slots=True)
class Curve:
    """What was tried.

    Attributes:
        measure: its name.
        sets: the dev sets' names.
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
    measure: Measure,
    *,
    threads: int = 1,
    progress: Progress | None = None,
) -> Curve:
    """Return the measure of every alpha on every set.

    Args:
        sets: at least one.
        options: the fusion, but for its alpha.
        alphas: at least one, ascending.
        measure: larger is better.
        threads: for each fusion.
        progress: is told the fusions done.

    Raises:
        DataError: no query of a set's runs is judged.
    """
    progress = progress or Silent()
    for dev in sets:
        if not set(dev.qrels.query_ids) & set(dev.pair.query_ids):
            held, judged = (next(iter(ids), "none") for ids in (dev.pair.query_ids, dev.qrels.query_ids))
            raise DataError(
                f"none of the queries of the runs for {dev.name} is in it (a run has {held!r}, the set "
                f"{judged!r}); give the runs of this split"
            )
    progress.start("tune", len(alphas) * len(sets), "fusions")
    values = []
    for alpha in alphas:
        row = []
        for dev in sets:
            fused = fuse(dev.pair, replace(options, alpha=alpha), threads=threads)
            row.append(measure.aggregate(measure.values(judge(fused, dev.qrels))))
            progress.advance(1)
        values.append(row)
    progress.finish()
    return Curve(measure=str(measure), sets=[dev.name for dev in sets], alphas=list(alphas), values=values)


def judge_by_answers(
    pair: Pair,
    query_ids: Sequence[str],
    answers: Sequence[Answers],
    text_of: Callable[[str], str | None],
    depth: int,
) -> Qrels:
    """Return judgements in which a passage is relevant if it holds an answer: each is looked at once.

    Args:
        pair: the runs; passages beyond ``depth`` of both lists are not looked at.
        query_ids: [Q] the questions; each is in the result.
        answers: [Q].
        text_of: a passage's text by id, None when the corpus lacks it.
        depth: hits of each list.

    Raises:
        DataError: a run names a passage that the corpus lacks.
    """
    rows = {query_id: row for row, query_id in enumerate(pair.query_ids)}
    judgements: dict[str, dict[str, int]] = {}
    for query_id, accepted in zip(query_ids, answers, strict=True):
        judged = judgements.setdefault(query_id, {})
        row = rows.get(query_id)
        for passage_id in _hits(pair, row, depth) if row is not None and accepted else ():
            text = text_of(passage_id)
            if text is None:
                raise DataError(
                    f"passage {passage_id!r} of a dev run is not in the corpus; give the --corpus that was "
                    "searched"
                )
            if accepted.found_in(text):
                judged[passage_id] = 1
    return qrels_of(judgements)


def _hits(pair: Pair, query: int, depth: int) -> Iterator[str]:
    """Yield the passages of both lists of a query, each once."""
    found = []
    for rows, (offsets, passages, _) in zip(pair.rows, (pair.dense, pair.bm25), strict=True):
        row = int(rows[query])
        if row >= 0:
            start = int(offsets[row])
            found.append(passages[start : min(int(offsets[row + 1]), start + depth)])
    for passage in np.unique(np.concatenate(found)).tolist() if found else ():
        yield pair.passage_ids[passage]
