"""Query vectors are checked before they are searched with; hits become a run."""

from __future__ import annotations

import numpy as np
import pytest

from dretrieve.errors import DataError, VerificationError
from dretrieve.index.base import Passages
from dretrieve.index.exact import ExactOptions
from dretrieve.index.flat import over_embeddings
from dretrieve.index.top_k import TopK
from dretrieve.order import id_ranks, top_k
from dretrieve.runs.search import Queries, as_run, check_model, check_queries, joined, search_in_memory
from dretrieve.scoring.dot import dot_matrix
from dretrieve.store.embeddings import Embeddings
from dretrieve.types import Run, Vectors

IDS = [f"p{row}" for row in range(12)]


@pytest.fixture
def index(write_embeddings):
    vectors = np.rint(np.random.default_rng(0).standard_normal((12, 4)) * 2 + 0.1).astype(np.float16) + 3
    return over_embeddings(Embeddings.open(write_embeddings("emb", IDS, vectors, model="abcdef0123456789")))


ASKED = Vectors(np.array([[1, 0, 0, 0], [0, 1, -1, 0]], dtype=np.float32))


def queries(**changes) -> Queries:
    settings = {
        "ids": ["q1", "q2"],
        "passage_model": "abcdef0123456789",
        "fingerprint": "f",
        "name": "work/queries",
        "load": lambda: ASKED,
    }
    return Queries(**{**settings, **changes})


def searched(index, k: int) -> Run:
    return as_run(
        ["q1", "q2"], index.search(ASKED, TopK.empty(2, k), (0, 12), ExactOptions()), index.passages
    )


def test_fitting_queries_pass(index) -> None:
    check_model(queries(), index.passages)
    check_queries(queries(), ASKED, index.passages)


def test_another_models_queries_are_refused_with_both_names_and_the_cure(index) -> None:
    with pytest.raises(VerificationError) as caught:
        check_model(queries(passage_model="999999888888"), index.passages)
    for word in ("999999888888", "abcdef012345", "work/queries", "emb", "encode both with the same model"):
        assert word in str(caught.value)


@pytest.mark.parametrize(
    ("vectors", "message"),
    [
        (Vectors(np.ones((2, 5))), r"have 5 dimensions, the passages in .* have 4"),
        (
            Vectors(np.ones((3, 4)), np.array([0, 1, 3])),
            r"hold one vector per token, the passages in .* per passage",
        ),
    ],
)
def test_vectors_of_another_shape_are_refused(index, vectors, message) -> None:
    with pytest.raises(VerificationError, match=message):
        check_queries(queries(), vectors, index.passages)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_vector_that_is_no_number_names_its_query(index, write_embeddings, bad) -> None:
    values = np.ones((3, 4), dtype=np.float32)
    values[2, 3] = bad
    with pytest.raises(DataError, match=r"the vector of query 'q2' in work/queries holds NaN"):
        check_queries(queries(), Vectors(values[1:]), index.passages)
    tokens = Vectors(np.ones((12, 4)), np.arange(13))
    of_tokens = Passages(Embeddings.open(write_embeddings("tokens", IDS, tokens)), many=True)
    with pytest.raises(DataError, match=r"the vector of query 'q2' in work/queries holds NaN"):
        check_queries(queries(), Vectors(values, np.array([0, 1, 3])), of_tokens)


def test_a_query_id_twice_is_refused(index) -> None:
    with pytest.raises(DataError, match=r"query id 'q1' stands twice"):
        check_queries(queries(ids=["q1", "q1"]), ASKED, index.passages)


def test_run_holds_ids_scores_and_order(index) -> None:
    run = searched(index, 5)
    scores = dot_matrix(ASKED.values, index.passages.vectors(0).values)
    assert list(run.query_ids) == ["q1", "q2"]
    for query in range(2):
        best = top_k(scores[query], id_ranks(IDS), 5)
        assert list(run.hits(query)) == [(IDS[row], float(scores[query][row])) for row in best]


def test_runs_of_consecutive_queries_join_whatever_their_tables_of_ids() -> None:
    tables = [["a", "b"], ["b", "c"], ["d"]]
    hits = [[(0, 2.0), (1, 1.0)], [(1, 5.0), (0, 4.0)], []]
    parts = []
    for number, (table, found) in enumerate(zip(tables, hits, strict=True)):
        rows, scores = np.array([row for row, _ in found], np.int32), np.array([score for _, score in found])
        parts.append(Run([f"q{number}"], table, np.array([0, len(found)]), rows, scores))
    run = joined(parts)
    assert list(run.query_ids) == ["q0", "q1", "q2"]
    assert [list(run.hits(query)) for query in range(3)] == [
        [("a", 2.0), ("b", 1.0)],
        [("c", 5.0), ("b", 4.0)],
        [],
    ]
    assert len(joined([])) == 0


def test_vectors_in_memory_give_the_same_run(index) -> None:
    from_files = searched(index, 7)
    in_memory = search_in_memory(["q1", "q2"], ASKED, IDS, index.passages.vectors(0), 7)
    for query in range(2):
        assert list(from_files.hits(query)) == list(in_memory.hits(query))


def test_there_may_be_fewer_passages_than_hits_wanted() -> None:
    passages = Vectors(np.ones((2, 2), np.float32))
    run = search_in_memory(["q"], Vectors(np.ones((1, 2))), ["a", "b"], passages, 9)
    assert list(run.hits(0)) == [("b", 2.0), ("a", 2.0)]


def test_token_vectors_in_memory() -> None:
    passages = Vectors(np.array([[1, 0], [0, 2], [3, 1]], np.float32), np.array([0, 2, 2, 3]))
    asked = Vectors(np.array([[1, 0], [0, 1]], np.float32), np.array([0, 2, 2]))
    run = search_in_memory(["q", "empty"], asked, ["a", "none", "c"], passages, 9, score="maxsim_sum")
    assert [list(run.hits(query)) for query in range(2)] == [[("c", 4.0), ("a", 3.0)], []]
    mean = search_in_memory(["q", "empty"], asked, ["a", "none", "c"], passages, 1, score="maxsim_mean")
    assert list(mean.hits(0)) == [("c", 2.0)]
