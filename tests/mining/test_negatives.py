from __future__ import annotations

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as some

from dretrieve.mining.negatives import FILTERS, Miner
from dretrieve.mining.options import MiningOptions
from dretrieve.types import Record

TEXTS = {f"p{number}": f"text number {number}" for number in range(30)}
TEXTS["copy"] = "TEXT  number\n3"
HITS = [("p3", 10.0), ("copy", 9.5), ("p1", 9.0), ("p2", 8.0), ("p4", 7.0), ("p5", 1.0)]


def passage(passage_id):
    return Record(passage_id, "", TEXTS[passage_id])


def mine(hits=HITS, positives=("p3",), holds_answer=None, **options):
    miner = Miner(MiningOptions(**options), passage, holds_answer)
    return miner.mine("q", hits, positives)


def test_positives_and_their_copies_are_dropped_and_counted():
    mined = mine()
    assert mined.negatives == ("p1", "p2", "p4", "p5")
    assert mined.scores == (9.0, 8.0, 7.0, 1.0)
    assert mined.dropped == dict.fromkeys(FILTERS, 0) | {"positive": 1, "copy_of_positive": 1}


def test_rank_window_counts_from_one():
    mined = mine(first_rank=4, depth=5)
    assert mined.negatives == ("p2", "p4")
    assert mined.dropped["rank_window"] == 4


def test_absolute_margin():
    assert mine(margin=2.0).negatives == ("p2", "p4", "p5")
    assert mine(margin=2.0).dropped["margin"] == 1


def test_relative_margin():
    assert mine(relative_margin=0.25).negatives == ("p4", "p5")


def test_relative_margin_of_a_negative_score_still_lowers_the_limit():
    hits = [("p3", -10.0), ("p1", -10.5), ("p2", -12.0)]
    assert mine(hits, relative_margin=0.1).negatives == ("p2",)


def test_both_margins_must_hold():
    assert mine(margin=2.0, relative_margin=0.25).negatives == ("p4", "p5")


def test_a_positive_that_the_run_lacks_is_bounded_by_the_last_score():
    mined = mine([("p1", 9.0), ("p2", 8.0), ("p4", 7.0)], positives=("p20",), margin=0.5)
    assert mined.negatives == ()
    assert mined.dropped["margin"] == 3


def test_passages_with_an_answer_are_dropped():
    mined = mine(holds_answer=lambda query_id, record: query_id == "q" and "number 2" in record.text)
    assert mined.negatives == ("p1", "p4", "p5")
    assert mined.dropped["answer"] == 1


def test_top_takes_the_best():
    assert mine(num_negatives=2, sampling="top").negatives == ("p1", "p2")


def test_no_hits_no_negatives():
    assert mine([], margin=1.0).negatives == ()


def test_sampling_depends_on_query_and_seed_only():
    hits = [(f"p{number}", 30.0 - number) for number in range(1, 30) if number != 3]
    miner = Miner(MiningOptions(num_negatives=5), passage)
    one = miner.mine("q1", hits, ["p3"])
    assert one == miner.mine("q1", hits, ["p3"])
    assert one.negatives != miner.mine("q2", hits, ["p3"]).negatives
    other_seed = replace(miner, options=replace(miner.options, seed=1))
    assert one.negatives != other_seed.mine("q1", hits, ["p3"]).negatives
    assert list(one.scores) == sorted(one.scores, reverse=True)


@given(
    some.lists(some.integers(0, 29), unique=True, max_size=30),
    some.sets(some.integers(0, 29), min_size=1, max_size=4),
    some.integers(1, 6),
    some.integers(0, 34),
)
def test_every_hit_is_kept_or_counted_once_and_none_is_a_positive(rows, positives, first, more):
    hits = [(f"p{row}", 100.0 - place) for place, row in enumerate(rows)]
    names = [f"p{row}" for row in sorted(positives)]
    mined = mine(hits, names, first_rank=first, depth=first + more, num_negatives=1000)
    assert len(mined.negatives) + sum(mined.dropped.values()) == len(hits)
    assert not set(mined.negatives) & set(names)
