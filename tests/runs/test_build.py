import numpy as np
import pytest

from dretrieve.errors import DataError
from dretrieve.kernels.interning import hash_all
from dretrieve.runs.build import Column, HashedIds, HitColumns, build_run, one_table, score_of_ranks, used_ids
from dretrieve.store.ids import IdTable
from tests.common import hits_of


def columns(rows, query_ids=("q1", "q2"), passage_ids=("a", "b", "é", "z")):
    queries, passages, scores = zip(*rows, strict=True)
    return HitColumns(
        query_ids=list(query_ids),
        passage_ids=list(passage_ids),
        queries=np.asarray(queries, np.int32),
        passages=np.asarray(passages, np.int32),
        scores=np.asarray(scores, np.float64),
        tag="t",
    )


def test_hits_are_grouped_and_sorted_ties_by_id_descending():
    run = build_run(columns([(1, 0, 1), (0, 0, 2), (1, 3, 5), (0, 1, 2), (0, 2, 2), (0, 3, 9)]))
    assert hits_of(run) == {
        "q1": [("z", 9.0), ("é", 2.0), ("b", 2.0), ("a", 2.0)],
        "q2": [("z", 5.0), ("a", 1.0)],
    }
    assert run.scores.dtype == np.float64
    assert run.passages.dtype == np.int32


def test_a_query_without_hits_stays():
    run = build_run(columns([(1, 0, 1)]))
    assert run.offsets.tolist() == [0, 0, 1]


def test_ranks_become_one_over_rank():
    run = build_run(columns([(0, 0, 2), (0, 1, 1), (1, 2, 1)]), ranks=True)
    assert hits_of(run) == {"q1": [("b", 1.0), ("a", 0.5)], "q2": [("é", 1.0)]}
    assert run.by_rank


def test_ranks_counted_from_zero_keep_their_order():
    assert score_of_ranks(np.asarray([2.0, 0, 1])).tolist() == [1 / 3, 1, 1 / 2]
    assert score_of_ranks(np.asarray([2.0, 3, 1])).tolist() == [1 / 2, 1 / 3, 1]


def column(*queries):
    return Column(
        np.cumsum([0, *map(len, queries)]), np.asarray([n for found in queries for n in found], np.float64), 0
    )


@pytest.mark.parametrize(
    ("queries", "no_rank", "not_next"),
    [([[1, 2, 3], [1]], None, None), ([[3, 1, 2]], None, 0), ([[1, 2], [2, 3]], None, 2),
     ([[1, 1, 2]], None, 1), ([[1, 2.5, 3]], 1, 1), ([[0, 1, 2]], None, 0), ([[1], [-1]], 1, 1),
     ([], None, None), ([[1], [], [1, 3]], None, 2)],
)  # fmt: skip
def test_what_may_be_ranks(queries, no_rank, not_next):
    assert column(*queries).no_rank() == no_rank
    assert column(*queries).not_next_rank() == not_next


def test_a_passage_twice_is_refused_in_the_words_of_the_reader():
    with pytest.raises(DataError, match="row 2"):
        build_run(
            columns([(1, 1, 1), (0, 1, 3), (1, 1, 2)]),
            repeated=lambda hit: DataError(f"row {hit}"),
        )


def test_hashed_ids_are_the_table_of_its_bytes_and_keep_the_hashes():
    plain = IdTable.of(["a", "é", "001"])
    hashes = hash_all(plain.data, plain.ends)
    table = HashedIds(plain.data, plain.ends, hashes)
    assert list(table) == ["a", "é", "001"]
    assert table[1] == "é"
    assert table[1:] == ["é", "001"]
    assert table.hashes is hashes


def test_two_runs_over_one_table_of_the_ids_they_hit():
    first = build_run(columns([(0, 1, 2), (1, 3, 1)]))
    second = build_run(columns([(0, 0, 5), (1, 1, 4)], passage_ids=("new", "z")))
    assert used_ids(first)[0] == ["b", "z"]
    ids, (ours, theirs) = one_table(first, second)
    assert list(ids) == ["b", "z", "new"]
    assert (ours.tolist(), theirs.tolist()) == ([0, 1], [2, 1])
