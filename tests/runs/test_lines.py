from pathlib import Path

import pytest

from dretrieve.errors import DataError
from dretrieve.runs.lines import FORMS, detect_form, parse_line, parse_score

PATH = Path("r.trec")


@pytest.mark.parametrize(
    ("line", "form"),
    [
        (b"q Q0 d 1 2.5 tag", "trec"),
        (b"q\tQ0\tOld Harbour\t1\t2.5\ttag of several words", "trec"),
        (b"q\td\t2.5", "tevatron"),
        (b"q\td\t1\t2.5", "colbert"),
    ],
)
def test_the_form_is_told_by_the_columns(line, form):
    assert detect_form(line, PATH, 1).name == form


@pytest.mark.parametrize("line", [b"q d", b"q Q0 d 1 2.5", b"word", b"q Q0 d 1 2.5 tag of several words"])
def test_other_numbers_of_columns_are_refused(line):
    with pytest.raises(DataError) as caught:
        detect_form(line, PATH, 7)
    assert str(caught.value).startswith(
        "r.trec, line 7: a run has 6 columns (query Q0 passage rank score tag), 3"
    )
    assert f"found {len(line.split())}" in str(caught.value)


def test_columns_of_other_marks_are_named():
    for mark, name in ((b";", "semicolons"), (b"|", "bars"), (b",", "commas")):
        with pytest.raises(DataError, match=f"found 1 .parted by {name}; part them by tabs"):
            detect_form(mark.join((b"q", b"d", b"2.5")), PATH, 1)


@pytest.mark.parametrize("line", [b"q1 0 d1 1", b"1000 0 7067032 1"])
def test_judgements_are_no_run_of_four_columns(line):
    with pytest.raises(
        DataError, match=r"line 1: four columns .* give judgements as --qrels, or say --run-format"
    ):
        detect_form(line, PATH, 1)


def test_a_line():
    assert parse_line(b"001 Q0 d 0 -1.5e1 t", FORMS["trec"], PATH, 1) == (b"001", b"d", b"-1.5e1")
    for line in (b" \t\r", b"# system: demo", b"  #q Q0 d 1 2 t", b""):
        assert parse_line(line, FORMS["trec"], PATH, 1) is None
    assert parse_line(b"q#1 Q0 d#9 0 1 #t", FORMS["trec"], PATH, 1) == (b"q#1", b"d#9", b"1")


@pytest.mark.parametrize(
    ("token", "value"),
    [
        (b"1", 1),
        (b"+1.", 1),
        (b".5", 0.5),
        (b"-2E3", -2000),
        (b"1e-45", 1e-45),
        (b"1e-999", 0),
        (b"1e39", 1e39),
        (b"0.1", 0.1),
    ],
)
def test_scores(token, value):
    assert parse_score(token, PATH, 1) == value


def test_a_score_is_a_double():
    assert parse_score(b"0.500000022", PATH, 1) > parse_score(b"0.500000021", PATH, 1)
    assert parse_score(b"9007199254740993", PATH, 1) == 9007199254740992.0


@pytest.mark.parametrize(
    ("token", "message"),
    [
        (b"nan", "the score is 'nan'; scores must be finite: search again with sound vectors"),
        (b"-Inf", "the score is '-Inf'; scores must be finite"),
        (b"infinity", "scores must be finite"),
        (b"1e999", "the score '1e999' is larger than a 64-bit float can hold"),
        (b"abc", "the score 'abc' is not a number"),
        (b"1_000", "the score '1_000' is not a number"),
        (b"0x10", "the score '0x10' is not a number"),
        (b"1,5", "the score '1,5' is not a number"),
        (b".", "the score '.' is not a number"),
        (b"1e", "the score '1e' is not a number"),
    ],
)
def test_what_is_no_score(token, message):
    with pytest.raises(DataError) as caught:
        parse_score(token, PATH, 5)
    assert str(caught.value).startswith("r.trec, line 5: ")
    assert message in str(caught.value)
