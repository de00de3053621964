from pathlib import Path

import numpy as np
import pytest

from dretrieve.errors import DataError, UsageError
from dretrieve.text.run_lines import FORMS, detect_form, form_named, parse_line, parse_score, split_line

PATH = Path("r.trec")


@pytest.mark.parametrize(
    ("line", "form"),
    [
        (b"q Q0 d 1 2.5 tag", "trec"),
        (b"q Q0 d 1 2.5 tag of several words", "trec"),
        (b"q\td\t2.5", "tevatron"),
        (b"q\td\t1\t2.5", "colbert"),
    ],
)
def test_the_form_is_told_by_the_columns(line, form):
    assert detect_form(line, PATH, 1).name == form


@pytest.mark.parametrize("line", [b"q d", b"q Q0 d 1 2.5", b"word"])
def test_other_numbers_of_columns_are_refused(line):
    with pytest.raises(DataError) as caught:
        detect_form(line, PATH, 7)
    assert str(caught.value).startswith(
        "r.trec, line 7: a run has 6 columns (query Q0 passage rank score tag), 3"
    )
    assert f"found {len(line.split())}" in str(caught.value)


def test_forms_by_name():
    assert form_named("msmarco") is FORMS["msmarco"]
    with pytest.raises(
        UsageError, match="unknown form of run 'csv'; the forms are auto, trec, tevatron, msmarco, colbert"
    ):
        form_named("csv")


def test_columns_are_parted_by_blanks_and_tabs_only():
    assert split_line(b" q\t Q0 \xc2\xa0d\x0b 1\r") == [b"q", b"Q0", b"\xc2\xa0d\x0b", b"1"]


def test_a_line():
    assert parse_line(b"001 Q0 d 0 -1.5e1 t", FORMS["trec"], PATH, 1) == (b"001", b"d", np.float32(-15))
    assert parse_line(b" \t\r", FORMS["trec"], PATH, 1) is None


def test_missing_and_surplus_columns_name_the_layout():
    with pytest.raises(
        DataError, match=r"line 3: expected 6 columns \(query Q0 passage rank score tag\), found 5"
    ):
        parse_line(b"q Q0 d 1 2.5", FORMS["trec"], PATH, 3)
    with pytest.raises(
        DataError, match=r"line 3: expected 3 columns \(query passage score\), found 4: 'q d e 2.5'"
    ):
        parse_line(b"q d e 2.5", FORMS["tevatron"], PATH, 3)


@pytest.mark.parametrize(
    ("token", "value"),
    [(b"1", 1), (b"+1.", 1), (b".5", 0.5), (b"-2E3", -2000), (b"1e-45", 1e-45), (b"1e-99", 0), (b"0.1", 0.1)],
)
def test_scores(token, value):
    assert parse_score(token, PATH, 1) == np.float32(value)


def test_a_score_is_rounded_from_double_to_float():
    # Halfway between two floats in decimal, but not as a double: two roundings, as in trec_eval.
    text = b"1.00000005960464477540"
    assert parse_score(text, PATH, 1) == np.float32(np.float64(float(text)))


@pytest.mark.parametrize(
    ("token", "message"),
    [
        (b"nan", "the score is 'nan'; scores must be finite: search again with sound vectors"),
        (b"-Inf", "the score is '-Inf'; scores must be finite"),
        (b"infinity", "scores must be finite"),
        (b"1e39", "the score '1e39' is larger than a 32-bit float can hold"),
        (b"1e999", "the score '1e999' is larger than a 32-bit float can hold"),
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
