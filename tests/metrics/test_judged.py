import numpy as np

from dretrieve.metrics.judged import count_in_group, grades_of, judge, ratio
from dretrieve.runs.locate import locate
from dretrieve.text.qrels import qrels_of
from tests.common import run_of


def test_only_judged_hits_remain_with_their_ranks(judged_of):
    judged = judged_of(
        {"q2": {"x": 9.0, "b": 8.0, "a": 7.0}, "q1": {"a": 2.0, "y": 1.0}},
        {"q1": {"a": 3, "z": 1}, "q2": {"a": 0, "b": 2}, "q3": {"a": 1}},
    )
    assert judged.query.tolist() == [0, 1, 1]
    assert judged.rank.tolist() == [1, 2, 3]
    assert judged.grade.tolist() == [3, 2, 0]
    assert judged.retrieved.tolist() == [2, 3, 0]


def test_a_passage_judged_for_another_query_is_not_judged_here(judged_of):
    judged = judged_of({"q1": {"a": 1.0}}, {"q1": {"b": 1}, "q2": {"a": 1}})
    assert judged.rank.tolist() == []


def test_judgements_stand_best_first_by_query(judged_of):
    judged = judged_of({"q": {}}, {"q": {"a": 1, "b": 3, "c": -1}, "p": {"d": 2}})
    assert judged.qrel_query.tolist() == [0, 0, 0, 1]
    assert judged.qrel_grade.tolist() == [3, 1, -1, 2]


def test_grades_of_located_hits():
    run = run_of({"q": {"a": 3.0, "x": 2.0, "b": 1.0}, "other": {"a": 1.0}})
    query, grade = grades_of(locate(run, ["b", "a", "x"]), qrels_of({"p": {"b": 2}, "q": {"a": -1, "b": 3}}))
    assert query.tolist() == [1, -1, 1, -1]
    assert grade.tolist() == [-1, 0, 3, 0]


def test_ratio_is_zero_where_nothing_could_be_found():
    assert ratio(np.asarray([1.0, 0.0]), np.asarray([2.0, 0.0])).tolist() == [0.5, 0.0]


def test_count_in_group():
    assert count_in_group(np.asarray([0, 0, 3, 3, 3, 4])).tolist() == [1, 2, 1, 2, 3, 1]
    assert count_in_group(np.empty(0, dtype=np.int64)).tolist() == []


def test_large_runs_take_the_compiled_join(monkeypatch):
    from dretrieve.store.ids import IdTable
    from dretrieve.types import Run

    small = run_of({"q1": {"a": 3.0, "b": 2.0}, "q2": {"b": 5.0, "é": 4.0}})
    table = Run(
        small.query_ids, IdTable.of(small.passage_ids), small.offsets, small.passages, small.scores, small.tag
    )
    qrels = qrels_of({"q2": {"é": 2, "zzz": 1}, "q1": {"b": 1}})
    plain = judge(small, qrels)
    monkeypatch.setattr("dretrieve.runs.locate.MANY", 0)
    compiled = judge(table, qrels)
    for name in ("query", "rank", "grade", "retrieved"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(compiled, name))
