import numpy as np
import pytest

from dretrieve.runs.select import (
    drop_self,
    first_hits,
    hit_ranks,
    hits_of,
    keep_hits,
    queries_of,
    rows_of,
    self_hits,
)
from dretrieve.store.ids import IdTable
from dretrieve.types import Run


@pytest.fixture(params=["plain", "compiled"])
def run(request, monkeypatch):
    ids = ["a", "b", "q1", "é", "unused"]
    if request.param == "compiled":
        monkeypatch.setattr("dretrieve.runs.select.MANY", 0)
    return Run(
        ["q1", "none", "é"],
        IdTable.of(ids) if request.param == "compiled" else ids,
        np.asarray([0, 3, 3, 6], np.int64),
        np.asarray([2, 0, 1, 0, 3, 2], np.int32),
        np.asarray([9, 8, 7, 6, 5, 4], np.float32),
    )


def passages(run):
    return [[passage for passage, _ in run.hits(row)] for row in range(len(run))]


def test_the_query_itself_is_dropped(run):
    assert passages(drop_self(run)) == [["a", "b"], [], ["a", "q1"]]


def test_the_first_hits(run):
    assert passages(first_hits(run, 2)) == [["q1", "a"], [], ["a", "é"]]
    assert first_hits(run, 3) is run


def test_ranks(run):
    assert hit_ranks(run).tolist() == [1, 2, 3, 1, 2, 3]


def test_kept_hits_keep_their_scores_and_all_queries(run):
    kept = keep_hits(run, run.scores < 7)
    assert kept.scores.tolist() == [6, 5, 4]
    assert list(kept.query_ids) == ["q1", "none", "é"]


def test_the_hits_of_some_ids(run, monkeypatch):
    monkeypatch.setattr("dretrieve.runs.select.CHUNK", 2)
    hits, places = hits_of(run, ["é", "zzz", "a"])
    assert (hits.tolist(), places.tolist()) == ([1, 3, 4], [2, 2, 0])
    assert queries_of(run, hits).tolist() == [0, 2, 2]
    assert self_hits(run).tolist() == [0, 4]


def test_rows_of_ids(run):
    assert rows_of(run, ["é", "zzz", "a", "é"]).tolist() == [3, -1, 0, 3]
    assert rows_of(run, []).tolist() == []
