from __future__ import annotations

from dataclasses import replace

import numpy as np

from dretrieve.training.batches import Choosing, Ragged, TrainingSet, compose
from dretrieve.training.plan import Draw
from dretrieve.training.token_table import TokenTable

NO_TOKENS = TokenTable(np.empty(0, np.int32), np.zeros(1, np.int64))
FIRST = Choosing(negatives=1, positives="first", seed=0)


def set_of(positives, negatives):
    return TrainingSet(
        name="s",
        query_ids=[f"q{row}" for row in range(len(positives))],
        positives=Ragged.of(positives),
        negatives=Ragged.of(negatives),
        queries=NO_TOKENS,
        passages=NO_TOKENS,
    )


def test_a_teachers_scores_stand_at_the_queries_own_passages():
    """7 is the hard negative of both queries, with another score for each; 6 is query 0's other positive."""
    taught = replace(
        set_of([[5, 6], [6]], [[7, 8], [7, 9]]),
        teacher=(np.float32([50, 60, 61]), np.float32([70, 80, 71, 91])),
    )
    seen = set()
    for turn in range(20):
        made = compose(taught, draw_of([0, 1], turn), replace(FIRST, positives="sample"))
        scores = {0: {5: 50, 6: 60, 7: 70, 8: 80}, 1: {6: 61, 7: 71, 9: 91}}
        given = ~np.isnan(made.teacher_scores)
        assert given.sum(axis=1).tolist() == [2, 2]
        assert given[np.arange(2), made.positives].all()
        for query, column in np.argwhere(given).tolist():
            assert made.teacher_scores[query, column] == scores[query][int(made.passage_rows[column])]
        seen |= set(made.teacher_scores[given].tolist())
    assert seen == {50, 60, 61, 70, 80, 71, 91}
    assert compose(set_of([[5], [6]], [[], []]), draw_of([0, 1]), FIRST).teacher_scores is None


def draw_of(rows, turn=0):
    return Draw(0, 0, turn, np.asarray(rows, dtype=np.int64))


def test_each_passage_stands_once_and_own_other_positives_are_left_out():
    """Queries 0 and 1 share passage 5, a hard negative of query 2; 6 is query 0's other positive."""
    made = compose(set_of([[5, 6], [5], [6]], [[1], [2], [5]]), draw_of([0, 1, 2]), FIRST)
    assert made.passage_rows.tolist() == [5, 6, 1, 2]
    assert made.positives.tolist() == [0, 0, 1]
    assert made.query_ids == ["q0", "q1", "q2"]
    assert made.allowed.tolist() == [
        [True, False, True, True],
        [True, True, True, True],
        [True, True, True, True],
    ]


def test_a_hard_negative_that_is_a_positive_is_left_out_too():
    made = compose(set_of([[5, 6], [7]], [[6], []]), draw_of([0, 1]), FIRST)
    column = made.passage_rows.tolist().index(6)
    assert not made.allowed[0, column]
    assert made.allowed[1, column]


def test_negatives_change_with_the_turn_and_repeat_with_the_seed():
    training_set = set_of([[0]], [list(range(1, 60))])
    choosing = Choosing(negatives=3, positives="first", seed=4)
    batches = [
        compose(training_set, draw_of([0], turn), choosing).passage_rows.tolist() for turn in (0, 1, 0)
    ]
    assert batches[0] == batches[2] != batches[1]
    assert len(set(batches[0])) == 4


def test_sampled_positives_show_all_in_time():
    training_set = set_of([[3, 4, 5]], [[]])
    choosing = Choosing(negatives=1, positives="sample", seed=0)
    seen = {int(compose(training_set, draw_of([0], turn), choosing).passage_rows[0]) for turn in range(30)}
    assert seen == {3, 4, 5}


def test_a_query_with_few_negatives_takes_all():
    choosing = Choosing(negatives=4, positives="first", seed=0)
    assert compose(set_of([[0]], [[8, 9]]), draw_of([0]), choosing).passage_rows.tolist() == [0, 8, 9]
