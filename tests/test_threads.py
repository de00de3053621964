from __future__ import annotations

import os

import pytest

from dretrieve.threads import VARIABLES, allotted_threads


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ({"OMP_NUM_THREADS": "3", "SLURM_CPUS_PER_TASK": "5"}, 3),
        ({"OMP_NUM_THREADS": "4,2"}, 4),
        ({"OMP_NUM_THREADS": "", "SLURM_CPUS_PER_TASK": "5"}, 5),
        ({"OMP_NUM_THREADS": "0", "NSLOTS": "6"}, 6),
        ({"OMP_NUM_THREADS": "many"}, len(os.sched_getaffinity(0))),
    ],
)
def test_the_first_number_counts(monkeypatch, said, expected):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    for name, value in said.items():
        monkeypatch.setenv(name, value)
    assert allotted_threads() == expected
