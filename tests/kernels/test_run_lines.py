import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.kernels.run_lines import mark_unusual, nine_digits


@given(st.floats(width=32, min_value=2.0**-149, allow_infinity=False))
def test_nine_digits_are_those_of_percent_g(score):
    digits, exponent = nine_digits(score)
    mantissa, power = f"{score:.8e}".split("e")
    if exponent != 99:
        assert exponent == int(power)
        assert digits == int(mantissa.replace(".", ""))
    else:
        exact_half = abs(score * 10.0 ** (8 - int(power)) % 1 - 0.5) < 1e-5
        assert exact_half or not -4 <= int(power) < 9 or float(f"{score:.9g}") >= 1e9


@pytest.mark.parametrize(
    ("score", "expected"),
    [
        (1.0, (100000000, 0)),
        (12.5, (125000000, 1)),
        (2.0**-12, (244140625, -4)),
        (999999936.0, (999999936, 8)),
    ],
)
def test_by_hand(score, expected):
    assert nine_digits(float(np.float32(score))) == expected


def test_what_must_be_written_by_other_means():
    scores = np.asarray([1.5, 0.0, -0.0, 1e-5, 1e10, -2.5, 2.0**-149], np.float32)
    marks = np.zeros(len(scores), np.bool_)
    mark_unusual(scores, False, marks)
    assert marks.tolist() == [False, False, True, True, True, False, True]
    doubles = np.asarray([1.5, 1 / 3, 0.123456789, 0.1234567891, 27.4812, 0.0, 123456789.0, 123456789.5])
    marks = np.zeros(len(doubles), np.bool_)
    mark_unusual(doubles, True, marks)
    assert marks.tolist() == [False, True, False, True, False, False, False, True]
