"""What is dropped in training: the compiled loop beside a plain one, its rate, and that places are apart."""

import numpy as np
import pytest

from dretrieve.kernels.dropped import FACTORS, SHIFTS, drop_shares, fill_drawn, pull_shares


def plain(count: int, first: int, key: int, limit: int) -> list[bool]:
    def mixed(word: int) -> int:
        for shift, factor in zip(SHIFTS, FACTORS, strict=False):
            word = (word ^ word >> int(shift)) * int(factor) % 2**32
        return word ^ word >> int(SHIFTS[-1])

    return [mixed(mixed((first + number) % 2**32) ^ key) < limit for number in range(count)]


def drawn(count: int, first: int, key: int, rate: float) -> np.ndarray:
    found = np.empty(count, np.bool_)
    words = (np.uint32(word) for word in (first, key, int(rate * 2**32)))
    fill_drawn(found, *words, np.True_, np.False_)
    return found


def test_the_compiled_loop_is_the_plain_one() -> None:
    signs = np.empty(1000, np.float32)
    first, key, limit = 2**32 - 500, 12345, 2**30
    fill_drawn(signs, *map(np.uint32, (first, key, limit)), np.float32(-1), np.float32(1))
    assert (signs < 0).tolist() == plain(1000, first, key, limit)


@pytest.mark.parametrize("rate", [0.1, 0.75])
def test_each_place_and_each_key_drops_at_the_rate(rate: float) -> None:
    found = np.array([drawn(2000, first, key, rate) for key in range(50) for first in (0, 7)])
    deviation = (rate * (1 - rate)) ** 0.5
    assert abs(found.mean() - rate) < 4 * deviation / found.size**0.5
    assert np.abs(found.mean(axis=0) - rate).max() < 5 * deviation / len(found) ** 0.5
    for one, other in ((found[0], found[2]), (found[0, 1:], found[0, :-1]), (found[0], found[1])):
        assert abs(np.corrcoef(one, other)[0, 1]) < 4 / len(one) ** 0.5


def test_a_part_draws_what_the_whole_does() -> None:
    assert np.array_equal(drawn(100, 20, 9, 0.5), drawn(130, 0, 9, 0.5)[20:120])


def test_shares_are_dropped_where_their_places_say_in_whatever_parts() -> None:
    shares = np.random.default_rng(1).random((6, 50))
    words = 2**32 - 70, 12345, 2**30
    gone = np.array(plain(300, *words)).reshape(6, 50)
    signed, kept = shares.copy(), np.empty_like(shares)
    for start, stop in ((0, 1), (1, 1), (1, 6)):
        drop_shares(start, stop, signed, kept, *map(np.uint32, words), 4 / 3)
    assert np.array_equal(signed, np.where(gone, -shares, shares))
    np.testing.assert_allclose(kept, np.where(gone, 0, shares * 4 / 3))
    above = np.random.default_rng(2).normal(size=shares.shape)
    change, again = above.copy(), np.empty_like(kept)
    for start, stop in ((0, 4), (4, 6)):
        pull_shares(start, stop, change, signed, again, 4 / 3, 0.5)
    assert np.array_equal(again, kept)
    weighted = above * kept
    np.testing.assert_allclose(
        change, (weighted - shares * weighted.sum(axis=1, keepdims=True)) / 2, atol=1e-12
    )
