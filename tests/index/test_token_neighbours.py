"""Search by neighbours: the passages found are those by hand, whatever is indexed how, and are said."""

from __future__ import annotations

import signal
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dretrieve.errors import Interrupted, UsageError
from dretrieve.index import exact, token_neighbours
from dretrieve.index.token_prune import pruned
from dretrieve.jobs import index as index_job
from dretrieve.jobs import search
from dretrieve.runs.read import read_run
from dretrieve.store.interrupt import Signals
from dretrieve.store.manifest import read_manifest
from dretrieve.types import Vectors, offsets_of
from tests.common import Told, indexing, searching

DIM, QUERIES = 12, 8
QUERY_IDS = [f"q{row}" for row in range(QUERIES)]


def texts(count: int, lengths: tuple[int, int], seed: int) -> Vectors:
    """Return texts of whole numbers, so that many products are equal, with saliences of which some are 0."""
    chance = np.random.default_rng(seed)
    tokens = chance.integers(*lengths, count)
    values = np.rint(2 * chance.standard_normal((tokens.sum(), DIM)))
    values[:, 0] += 1 - np.abs(values).any(axis=1)
    weights = chance.integers(0, 4, len(values)).astype(np.float16)
    return Vectors(values.astype(np.float16), offsets_of(tokens), weights)


def by_hand(
    passages: Vectors, looked: Vectors, query: Vectors, asked: Vectors, tokens: int, candidates: int | None
) -> tuple[list[tuple[int, float]], int]:
    """Return the passages found with their scores by top1 (equations 1 and 2), and how many were reached."""
    assert passages.offsets is not None
    assert passages.weights is not None
    assert looked.offsets is not None
    assert asked.weights is not None
    assert query.weights is not None
    owners = np.repeat(np.arange(len(passages)), np.diff(looked.offsets))
    counted = [row for row in range(len(asked.values)) if asked.weights[row] > 0] or range(len(asked.values))
    best: dict[int, dict[int, float]] = {}
    for row in counted:
        dots = looked.values.astype(np.float64) @ asked.values[row].astype(np.float64)
        for token in sorted(range(len(dots)), key=lambda at: (-dots[at], at))[:tokens]:
            of = best.setdefault(int(owners[token]), {})
            of[row] = max(of.get(row, -np.inf), dots[token])
    order = sorted(best, key=lambda passage: (-sum(best[passage].values()), passage))
    found = []
    for passage in order[:candidates]:
        span, top, total = slice(*passages.offsets[passage : passage + 2]), 0.0, 0.0
        for row in range(len(query.values)):
            dots = passages.values[span].astype(np.float64) @ query.values[row].astype(np.float64)
            share = float(query.weights[row]) * float(passages.weights[span][dots.argmax()])
            top, total = top + share * dots.max(), total + share
        found.append((passage, np.float32(top / total if total else 0.0)))
    return found, len(best)


@pytest.mark.parametrize(
    ("rows", "coded", "shards", "group"), [(120, False, 1, 1 << 13), (700, True, 3, 7)], ids=["few", "many"]
)
def test_runs_are_those_by_hand(
    write_embeddings, tmp_path: Path, monkeypatch, rows: int, coded: bool, shards: int, group: int
) -> None:
    monkeypatch.setattr(token_neighbours, "QUERY_TOKENS", group)
    monkeypatch.setattr(exact, "LARGEST_BLOCK", 1 << 11)
    passages, asked = texts(rows, (9, 15), 0), texts(QUERIES, (0, 6), 1)
    ids = [f"p{row:03d}" for row in range(rows)]
    write_embeddings("emb", ids, passages, shards=shards, score="alignment")
    write_embeddings("queries", QUERY_IDS, asked, side="query", score="alignment")
    settings = {"keep": 0.6}
    index_job.run(indexing(tmp_path, settings=settings))
    assert (tmp_path / "index" / "codes.npy").exists() == coded
    looked = pruned(passages, 0.6)
    for number, given in enumerate(
        (
            {"neighbours": 3},
            {"neighbours": 20, "ask": 0.5},
            {"token_hits": 40, "candidates": 9},
            {"token_hits": 10**6, "candidates": 30},
        )
    ):
        told = Told()
        config = searching(tmp_path, f"{number}.trec", hits=25, settings=given)
        search.run(config, told)
        run, reached, place = read_run(config.output), [], 0
        look = pruned(asked, 0.5) if "ask" in given else asked
        tokens = given.get("neighbours") or given.get("token_hits")
        for q in range(QUERIES):
            mine, others = asked[q : q + 1], look[q : q + 1]
            if not len(mine.values):
                continue
            hits, count = by_hand(passages, looked, mine, others, tokens, given.get("candidates"))
            reached.append(count)
            best = sorted(hits, key=lambda hit: (hit[1], ids[hit[0]]), reverse=True)[:25]
            assert list(run.hits(place)) == [(ids[row], score) for row, score in best], (given, q)
            place += 1
        share = sum(reached) / (len(reached) * rows)
        manifest = read_manifest(tmp_path / f"{number}.trec.manifest.json")
        assert manifest.extra["passages_reached"] == round(share, 6)
        assert f"{share:.2%} of the passages" in "".join(told.lines)
        assert manifest.options["neighbours"] == tokens


def test_many_near_ties_are_all_compared(write_embeddings, tmp_path: Path) -> None:
    """One vector many times: the first tokens are taken, however many places there are."""
    values = np.tile(np.array([[1.0, 2.0, -1.0, 0.5]]), (6000, 1))
    values[::3] *= 0.5
    passages = Vectors(values.astype(np.float16), np.arange(0, 6001, 10))
    write_embeddings("emb", [f"p{row:03d}" for row in range(600)], passages, score="maxsim_sum")
    write_embeddings(
        "queries", ["q"], Vectors(values[1:2], np.array([0, 1])), side="query", score="maxsim_sum"
    )
    index_job.run(indexing(tmp_path))
    config = searching(tmp_path, hits=1000, settings={"neighbours": 50})
    search.run(config)
    # of every ten tokens six or seven are the vector itself
    first = np.flatnonzero(np.arange(6000) % 3 > 0)[:50] // 10
    found = read_run(config.output).hits(0)
    assert [row for row, _ in found] == [f"p{row:03d}" for row in sorted({*first})[::-1]]


def test_a_signal_is_heard_after_a_query(write_embeddings, tmp_path: Path, monkeypatch) -> None:
    write_embeddings("emb", [f"p{row}" for row in range(40)], texts(40, (1, 9), 0), score="alignment")
    asked = texts(QUERIES, (1, 6), 1)
    write_embeddings("queries", QUERY_IDS, asked, side="query", score="alignment")
    signals, calls = Signals(), []

    def second(*given: object) -> None:
        calls.append(given)
        if len(calls) == 2:
            signals.set(signal.SIGTERM)

    monkeypatch.setattr(search, "interruptible", lambda: nullcontext(signals))
    monkeypatch.setattr(token_neighbours, "rescore", second)
    config = searching(tmp_path, index="emb", settings={"neighbours": 3})
    with pytest.raises(Interrupted, match="SIGTERM"):
        search.run(config)
    assert len(calls) == 2


def test_what_does_not_fit_is_refused(write_embeddings, tmp_path: Path) -> None:
    passages, asked = texts(700, (9, 12), 0), texts(QUERIES, (1, 6), 1)
    write_embeddings("emb", [f"p{row}" for row in range(700)], passages, score="alignment")
    write_embeddings("queries", QUERY_IDS, asked, side="query", score="alignment")
    for settings, message in (
        ({"neighbours": 5, "token_hits": 5}, "are one thing"),
        ({"candidates": 5}, "of what token_hits=… find so many are scored; give both"),
        ({"neighbours": 5, "mode": "exact"}, "an exact search compares all passages"),
        ({"neighbours": 0}, "expected a whole number from 1"),
    ):
        config = searching(tmp_path, index="emb", settings=settings)
        with pytest.raises(UsageError, match=message):
            search.run(config)
    index_job.run(indexing(tmp_path))
    config = replace(config, index=tmp_path / "index", settings={"neighbours": 5}, shard=(0, 2))
    with pytest.raises(UsageError, match="approximate and searched whole; leave --shard away"):
        search.run(config)


def test_deleted_passages_are_no_neighbours_and_an_index_alone_looks_at_its_own_tokens(
    write_embeddings, tmp_path: Path
) -> None:
    chance = np.random.default_rng(3)
    count, gone = 600, {4, 5, 77, 599}
    offsets = offsets_of(chance.integers(6, 13, count))
    values = chance.standard_normal((offsets[-1], DIM))
    values = (values / np.linalg.norm(values, axis=1, keepdims=True)).astype(np.float16)
    passages = Vectors(values, offsets)
    ids = [f"p{row:03d}" for row in range(count)]
    write_embeddings("emb", ids, passages, score="maxsim_sum")
    asked = Vectors(values[offsets[4] : offsets[6]], np.array([0, offsets[6] - offsets[4]]))
    write_embeddings("queries", ["q"], asked, side="query", score="maxsim_sum")

    def first(index: Path) -> list[str]:
        config = searching(tmp_path, index=index, hits=5, settings={"neighbours": 1}, force=True)
        search.run(config)
        return [passage for passage, _ in read_run(config.output).hits(0)]

    assert sorted(first(tmp_path / "emb")) == ["p004", "p005"], "each token's own is nearest"
    build = indexing(tmp_path, "alone")
    index_job.run(replace(build, settings={"alone": True}))
    assert sorted(first(tmp_path / "alone")) == ["p004", "p005"]
    index_job.run(replace(build, output=tmp_path / "index"))
    (tmp_path / "gone.txt").write_text("".join(f"{ids[row]}\n" for row in sorted(gone)))
    index_job.run(replace(build, output=tmp_path / "index", settings={"delete": str(tmp_path / "gone.txt")}))
    left = np.setdiff1d(np.arange(count), sorted(gone))
    rest = passages.take(left)
    assert rest.offsets is not None
    owners = np.repeat(left, np.diff(rest.offsets))
    dots = asked.values.astype(np.float64) @ rest.values.astype(np.float64).T
    wanted = {ids[owners[token]] for token in dots.argmax(axis=1)}
    assert set(first(tmp_path / "index")) <= wanted
    assert len(first(tmp_path / "index")) == min(5, len(wanted))
