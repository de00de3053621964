"""Records that travel between packages."""

import pickle
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.types import Run, Silent, Vectors, offsets_of

TEXTS = st.lists(st.integers(0, 4), max_size=8)
FORMS = ["one", "many", "weighted"]


def vectors(lengths: list[int], form: str) -> Vectors:
    """Return vectors whose numbers all differ; ``lengths`` counts texts only for one vector a text."""
    if form == "one":
        return Vectors(np.arange(len(lengths) * 3.0, dtype=np.float32).reshape(-1, 3))
    values = np.arange(sum(lengths) * 3.0, dtype=np.float32).reshape(-1, 3)
    if form == "many":
        return Vectors(values, offsets_of(lengths))
    return Vectors(values, offsets_of(lengths), values[:, 0] / 7, values[:, 1].astype(np.int32))


def texts_of(found: Vectors) -> list[tuple[list[list[float]], list[float], list[int]]]:
    """Return values, weights and tokens of each text as lists."""
    if found.offsets is None:
        return [([row], [], []) for row in found.values.tolist()]
    places = [slice(low, high) for low, high in pairwise(found.offsets)]
    beside = [np.empty(0) if of is None else of for of in (found.weights, found.tokens)]
    return [(found.values[at].tolist(), *(of[at].tolist() for of in beside)) for at in places]


@pytest.mark.parametrize("form", FORMS)
@given(lengths=TEXTS, data=st.data())
def test_rows_of_vectors_are_what_they_are_of_a_list(form: str, lengths: list[int], data) -> None:
    found = vectors(lengths, form)
    expected = texts_of(found)
    assert len(found) == len(lengths)
    start, stop = data.draw(st.integers(-9, 9)), data.draw(st.integers(-9, 9))
    part = found[start:stop]
    assert texts_of(part) == expected[start:stop]
    assert (part.many, part.dim) == (form != "one", 3)
    rows = data.draw(st.lists(st.integers(0, len(lengths) - 1), max_size=9) if lengths else st.just([]))
    assert texts_of(found.take(np.array(rows, dtype=np.int64))) == [expected[row] for row in rows]


@pytest.mark.parametrize("form", FORMS)
@given(lengths=TEXTS, cuts=st.lists(st.integers(0, 8), max_size=3))
def test_parts_of_vectors_join_to_the_whole(form: str, lengths: list[int], cuts: list[int]) -> None:
    found = vectors(lengths, form)
    borders = [0, *sorted(cuts), len(lengths)]
    parts = [found[low:high] for low, high in pairwise(borders)]
    whole = Vectors.joined(parts)
    assert texts_of(whole) == texts_of(found)
    assert texts_of(pickle.loads(pickle.dumps(whole))) == texts_of(found)  # noqa: S301


def test_vectors_do_not_take_what_contradicts_itself() -> None:
    values = np.ones((3, 2), dtype=np.float16)
    for offsets, weights in [([0, 2], None), ([1, 3], None), (None, np.ones(3)), ([0, 3], np.ones(2))]:
        with pytest.raises(AssertionError):
            Vectors(values, None if offsets is None else np.array(offsets), weights)
        if weights is not None:
            with pytest.raises(AssertionError):
                Vectors(values, None if offsets is None else np.array(offsets), tokens=weights)


def test_a_run_gives_the_hits_of_a_query_best_first() -> None:
    run = Run(
        query_ids=["q1", "empty", "q2"],
        passage_ids=["a", "b"],
        offsets=np.array([0, 2, 2, 3]),
        passages=np.array([1, 0, 0], dtype=np.int32),
        scores=np.array([2.0, 1.0, 5.0], dtype=np.float32),
    )
    assert len(run) == 3
    assert [list(run.hits(query)) for query in range(3)] == [[("b", 2.0), ("a", 1.0)], [], [("a", 5.0)]]


def test_silence_says_nothing(capsys) -> None:
    progress = Silent()
    progress.start("x", 3, "rows")
    progress.advance(1)
    progress.note("y")
    progress.finish()
    assert capsys.readouterr() == ("", "")
