"""One alpha for several dev sets, judged by qrels or by answers."""

from __future__ import annotations

import pytest

from dretrieve.errors import DataError, UsageError
from dretrieve.runs.fuse import Pair, align
from dretrieve.runs.options import FuseOptions
from dretrieve.runs.tune import Curve, DevSet, parse_alphas, tune_alpha
from dretrieve.types import Run
from tests.common import run_of


def reciprocal_rank(run: Run) -> float:
    """Return 1 / rank of the passage ``right`` of the one query."""
    return 1 / (1 + [passage for passage, _ in run.hits(0)].index("right"))


def pair_of(dense: dict[str, float], bm25: dict[str, float]) -> Pair:
    return align(run_of({"q": dense}), run_of({"q": bm25}))


# The first set wants alpha above 1, the second one below 2: only 1.5 serves both.
FIRST = DevSet(
    "first",
    pair_of({"wrong": 2.0, "right": 1.0}, {"wrong": 0.0, "right": 1.0}),
    ["q"],
    reciprocal_rank,
)
SECOND = DevSet(
    "second",
    pair_of({"right": 2.0, "wrong": 0.0}, {"right": 0.0, "wrong": 1.0}),
    ["q"],
    reciprocal_rank,
)


def test_one_alpha_serves_all_sets() -> None:
    curve = tune_alpha([FIRST, SECOND], FuseOptions(), [0.5, 1.5, 2.5], "RR@10")
    assert curve.measure == "RR@10"
    assert curve.values == [[0.5, 1.0], [1.0, 1.0], [1.0, 0.5]]
    assert curve.best == 1.5
    assert curve.as_json()["means"] == [0.75, 1.0, 0.75]


def test_of_equals_the_smallest_wins() -> None:
    curve = Curve(measure="RR@10", sets=["a"], alphas=[1.0, 2.0, 3.0], values=[[0.2], [0.4], [0.4]])
    assert curve.best == 2.0


def test_runs_of_other_queries_are_refused() -> None:
    other = DevSet("other:dev", FIRST.pair, ["q9"], reciprocal_rank)
    with pytest.raises(DataError, match=r"none of the queries of the runs for other:dev .*'q'.*'q9'"):
        tune_alpha([other], FuseOptions(), [1.0], "RR@10")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0.5:2.0:0.5", [0.5, 1.0, 1.5, 2.0]),
        ("0:0.3:0.1", [0.0, 0.1, 0.2, 0.3]),
        ("1:1:1", [1.0]),
        ("0:1:0.4", [0.0, 0.4, 0.8]),
        ("2,1,1", [1.0, 2.0]),
    ],
)
def test_ranges_hold_both_ends_and_no_rounding(text: str, expected: list[float]) -> None:
    assert parse_alphas(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("2:1:0.1", "holds no alpha"),
        ("", "holds no alpha"),
        (",", "holds no alpha"),
        ("0:1", "is no range"),
        ("a:b:c", "is no range"),
        ("0:nan:1", "is no range"),
        ("0:1:0", "has step 0"),
        ("0:1:-0.1", "has step"),
        ("-1:1:0.5", "below 0"),
        ("inf", "below 0"),
        ("0:1:0.00001", "at most 10,000"),
    ],
)
def test_other_ranges_are_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_alphas(text)


def test_the_passages_of_both_lists_are_named_once_within_the_depth() -> None:
    pair = pair_of({"a": 3.0, "b": 2.0, "c": 1.0}, {"d": 2.0, "a": 1.0, "e": 0.0})
    assert sorted(pair.passages_of(0, 2)) == ["a", "b", "d"]
    assert sorted(pair.passages_of(0, 9)) == ["a", "b", "c", "d", "e"]
