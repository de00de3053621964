from __future__ import annotations

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as some

from dretrieve.errors import DataError
from dretrieve.training.batches import Choosing, Draw, Plan, SetShare, compose
from dretrieve.training.sets import Ragged, TokenTable, TrainingSet, several_lines

NO_TOKENS = TokenTable(np.empty(0, np.int32), np.zeros(1, np.int64))
FIRST = Choosing(negatives=1, positives="first", seed=0)


def set_of(positives, negatives):
    return TrainingSet(
        name="s",
        positives=Ragged.of(positives),
        negatives=Ragged.of(negatives),
        queries=replace(NO_TOKENS, text_ids=[f"q{row}" for row in range(len(positives))]),
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


def lines_of(positives, negatives):
    """Return a set whose first two examples are of one query."""
    ids, of = ["q0", "q0", "q1"], set_of(positives, negatives)
    return replace(of, queries=replace(of.queries, text_ids=ids), lines=several_lines(ids))


def test_lines_of_one_query_share_their_positives():
    """Files of triples have a line for each positive: neither is a negative of the other line."""
    made = compose(lines_of([[5], [6], [7]], [[], [], []]), draw_of([0, 1, 2]), FIRST)
    assert made.passage_rows.tolist() == [5, 6, 7]
    assert made.allowed.tolist() == [[True, False, True], [False, True, True], [True, True, True]]


def test_a_positive_of_a_line_that_is_not_drawn_is_no_negative():
    """Nor where the query's other line has it as a hard negative."""
    made = compose(lines_of([[5], [6], [7]], [[6], [], [6]]), draw_of([0, 2]), FIRST)
    assert made.passage_rows.tolist() == [5, 7, 6]
    assert made.allowed.tolist() == [[True, True, False], [True, True, True]]


def test_close_passages_are_judged_by_all_lines_of_their_query():
    of = replace(lines_of([[5], [6], [7]], [[], [], []]), close=Ragged.of([[6, 5, 7], [6], [5]]))
    made = compose(of, draw_of([0, 2]), FIRST)
    assert made.passage_rows.tolist() == [6, 5, 7]
    assert made.positives.tolist() == [0, -1]
    assert made.allowed.tolist() == [[True, False, True], [True, True, True]]


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


SHARES = [SetShare(name="nq", examples=100), SetShare(name="wq", examples=23, weight=4.0)]


def test_a_batch_is_a_function_of_seed_and_step():
    forwards = [Plan(SHARES, 10, 7).draw(step) for step in range(60)]
    plan = Plan(SHARES, 10, 7)
    for step in reversed(range(60)):
        draw = plan.draw(step)
        assert draw.set_index == forwards[step].set_index
        np.testing.assert_array_equal(draw.rows, forwards[step].rows)
    other = Plan(SHARES, 10, 8)
    assert any((other.draw(step).rows != forwards[step].rows).any() for step in range(3))


def test_every_pass_over_a_set_shows_each_example_at_most_once():
    plan = Plan([SetShare(name="one", examples=47)], 10, 1)
    for epoch in range(5):
        rows = np.concatenate([plan.draw(epoch * 4 + step).rows for step in range(4)])
        assert len(set(rows.tolist())) == 40
    left_out = [
        set(range(47)) - {row for step in range(4) for row in plan.draw(e * 4 + step).rows.tolist()}
        for e in (0, 1)
    ]
    assert left_out[0] != left_out[1]


def test_weights_multiply_the_batches_of_a_set():
    plan = Plan(SHARES, 10, 3)
    assert plan.steps_per_epoch == 10 + 8
    counts = Counter(plan.draw(step).set_index for step in range(18))
    assert counts == {0: 10, 1: 8}
    turns = [plan.draw(step).turn for step in range(18) if plan.draw(step).set_index == 1]
    assert turns == [0, 0, 1, 1, 2, 2, 3, 3]


def test_the_sets_of_an_epoch_are_shuffled_each_time():
    plan = Plan(SHARES, 10, 3)
    orders = [[plan.draw(epoch * 18 + step).set_index for step in range(18)] for epoch in range(2)]
    assert orders[0] != orders[1]
    assert orders[0] != sorted(orders[0])


def test_a_set_smaller_than_a_batch_is_refused_by_name():
    with pytest.raises(DataError, match=r"set wq has 23 usable examples, fewer than one batch of 24"):
        Plan(SHARES, 24, 0)


@given(some.integers(1, 12), some.integers(12, 60), some.integers(0, 200), some.integers(0, 9))
@settings(max_examples=60)
def test_rows_are_in_range_and_distinct(batch, examples, step, seed):
    rows = Plan([SetShare(name="s", examples=examples)], batch, seed).draw(step).rows
    assert len(rows) == len(set(rows.tolist())) == batch
    assert rows.min() >= 0
    assert rows.max() < examples
