from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dretrieve.errors import DataError
from dretrieve.kernels.parse_lines import BAD, SURE, UNSURE, parse_score
from dretrieve.runs import lines

NUMBERS = (
    st.floats(width=32, allow_nan=False, allow_infinity=False).map(repr)
    | st.floats(allow_nan=False, allow_infinity=False).map(repr)
    | st.from_regex(r"[+-]?[0-9]{0,25}\.?[0-9]{0,25}([eE][+-]?[0-9]{1,4})?", fullmatch=True)
)


def twin(token):
    try:
        return lines.parse_score(token, Path("r"), 1)
    except DataError:
        return None


def check(token):
    data = np.frombuffer(token + b"\n", np.uint8)
    value, state = parse_score(data, 0, len(token))
    expected = twin(token)
    if state == SURE:
        assert expected is not None
        assert value == expected
    elif state == BAD:
        assert expected is None
    else:
        assert state == UNSURE
    return state


@given(NUMBERS)
@example("1.00000005960464477540")
@example("0.000000000000000000000000000000000000011754943508222875")
@example("340282356779733661637539395458142568447")
@example("9007199254740993")
@example("00000000000000000000000000000001.5")
@example("-0.0")
def test_a_sure_score_is_the_plain_parsers(text):
    check(text.encode())


@given(st.binary(max_size=8).filter(lambda token: not set(token) & set(b" \t\r\n")))
def test_bytes_that_are_no_number_are_bad(token):
    check(token)


@pytest.mark.parametrize(
    "token", [b"27.481200", b"0.6509185433387756", b"1e-3", b"15", b"109.105545", b"-3.25"]
)
def test_usual_scores_need_no_second_parser(token):
    assert check(token) == SURE


@pytest.mark.parametrize(
    "token", [b"nan", b"inf", b"-inf", b"1_0", b"0x1", b"1e", b"1e+", b".", b"", b"1.2.3", b"e5"]
)
def test_what_is_no_score_is_bad(token):
    assert check(token) == BAD


def test_doubtful_roundings_are_left_to_the_plain_parser():
    assert check(b"1.00000005960464477539") == UNSURE
    assert check(b"1e39") == UNSURE
    assert check(b"1e-300") == UNSURE
