"""Coded residuals, sums of rows and lists: compiled equals numpy, and what they promise holds."""

from __future__ import annotations

import numpy as np
import pytest

from dretrieve.kernels.residuals import Coding, add_rows, code_residuals, lists_of
from dretrieve.types import offsets_of
from tests.kernels import twins


@pytest.mark.parametrize("bits", [1, 2, 4, 8])
def test_codes_are_the_nearest_levels_and_no_vector_is_farther_than_its_error(bits: int) -> None:
    chance = np.random.default_rng(bits)
    values, centroids = chance.standard_normal((300, 13)), chance.standard_normal((9, 13))
    values, centroids = values.astype(np.float32), centroids.astype(np.float32)
    steps = np.sort(chance.standard_normal(1 << bits)).astype(np.float32)
    codes = chance.integers(0, 9, 300).astype(np.uint16)
    coding = Coding(centroids, steps, (steps[1:] + steps[:-1]) / 2, bits)
    packed, errors = code_residuals(values, codes, coding)
    twin = twins.code_residuals(values, codes, coding)
    assert packed.tobytes() == twin[0].tobytes()
    assert errors.tobytes() == twin[1].tobytes()
    each = np.unpackbits(packed, axis=1, bitorder="little")[:, : 13 * bits].reshape(300, 13, bits)
    found = each @ (1 << np.arange(bits))
    residuals = values - centroids[codes]
    best = np.abs(residuals[:, :, None] - steps).min(axis=2)
    np.testing.assert_allclose(np.abs(residuals - steps[found]), best, atol=1e-6)
    off = np.linalg.norm(values.astype(np.float64) - (centroids[codes] + steps[found]), axis=1)
    assert (off <= errors).all()
    assert (errors <= off * (1 + 1e-6) + 1e-6).all()


def test_rows_beyond_all_levels_get_the_last() -> None:
    steps = (np.arange(256) - 127).astype(np.float32)
    coding = Coding(np.zeros((1, 2), np.float32), steps, (steps[1:] + steps[:-1]) / 2, 8)
    packed, _ = code_residuals(np.float32([[3e38, -3e38], [0, 1]]), np.zeros(2, np.uint16), coding)
    assert packed.tolist() == [[255, 0], [127, 128]]


def test_sums_and_lists_are_those_of_numpy() -> None:
    chance = np.random.default_rng(0)
    rows = chance.integers(-127, 128, (500, 7)).astype(np.int8)
    borders = offsets_of(chance.integers(0, 9, 120))
    codes = chance.integers(0, 30, borders[-1]).astype(np.uint16)
    owners = chance.integers(0, 40, 500)
    assert np.array_equal(add_rows(rows, owners, 40), twins.add_rows(rows, owners, 40))
    offsets, lists = lists_of(codes, borders, 31)
    expected = twins.lists_of(codes, borders, 31)
    assert np.array_equal(offsets, expected[0])
    assert np.array_equal(lists, expected[1])
    assert lists.dtype == expected[1].dtype == np.uint16
    assert set(lists[offsets[3] : offsets[4]]) == {
        text for text in range(120) if 3 in codes[borders[text] : borders[text + 1]]
    }


def test_lists_of_many_texts_hold_larger_numbers() -> None:
    borders = np.arange((1 << 16) + 2)
    offsets, lists = lists_of((borders[1:] % 2).astype(np.uint16), borders, 2)
    assert lists.dtype == np.int32
    assert offsets.tolist() == [0, 1 << 15, (1 << 16) + 1]
    assert lists[-1] == 1 << 16
