"""How widely a fast search looks: chosen on one half of a sample, measured on the other, said by `search`."""

from __future__ import annotations

import json
import math
import shutil
import signal
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from threading import Event

import numpy as np
import pytest

from dretrieve.errors import Interrupted, UsageError, VerificationError
from dretrieve.index import token_search, token_tuning
from dretrieve.index.token import open_index
from dretrieve.index.token_tuning import LADDERS, SOFT_LADDERS, Tuned
from dretrieve.jobs import index as index_job
from dretrieve.jobs import search
from dretrieve.store.interrupt import Signals
from dretrieve.types import Vectors, offsets_of
from tests.common import Told, indexing, searched, searching

ROWS, DIM = 900, 16


def texts(count: int, seed: int) -> Vectors:
    """Return texts of 4 to 12 unit tokens around 300 middles."""
    chance = np.random.default_rng(seed)
    middles = np.random.default_rng(9).standard_normal((300, DIM))
    lengths = chance.integers(4, 13, count)
    values = middles[chance.integers(0, 300, lengths.sum())]
    values = values + 0.4 * chance.standard_normal(values.shape)
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return Vectors(values.astype(np.float16), offsets_of(lengths))


def salient(of: Vectors) -> Vectors:
    """Return the texts with saliences, of which 6 in 10 are 0; the first text has none above."""
    assert of.offsets is not None
    chance = np.random.default_rng(7)
    weights = chance.random(len(of.values)) * (chance.random(len(of.values)) < 0.34)
    weights[of.offsets[:-1]] = 1
    weights[: of.offsets[1]] = 0
    return Vectors(of.values, of.offsets, weights.astype(np.float16))


def measured_rows(rows: Sequence[int], *counts: int) -> list[int]:
    """Return of these queries the half that an index measures on; ``counts`` of them are sampled in turn."""
    for count in counts:
        rows = [rows[at * len(rows) // count] for at in range(count)]
    return [*rows[1::2]]


@pytest.fixture
def build(write_embeddings, tmp_path: Path) -> Callable[..., Path]:
    write_embeddings("emb", [f"p{row}" for row in range(ROWS)], texts(ROWS, 0), score="maxsim_sum")
    names = [f"q{row}" for row in range(80)]
    write_embeddings("asked", names, texts(80, 1), side="query", score="maxsim_sum")

    def made(name: str, **settings) -> Path:
        index_job.run(indexing(tmp_path, name, settings=settings))
        return tmp_path / name

    return made


def hits(work: Path, index: Path, progress=None, **settings) -> list[list[tuple[str, float]]]:
    k = settings.pop("k", 10)
    asked = {"query_embeddings": work / "asked", "hits": k, "settings": settings}
    config = searching(work, f"run {k} {settings}.trec", index, **asked)
    return searched(config, *filter(None, [progress]))


def overlaps(fast: list[list[tuple[str, float]]], exact: list[list[tuple[str, float]]]) -> np.ndarray:
    """Return the share of each query's exact hits that a fast search found."""
    pairs = zip(fast, exact, strict=True)
    return np.array([len({row for row, _ in a} & {row for row, _ in b}) / len(b) for a, b in pairs])


def test_a_query_without_tokens_finds_nothing_and_is_counted(build, write_embeddings, tmp_path: Path) -> None:
    index, noted = build("index"), Told()
    asked = Vectors.joined([texts(2, 1), Vectors(np.empty((0, DIM), np.float16), np.zeros(2, np.int64))])
    shutil.rmtree(tmp_path / "asked")
    write_embeddings("asked", ["a", "b", "none"], asked, side="query", score="maxsim_sum")
    assert [len(of) for of in hits(tmp_path, index, noted)] == [10, 10]
    assert "1 of 3 queries have no tokens, and find nothing" in noted.lines


def test_a_fast_search_has_the_overlap_that_it_says(build, tmp_path: Path) -> None:
    index, noted = build("index", queries=str(tmp_path / "asked"), target=0.95), Told()
    fast, exact = hits(tmp_path, index, noted), hits(tmp_path, index, mode="exact")
    shares, tuned = overlaps(fast, exact), Tuned.open(index)
    assert tuned.counts[10] is not None
    assert abs(shares[measured_rows(range(80), 64)].mean() - tuned.measured[10]) <= 0.01
    assert shares.mean() >= 0.93
    hundred = overlaps(hits(tmp_path, index, k=100), hits(tmp_path, index, k=100, mode="exact"))
    assert abs(hundred[measured_rows(range(80), 64)].mean() - tuned.measured[100]) <= 0.01
    assert f"overlap@10 {tuned.measured[10]:.3f}" in "".join(noted.lines)
    assert "measured on 32 given queries" in "".join(noted.lines)
    # what is found has its canonical score
    scores = [dict(all_) for all_ in exact]
    assert all(scores[q].get(row, score) == score for q, mine in enumerate(fast) for row, score in mine)


def test_a_fast_search_hears_a_signal_between_queries(build, tmp_path: Path, monkeypatch) -> None:
    index, heard, calls, propose = build("index", target=0.5), Event(), [], token_search.propose

    class Heard(Signals):
        def check(self) -> None:
            if self.received:
                heard.set()
            super().check()

    signals = Heard()

    def second(*given: object) -> int:
        calls.append(given)
        if len(calls) == 2:
            signals.set(signal.SIGTERM)
        elif len(calls) > 2:
            heard.wait(1)  # so that what is searched until then does not depend on threads
        found: int = propose(*given)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(search, "interruptible", lambda: nullcontext(signals))
        patch.setattr(token_search, "propose", second)
        patch.setattr(token_search, "QUERIES_AT_ONCE", 2)
        with pytest.raises(Interrupted, match="SIGTERM"):
            hits(tmp_path, index)
    assert 2 <= len(calls) < 40, "of 80 queries"
    assert len(hits(tmp_path, index)) == 80


def test_more_is_looked_at_for_a_higher_target_and_all_where_none_is_enough(build, monkeypatch) -> None:
    monkeypatch.setattr(token_tuning, "LADDERS", LADDERS | {10: ((10, 10, 4), *LADDERS[10])})
    low, high = (Tuned.open(build(name, target=at)) for name, at in (("low", 0.5), ("high", 0.999)))
    assert low.counts[10] is not None
    assert high.counts[10] is None or high.counts[10].coded > low.counts[10].coded
    assert low.queries == "32 pieces of passages"
    monkeypatch.setattr(token_tuning, "LADDERS", {10: ((11, 10, 4),), 100: ((101, 100, 4),)})
    none = build("none", target=1)
    assert Tuned.open(none).counts == {10: None, 100: None}
    assert open_index(none).tuned is not None


@pytest.mark.parametrize("weighted", [False, True])
def test_an_index_is_tuned_for_several_alignments(write_embeddings, tmp_path: Path, weighted: bool) -> None:
    names, (passages, asked) = [f"q{row}" for row in range(80)], (texts(ROWS, 0), texts(80, 1))
    if weighted:
        passages, asked = salient(passages), salient(asked)
    write_embeddings("emb", [f"p{row}" for row in range(ROWS)], passages, score="alignment")
    write_embeddings("asked", names, asked, side="query", score="alignment")
    index = tmp_path / "index"
    settings = {"queries": str(tmp_path / "asked"), "target": 0.95}
    index_job.run(indexing(tmp_path, settings=settings))
    every = json.loads((index / "fast.json").read_text())["alignments"]
    assert list(every) == ["top1", "top4", "p1.5", "da,k=1,eps=0.05"]
    for word in every:
        mine = Tuned.open(index, word)
        assert mine.alignments == ()
        assert mine.counts[10] is not None
        fast, exact = (hits(tmp_path, index, alignment=word, mode=mode) for mode in ("fast", "exact"))
        shares = overlaps(fast, exact)
        assert shares.mean() >= 0.93
        rows = measured_rows(range(int(weighted), 80), 64, 48)  # a query without salience finds all alike
        assert abs(shares[rows].mean() - mine.measured[10]) <= 0.01
    hard, soft = Tuned.open(index, "top2"), Tuned.open(index, "da,k=2,eps=0.1")
    assert hard.said.endswith("measured on 24 given queries by top1, top4, p1.5")
    assert soft.said.endswith("by da,k=1,eps=0.05")
    several = [Tuned.open(index, word).counts[10] for word in hard.alignments]
    assert hard.counts[10] is not None
    for name in ("probes", "listed", "coded", "rescored"):
        assert getattr(hard.counts[10], name) == max(getattr(counts, name) for counts in several)


def test_counts_grow_with_the_hits_wanted(build) -> None:
    tuned = Tuned.open(build("index", target=0.5))
    ten, hundred = tuned.counts[10], tuned.counts[100]
    assert ten is not None
    assert hundred is not None
    assert [tuned.for_hits(k) for k in (3, 10, 100)] == [ten, ten, hundred]
    between, many = tuned.for_hits(11), tuned.for_hits(950)
    assert between is not None
    assert many is not None
    for name in ("listed", "coded", "rescored"):
        a, b = getattr(ten, name), getattr(hundred, name)
        assert getattr(between, name) == math.ceil(a + (b - a) / 90)
        assert getattr(many, name) == math.ceil(9.5 * b)
    assert many.probes == hundred.probes
    assert many.rescored >= 950
    unsure = replace(tuned, counts={10: None, 100: hundred})
    assert unsure.for_hits(5) is None
    assert unsure.for_hits(11) == hundred
    assert replace(tuned, counts={10: ten, 100: None}).for_hits(11) is None
    for ladders in (LADDERS, SOFT_LADDERS):
        assert all(step[1] >= k for k, ladder in ladders.items() for step in ladder)


def test_the_same_bytes_for_any_threads(build, tmp_path: Path) -> None:
    first = (build("index") / "fast.json").read_bytes()
    index_job.run(indexing(tmp_path, "other", threads=2))
    assert (tmp_path / "other" / "fast.json").read_bytes() == first
    assert json.loads(first)["target"] == 0.99


def test_what_are_no_queries_is_refused(build, write_embeddings, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="queries with vectors per token of 16 dimensions are wanted"):
        build("index", queries=str(tmp_path / "emb"))
    given = {"side": "query", "score": "maxsim_sum", "model": "n"}
    other = write_embeddings("other", ["q"], texts(1, 1), **given)
    with pytest.raises(VerificationError, match="passages of another model .n. than those in .*emb .m."):
        build("index", queries=str(other))
    with pytest.raises(UsageError, match="target"):
        build("index", target=1.5)
