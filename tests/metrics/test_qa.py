import json

import pytest

from dretrieve.errors import DataError, UsageError
from dretrieve.metrics.answers import Answers
from dretrieve.metrics.qa import (
    group_labels,
    groups_of,
    judge_by_answers,
    measures_of,
    parse_reader_measures,
    prepare_answers,
    read_predictions,
    score_answers,
    score_predictions,
)
from dretrieve.text.beir import Query
from dretrieve.text.queries import QuerySet
from tests.common import Told, run_of

TEXTS = {"a": "the Nile", "b": "the Rhine"}


@pytest.fixture
def questions(tmp_path):
    return QuerySet(
        [
            Query("q1", "longest?", ("Nile",), fields={"relation": "P1"}),
            Query("q2", "shorter?", ("Rhine", " "), fields={"relation": "P2"}),
            Query("q3", "none?", (), fields={}),
        ],
        tmp_path / "queries.jsonl",
    )


def test_answers_found_by_rank_with_notes(questions):
    notes = []
    answers = prepare_answers(questions, notes)
    assert notes == [
        "1 answers hold no token, or do not compile; they match nothing",
        "1 questions have no usable answer; they count as not answered",
    ]
    run = run_of({"q1": {"b": 2.0, "a": 1.0}, "q3": {"a": 1.0}})
    scores = score_answers("r", run, questions, answers, TEXTS.get, [1, 5])
    assert scores.means() == pytest.approx({"top1": 0.0, "top5": 1 / 3})
    assert scores.notes == [
        "1 of 3 questions are not in the run; they count as not answered",
        "the run holds at most 2 hits per question, top5 looks at more",
    ]


def test_a_run_of_other_questions_is_refused(questions):
    with pytest.raises(DataError) as caught:
        score_answers("r", run_of({"x": {"a": 1.0}}), questions, [], TEXTS.get, [1])
    assert "none of the 3 questions is in run r (the run has 'x', the questions 'q1')" in str(caught.value)


def test_questions_without_any_answers_are_refused(tmp_path):
    with pytest.raises(
        DataError, match="no query of .* has the key 'answers'; name a question set, or judge runs by --qrels"
    ):
        prepare_answers(QuerySet([Query("q", "?")], tmp_path / "q.jsonl"), [])


def test_group_labels(questions):
    assert group_labels(questions, "relation") == {"q1": "P1", "q2": "P2"}
    assert groups_of(["q2", "q1"], {"q1": "P1", "q2": "P2"}, "relation") == ["P2", "P1"]
    with pytest.raises(UsageError, match="no query has the field 'colour' for --by; the fields are relation"):
        group_labels(questions, "colour")


def test_a_group_needs_its_field(questions):
    labels = group_labels(questions, "relation")
    with pytest.raises(DataError, match=r"1 of 3 queries lack the field 'relation' of --by \(first: 'q3'\)"):
        groups_of(["q1", "q3", "q2"], labels, "relation")


@pytest.mark.parametrize("value", [None, ""])
def test_a_field_without_a_value_is_lacking(value, tmp_path):
    known = QuerySet(
        [Query("a", "?", fields={"relation": "P1"}), Query("b", "?", fields={"relation": value})], tmp_path
    )
    assert group_labels(known, "relation") == {"a": "P1"}


def test_a_list_is_no_group(tmp_path):
    known = QuerySet([Query("a", "?", fields={"types": ["x", "y"]})], tmp_path)
    with pytest.raises(
        DataError, match=r"query 'a' has \['x', 'y'\] in 'types', and --by takes one text or number"
    ):
        group_labels(known, "types")


def test_reader_measures():
    assert parse_reader_measures("") == ["EM", "F1"]
    assert parse_reader_measures("f1, em f1") == ["F1", "EM"]
    with pytest.raises(UsageError, match="top5, AP is no measure of predictions; the measures are EM, F1"):
        parse_reader_measures("EM top5 AP")


def test_predictions_are_scored_and_missing_ones_count_as_zero(questions):
    scores = score_predictions("p", {"q1": "The Nile!", "q2": "the Rhine river"}, questions, ["EM", "F1"])
    assert scores.means() == pytest.approx({"EM": 1 / 3, "F1": (1 + 2 * 0.5 * 1 / 1.5) / 3})
    assert scores.notes == ["1 of 3 questions have no prediction; they count as 0"]
    with pytest.raises(DataError, match="none of the 3 questions has a prediction in p"):
        score_predictions("p", {"x": "y"}, questions, ["EM"])


def test_answers_that_are_patterns_are_matched(tmp_path):
    asked = [
        Query("q1", "when?", ("Sept?(ember)?|Feb(ruary)?",), answers_are_regex=True),
        Query("q2", "where?", (r"New\s?York",), answers_are_regex=True),
        Query("q3", "who?", ("Lindbergh",)),
    ]
    questions, said = QuerySet(asked, tmp_path / "queries.jsonl"), {"q1": "february", "q2": "in New York"}
    scores = score_predictions("p", said | {"q3": "the Lindbergh"}, questions, ["EM"])
    assert scores.values["EM"].tolist() == [1, 0, 1]
    with pytest.raises(UsageError, match="the answers of 2 of 3 questions are patterns; give --metrics EM"):
        measures_of(questions, "EM F1", told := Told())
    assert measures_of(questions, "", told) == ["EM"]
    assert told.lines == [
        "F1 compares words, and the answers of 2 of 3 questions are patterns; EM alone is measured"
    ]


@pytest.mark.parametrize(
    "text",
    [
        json.dumps({"q1": "Nile", "q2": "a\tb"}),
        json.dumps({"q1": "Nile", "q2": "a\tb"}, indent=1),
        '{"query_id": "q1", "prediction": "Nile"}\n{"id": "q2", "text": "a\\tb"}\n',
        '{"id": "q1", "text": "longest?", "pred": "Nile"}\n{"id": "q2", "text": "?", "answer": "a\\tb"}\n',
        '{"qid": "q1", "prediction": "Nile"}\n{"qid": "q2", "pred": "a\\tb"}\n',
        '[{"id": "q1", "pred": "Nile"},\n{"qid": "q2", "pred": "a\\tb"}]',
        json.dumps([{"id": "q1", "pred": "Nile"}, {"id": "q2", "pred": "a\tb"}], indent=1),
        "q1\tNile\n\nq2\ta\tb\n",
    ],
)
def test_forms_of_predictions(tmp_path, text):
    path = tmp_path / "p"
    path.write_text(text)
    assert read_predictions(path) == {"q1": "Nile", "q2": "a\tb"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the file holds no predictions"),
        ('["Nile"]', "line 1: a prediction needs one of query_id"),
        ("[]", "the file holds no predictions"),
        ("q1 Nile\n", "line 1: expected a query id, a tab and an answer"),
        ("q1\tNile\nq1\tRhine\n", "line 2: query 'q1' has two predictions; keep one"),
        ('{"q1": "Nile", "q1": "Rhine"}', "the key 'q1' stands twice"),
        ('{"q1": 5}', "the prediction for 'q1' is not a string"),
        (
            '{"id": "q1"}\n',
            "line 1: a prediction needs one of query_id, _id, id, question_id, qid and one of prediction",
        ),
        ('{"id": "q1", "text": "x"}\nnonsense\n', "line 2: not valid JSON"),
        (
            '{"id": "q1", "prediction_text": "Rhine", "answer": "Nile"}\n',
            "line 1: prediction_text and answer may each be the prediction; keep one of them",
        ),
        (
            '{"id": "q1", "text": "?", "answer": "Nile", "output": "Rhine", "pred": "Po"}\n',
            "pred and output and answer may each be",
        ),
        ('{"id": "q1", "prediction": null, "answer": "Nile"}\n', "prediction and answer may each be"),
        ('{"id": "q1", "prediction": null}\n', "the prediction for 'q1' is not a string"),
    ],
)
def test_broken_predictions(tmp_path, text, message):
    path = tmp_path / "p"
    path.write_text(text)
    with pytest.raises(DataError) as caught:
        read_predictions(path)
    assert message in str(caught.value)


def test_answers_judge_every_hit_once():
    texts = {"wrong": "the sea", "right": "the Moon moves it"}
    asked = []

    def text_of(passage_id):
        asked.append(passage_id)
        return texts.get(passage_id)

    answers = [Answers(["moon"]), Answers(["x"]), Answers([])]
    hits = {"q": ["right", "wrong"], "unanswered": ["right"]}
    qrels = judge_by_answers(hits, ["q", "unsearched", "unanswered"], answers, text_of)
    assert list(qrels.query_ids) == ["q", "unsearched", "unanswered"]
    assert [qrels.passage_ids[row] for row in qrels.passages] == ["right"]
    assert asked == ["right", "wrong"]
    with pytest.raises(DataError, match="give the --corpus that was searched"):
        judge_by_answers({"q": ["gone"]}, ["q"], [Answers(["moon"])], text_of)
