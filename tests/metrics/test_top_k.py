import numpy as np
import pytest

from dretrieve.errors import DataError, UsageError
from dretrieve.metrics.answers import Answers
from dretrieve.metrics.top_k import first_answer_ranks, parse_top_k, top_k
from tests.common import run_of

TEXTS = {"a": "the Nile", "b": "the Rhine", "c": "the Nile and the Rhine"}


@pytest.mark.parametrize(
    "text", ["top20 top100", "Top-20,top100", "top@20; accuracy@100", "top20 top100 top20"]
)
def test_names(text):
    assert parse_top_k(text) == [20, 100]


@pytest.mark.parametrize("text", ["nDCG@10 top20", "top0", "top", ""])
def test_other_names_are_refused(text):
    with pytest.raises(
        UsageError, match=r"no measure of answers; with --answers the measures are top1, top5"
    ):
        parse_top_k(text)


def test_rank_of_the_first_passage_with_an_answer():
    run = run_of({"q1": {"b": 3.0, "c": 2.0, "a": 1.0}, "q2": {"a": 1.0}, "q4": {"a": 2.0}})
    answers = [Answers(["Nile"]), Answers(["Rhine"]), Answers(["Nile"]), Answers([" "])]
    ranks = first_answer_ranks(run, ["q1", "q2", "q3", "q4"], answers, TEXTS.get, 100)
    assert ranks.tolist() == [2, 0, 0, 0]


def test_depth_is_how_far_is_looked():
    run = run_of({"q1": {"b": 3.0, "a": 2.0}})
    assert first_answer_ranks(run, ["q1"], [Answers(["Nile"])], TEXTS.get, 1).tolist() == [0]


def test_a_passage_that_the_corpus_lacks_is_refused():
    run = run_of({"q1": {"zzz": 3.0}})
    with pytest.raises(
        DataError, match="passage 'zzz' is not in the corpus; give the --corpus that was searched"
    ):
        first_answer_ranks(run, ["q1"], [Answers(["Nile"])], TEXTS.get, 1)


def test_within_k():
    assert top_k(np.asarray([0, 1, 5, 6]), 5).tolist() == [0, 1, 1, 0]
