"""The largest weights of each text against plain numpy and against sorting by hand."""

from __future__ import annotations

import numpy as np

from dretrieve.kernels.salient import mark_largest
from dretrieve.types import offsets_of
from tests.kernels import twins


def test_the_largest_are_marked_of_equals_the_first() -> None:
    for seed in range(50):
        chance = np.random.default_rng(seed)
        lengths = chance.integers(0, 9, 30)
        borders, counts = offsets_of(lengths), chance.integers(0, lengths + 1)
        weights = chance.integers(0, (3, 1000)[seed % 2], borders[-1]).astype(np.float32)
        marks = mark_largest(weights, borders, counts)
        assert np.array_equal(twins.mark_largest(weights, borders, counts), marks)
        for text in range(30):
            own = weights[borders[text] : borders[text + 1]].tolist()
            best = sorted(range(len(own)), key=lambda place: (-own[place], place))[: counts[text]]
            assert np.flatnonzero(marks[borders[text] : borders[text + 1]]).tolist() == sorted(best)
