"""Small runs and judgements as dicts, and random ones with ties."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from dretrieve.metrics.judged import Judged, judge
from dretrieve.metrics.registry import parse_measures
from dretrieve.text.qrels import qrels_of
from tests.common import run_of

Hits = dict[str, dict[str, float]]
Judgements = dict[str, dict[str, int]]


@pytest.fixture
def judged_of() -> Callable[[Hits, Judgements], Judged]:
    return lambda hits, judgements: judge(run_of(hits), qrels_of(judgements))


@pytest.fixture
def ranking() -> Callable[..., float]:
    """``ranking("P@5", "xay", a=1, b=2)``: the measure of one query whose hits are x, a, y in this order."""

    def value(name: str, hits: str, **grades: int) -> float:
        scored = {passage: float(len(hits) - place) for place, passage in enumerate(hits)}
        judged = judge(run_of({"q": scored}), qrels_of({"q": grades}))
        (measure,) = parse_measures(name)
        return float(measure.values(judged)[0])

    return value


@pytest.fixture
def random_pair() -> Callable[..., tuple[Hits, Judgements]]:
    """``random_pair(seed)``: five queries, up to 50 hits of 60 passages with many ties, grades 0 to 3."""

    def make(seed: int, lowest: int = 0) -> tuple[Hits, Judgements]:
        rng = np.random.default_rng(seed)
        passages = np.asarray([f"d{number}" for number in range(60)])

        def some(most: int) -> Any:
            return rng.choice(passages, rng.integers(1, most), replace=False).tolist()

        queries = [f"q{number}" for number in range(5)]
        hits = {query: {p: float(rng.integers(0, 12)) / 4 for p in some(50)} for query in queries}
        judgements = {query: {p: int(rng.integers(lowest, 4)) for p in some(30)} for query in queries}
        return hits, judgements

    return make
