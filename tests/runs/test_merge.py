"""Partial runs join to the run of all rows, ties at the cut included."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.errors import VerificationError
from dretrieve.runs.merge import merge_runs
from dretrieve.types import Run
from tests.common import hits_of, run_of


def best(hits: Mapping[str, Mapping[str, float]], k: int) -> Run:
    """Return the run of the k best hits of each query."""
    return run_of({query: dict(found[:k]) for query, found in hits_of(run_of(hits)).items()})


@given(
    scores=st.lists(st.lists(st.integers(0, 4), min_size=20, max_size=20), min_size=1, max_size=4),
    parts=st.lists(st.integers(0, 3), min_size=20, max_size=20),
    k=st.integers(1, 25),
)
def test_parts_join_to_the_whole(scores: list[list[int]], parts: list[int], k: int) -> None:
    table = {f"q{i}": {f"p{row}": float(s) for row, s in enumerate(line)} for i, line in enumerate(scores)}
    cut = [
        best(
            {
                q: {p: s for row, (p, s) in enumerate(found.items()) if parts[row] == part}
                for q, found in table.items()
            },
            k,
        )
        for part in range(4)
    ]
    assert hits_of(merge_runs(cut, k)) == hits_of(best(table, k))


def test_parts_without_any_lines_are_legal() -> None:
    none = run_of({})
    some = run_of({"q": {"a": 1.0, "b": 2.0}})
    for order in ([none, some], [some, none], [none, some, none]):
        assert hits_of(merge_runs(order, 5)) == {"q": [("b", 2.0), ("a", 1.0)]}
    assert len(merge_runs([none, none], 5)) == 0


def test_parts_of_different_queries_are_refused() -> None:
    with pytest.raises(VerificationError, match="answer different queries .only one has q1, q2"):
        merge_runs([run_of({"q1": {"a": 1.0}}), run_of({"q2": {"b": 1.0}})], 3)
    with pytest.raises(VerificationError, match="their order differs"):
        merge_runs([run_of({"x": {"a": 1}, "y": {"a": 1}}), run_of({"y": {"b": 1}, "x": {"b": 1}})], 3)


def test_a_passage_in_two_parts_is_refused() -> None:
    with pytest.raises(VerificationError, match="query 'q' has a passage in two partial runs"):
        merge_runs([run_of({"q": {"a": 1.0}}), run_of({"q": {"a": 2.0}})], 3)
