import numpy as np
import pytest

from dretrieve.errors import DataError
from dretrieve.text.run_build import HitColumns, are_ranks, build_run, query_offsets


def columns(rows, query_ids=("q1", "q2"), passage_ids=("a", "b", "é", "z")):
    queries, passages, scores = zip(*rows, strict=True)
    return HitColumns(
        query_ids=list(query_ids),
        passage_ids=list(passage_ids),
        queries=np.asarray(queries, np.int32),
        passages=np.asarray(passages, np.int32),
        scores=np.asarray(scores, np.float32),
        tag="t",
    )


def hits(run):
    return {query: list(run.hits(row)) for row, query in enumerate(run.query_ids)}


def test_hits_are_grouped_and_sorted_ties_by_id_descending():
    run = build_run(columns([(1, 0, 1), (0, 0, 2), (1, 3, 5), (0, 1, 2), (0, 2, 2), (0, 3, 9)]))
    assert hits(run) == {
        "q1": [("z", 9.0), ("é", 2.0), ("b", 2.0), ("a", 2.0)],
        "q2": [("z", 5.0), ("a", 1.0)],
    }
    assert run.scores.dtype == np.float32
    assert run.passages.dtype == np.int32


def test_a_query_without_hits_stays():
    run = build_run(columns([(1, 0, 1)]))
    assert run.offsets.tolist() == [0, 0, 1]


def test_ranks_become_one_over_rank():
    run = build_run(columns([(0, 0, 2), (0, 1, 1), (1, 2, 1)]), ranks=None)
    assert hits(run) == {"q1": [("b", 1.0), ("a", 0.5)], "q2": [("é", 1.0)]}


@pytest.mark.parametrize(
    ("scores", "expected"),
    [([1, 2, 3], True), ([3, 1, 2], True), ([1, 5, 9], True), ([1, 1, 2], False), ([2, 3, 4], False),
     ([1, 2.5, 3], False), ([0, 1, 2], False), ([12, 9, 7], False)],
)  # fmt: skip
def test_what_counts_as_ranks(scores, expected):
    assert are_ranks(query_offsets(np.zeros(3, np.int32), 1), np.asarray(scores, np.float32)) is expected


def test_every_query_must_have_a_first_rank():
    queries = np.asarray([0, 0, 1, 1], np.int32)
    assert not are_ranks(query_offsets(queries, 2), np.asarray([1, 2, 3, 4], np.float32))
    assert are_ranks(query_offsets(queries, 2), np.asarray([1, 2, 1, 3], np.float32))
    assert not are_ranks(query_offsets(np.empty(0, np.int32), 0), np.empty(0, np.float32))


def test_a_passage_twice_is_refused():
    with pytest.raises(DataError, match="passage 'b' stands twice among the hits of query 'q2'"):
        build_run(columns([(1, 1, 1), (0, 1, 3), (1, 1, 2)]))


def test_the_caller_can_word_the_refusal():
    with pytest.raises(DataError, match="rows 0 and 2"):
        build_run(
            columns([(1, 1, 1), (0, 1, 3), (1, 1, 2)]),
            repeated=lambda first, second: DataError(f"rows {first} and {second}"),
        )
