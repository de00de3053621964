from __future__ import annotations

import subprocess
import sys

import numpy as np

from dretrieve.store.seeds import fold, generator


def test_fold_is_the_same_in_every_process():
    code = "from dretrieve.store.seeds import fold; print(fold(7, 'dropout', 3, 0, 1))"
    environment = {"PYTHONPATH": ".", "PYTHONHASHSEED": "12"}
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    )
    assert int(found.stdout) == fold(7, "dropout", 3, 0, 1)


def test_every_part_counts_and_their_borders_too():
    seeds = {
        fold(1),
        fold(2),
        fold(1, 1),
        fold(1, 11),
        fold(11, 1),
        fold(1, "1", 1),
        fold(1, "a"),
        fold(1, "a", "b"),
    }
    assert len(seeds) == 8
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_generator_repeats():
    np.testing.assert_array_equal(generator(3, "q1").random(5), generator(3, "q1").random(5))
    assert generator(3, "q1").random() != generator(3, "q2").random()
