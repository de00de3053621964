"""Fusion: both rules by hand, the compiled form against dictionaries, what must not change the result."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.errors import UsageError
from dretrieve.order import best_first, id_ranks
from dretrieve.runs.fuse import align, fuse
from dretrieve.runs.options import FuseOptions
from dretrieve.types import Run
from tests.common import hits_of, run_of


def fuse_plain(dense: Run, bm25: Run, options: FuseOptions) -> dict[str, list[tuple[str, float]]]:
    """Return the fused hits by dictionaries."""
    lists = [
        {query_id: found[: options.depth] for query_id, found in hits_of(run).items()}
        for run in (dense, bm25)
    ]
    fused = {}
    for query_id in dict.fromkeys([*dense.query_ids, *bm25.query_ids]):
        totals: dict[str, float] = {}
        found = [hits.get(query_id, []) for hits in lists]
        for hits, other, weight in zip(found, found[::-1], options.weights, strict=True):
            for rank, (passage_id, score) in enumerate(hits, start=1):
                worth = 1.0 / (options.rrf_k + rank) if options.method == "rrf" else weight * score
                totals[passage_id] = totals.get(passage_id, 0.0) + worth
            low = weight * hits[-1][1] if hits and options.missing == "min" else 0.0
            if options.method == "linear":
                for passage_id in {passage_id for passage_id, _ in other} - {held for held, _ in hits}:
                    totals[passage_id] = totals.get(passage_id, 0.0) + low
        ids, values = list(totals), np.asarray(list(totals.values()), dtype=np.float64)
        best = best_first(values, id_ranks(ids))[: options.hits]
        fused[query_id] = [(ids[row], float(values[row])) for row in best]
    return fused


DENSE = run_of({"q": {"a": 0.9, "b": 0.5, "c": 0.25}, "dense-only": {"a": 1.0, "b": 2.0}})
BM25 = run_of({"q": {"b": 8.0, "d": 6.0, "e": 4.0}, "bm25-only": {"d": 3.0, "a": 5.0}})


def fused(**options: object) -> dict[str, list[tuple[str, float]]]:
    return hits_of(fuse(align(DENSE, BM25), FuseOptions(**options)))  # type: ignore[arg-type]


def test_min_fill_gives_a_missing_score_its_lists_lowest() -> None:
    found = fused(alpha=0.5)["q"]
    assert [passage for passage, _ in found] == ["b", "d", "a", "e", "c"]
    assert [score for _, score in found] == pytest.approx([0.5 + 4.0, 0.25 + 3.0, 0.9 + 2.0, 2.25, 2.25])


def test_the_lowest_is_that_of_the_list_cut_at_depth() -> None:
    found = dict(fused(alpha=0.5, depth=2)["q"])
    assert found == pytest.approx({"b": 0.5 + 4.0, "d": 0.5 + 3.0, "a": 0.9 + 3.0})


def test_zero_fill_gives_nothing() -> None:
    found = dict(fused(alpha=0.5, missing="zero")["q"])
    assert found == pytest.approx({"b": 4.5, "d": 3.0, "a": 0.9, "e": 2.0, "c": 0.25})


def test_alpha_can_weigh_the_dense_side() -> None:
    found = dict(fused(alpha=10, weight_on="dense")["q"])
    assert found == pytest.approx({"b": 13.0, "d": 8.5, "a": 13.0, "e": 6.5, "c": 6.5})


def test_ranks_are_by_our_order_not_the_files() -> None:
    assert dict(fused(method="rrf")["q"]) == pytest.approx(
        {"b": 1 / 62 + 1 / 61, "a": 1 / 61, "c": 1 / 63, "d": 1 / 62, "e": 1 / 63}
    )
    assert [passage for passage, _ in fused(method="rrf")["q"]] == ["b", "a", "d", "e", "c"]


@pytest.mark.parametrize("options", [{"missing": "min"}, {"missing": "zero"}, {"method": "rrf"}])
def test_a_query_of_one_run_keeps_that_runs_order_and_comes_last_if_bm25s(options: dict) -> None:
    found = fused(**options)
    assert list(found) == ["q", "dense-only", "bm25-only"]
    assert [passage for passage, _ in found["dense-only"]] == ["b", "a"]
    assert [passage for passage, _ in found["bm25-only"]] == ["a", "d"]
    assert align(DENSE, BM25).absent() == (1, 1)


def test_alpha_0_is_the_dense_order_over_dense_hits() -> None:
    for missing in ("min", "zero"):
        found = fused(alpha=0, missing=missing)["q"]
        dense = dict(DENSE.hits(0))
        assert [passage for passage, _ in found if passage in dense] == ["a", "b", "c"]
        assert {passage: score for passage, score in found if passage in dense} == dense


scores = st.sampled_from([-2.0, -1.0, -0.5, 0.0, 0.1, 0.25, 1 / 3, 1.0, 7.5])
lists = st.dictionaries(
    st.sampled_from(["p1", "p2", "p10", "é", "z", "a/b", "\U00010000"]), scores, max_size=7
)
runs = st.dictionaries(st.sampled_from(["q1", "q2", "001", "1"]), lists, max_size=4).map(run_of)
options = st.builds(
    FuseOptions,
    method=st.sampled_from(["linear", "rrf"]),
    alpha=st.sampled_from([0.0, 0.5, 1.0, 3.0]),
    missing=st.sampled_from(["min", "zero"]),
    depth=st.integers(1, 9),
    hits=st.integers(1, 9),
    weight_on=st.sampled_from(["bm25", "dense"]),
    rrf_k=st.sampled_from([0.0, 60.0]),
)


@given(dense=runs, bm25=runs, options=options, threads=st.integers(1, 3))
def test_the_compiled_form_is_the_plain_one(
    dense: Run, bm25: Run, options: FuseOptions, threads: int
) -> None:
    found = fuse(align(dense, bm25), options, threads=threads)
    assert hits_of(found) == fuse_plain(dense, bm25, options)


@given(dense=runs, bm25=runs, options=options)
def test_parts_of_the_queries_are_parts_of_the_whole(dense: Run, bm25: Run, options: FuseOptions) -> None:
    pair = align(dense, bm25)
    whole = hits_of(fuse(pair, options))
    parts: dict = {}
    for query in range(len(pair.query_ids)):
        parts |= hits_of(fuse(pair, options, span=(query, query + 1)))
    assert parts == whole


def test_tables_larger_than_what_is_hit_are_cut() -> None:
    wide = Run(
        ["q"],
        [f"p{row}" for row in range(100)],
        np.array([0, 1]),
        np.array([99], np.int32),
        np.ones(1, np.float32),
    )
    pair = align(wide, BM25)
    assert sorted(pair.passage_ids) == ["a", "b", "d", "e", "p99"]
    assert dict(hits_of(fuse(pair, FuseOptions(alpha=1)))["q"]) == {"b": 9.0, "d": 7.0, "e": 5.0, "p99": 5.0}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"method": "max"}, "--method max: expected linear or rrf"),
        ({"missing": "mean"}, "--missing mean: expected min or zero"),
        ({"weight_on": "both"}, "--weight-on both: expected bm25 or dense"),
        ({"alpha": -0.1}, "--alpha -0.1: expected a number from 0"),
        ({"alpha": float("nan")}, "--alpha nan: expected a number from 0"),
        ({"depth": 0}, "--depth 0: expected a whole number from 1"),
        ({"hits": 0}, "--hits 0: expected a whole number from 1"),
        ({"rrf_k": -1}, "--rrf-k -1: expected a number from 0"),
    ],
)
def test_impossible_options_are_refused(wrong: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        FuseOptions(**wrong)
