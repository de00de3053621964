from decimal import Decimal

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.kernels.write_lines import AS_TEXT, mark_unusual, nine_digits, shortest_digits


@given(st.floats(width=32, min_value=2.0**-149, allow_infinity=False))
def test_nine_digits_are_those_of_percent_g(score):
    digits, exponent = nine_digits(score)
    mantissa, power = f"{score:.8e}".split("e")
    if exponent != AS_TEXT:
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
    assert mark_unusual(scores, False).tolist() == [False, False, True, True, True, False, True]
    doubles = np.asarray([1.5, 1 / 3, 0.1234567891, 27.4812, -0.0, 123456789.25, 1e-5, 1e300])
    assert mark_unusual(doubles, True).tolist() == [False, False, False, False, True, False, True, True]


CLOSE = st.builds(
    lambda base, steps: base * (1 + steps * 2.0**-52),
    st.sampled_from([0.5, 1.0, 1e-4, 0.1, 3.0, 123456789.0]),
    st.integers(0, 9),
)


@given(
    st.floats(1e-4, 999_999_999)
    | CLOSE
    | st.builds(
        lambda digits, places: float(f"{digits}e-{places}"), st.integers(1, 10**17), st.integers(9, 20)
    )
)
def test_the_shortest_digits_are_those_of_repr(score):
    digits, count, exponent = shortest_digits(score, True)
    if exponent == AS_TEXT:
        return
    _, shortest, power = Decimal(repr(score)).as_tuple()
    expected = int("".join(map(str, shortest)))
    assert count in (9, 15, 16, 17)
    assert exponent == len(shortest) + power - 1
    assert int(str(digits).rstrip("0")) == int(str(expected).rstrip("0"))


def test_few_doubles_come_as_text():
    scores = np.random.default_rng(0).random(20_000) * np.repeat([0.5, 1.0, 80.0, 1e4], 5000)
    assert mark_unusual(scores, True).mean() < 0.01
