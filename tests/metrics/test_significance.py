import itertools
import sys

import numpy as np
import pytest

from dretrieve.errors import PreconditionError
from dretrieve.metrics.significance import compare, holm, paired_t_test, randomization_test


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])
    assert holm([]) == []


def test_t_test_by_its_formula():
    differences = np.asarray([0.1, 0.3, -0.1, 0.2, 0.4])
    p, low, high = paired_t_test(differences)
    error = differences.std(ddof=1) / np.sqrt(5)
    assert (low, high) == pytest.approx(
        (differences.mean() - 2.776445105 * error, differences.mean() + 2.776445105 * error), abs=1e-9
    )
    assert 0.05 < p < 0.15


@pytest.mark.parametrize(("values", "p"), [([0.0, 0.0, 0.0], 1.0), ([0.5, 0.5, 0.5], 0.0), ([0.5], 1.0)])
def test_t_test_without_spread(values, p):
    differences = np.asarray(values)
    assert paired_t_test(differences) == (p, differences.mean(), differences.mean())


def test_randomisation_equals_all_sign_flips_of_a_small_sample():
    differences = np.asarray([0.3, 0.1, -0.2, 0.5, 0.4, 0.05])
    signs = np.asarray(list(itertools.product([1, -1], repeat=6)))
    means = (signs * differences).mean(axis=1)
    exact = float((np.abs(means) >= abs(differences.mean()) - 1e-12).mean())
    assert randomization_test(differences) == pytest.approx(exact, abs=1e-9)


def test_randomisation_is_seeded_and_never_zero():
    differences = np.random.default_rng(1).normal(0.5, 0.1, 200)
    p = randomization_test(differences, seed=3)
    assert p == randomization_test(differences, seed=3)
    assert 0 < p < 0.001
    assert randomization_test(np.zeros(5)) == 1


def test_far_apart_runs_differ_however_many_tests_are_corrected_together():
    """Of 9,999 flips none is as far, so p is 2 / 10,000; the exact p of 100 equal signs is 2 / 2^100."""
    p = randomization_test(np.random.default_rng(1).uniform(0.1, 0.5, 100))
    assert 2 / 2**100 < p < 1e-12
    assert min(holm([p] * 1000)) < 0.05
    assert 0 < randomization_test(np.full(2000, 0.1)) < 1e-300


def test_no_difference_is_rarely_significant(monkeypatch):
    monkeypatch.setattr("dretrieve.metrics.significance.RESAMPLES", 999)
    rng = np.random.default_rng(5)
    found = [randomization_test(rng.normal(0, 1, 50), seed=seed) for seed in range(100)]
    assert 0 <= sum(p < 0.05 for p in found) <= 12


def test_compare_counts_and_corrects_together():
    rng = np.random.default_rng(0)
    base = rng.random(60)
    better = np.minimum(base + 0.2, 1.0)
    rows = compare([("base", {"RR": base, "AP": base}), ("new", {"RR": better, "AP": base})])
    first, second = rows
    assert (first.measure, first.baseline, first.run) == ("RR", "base", "new")
    assert first.wins + first.losses + first.ties == 60
    assert first.losses == 0
    assert first.difference == pytest.approx((better - base).mean())
    assert first.low < first.difference < first.high
    assert first.randomization_holm == pytest.approx(2 * first.randomization)
    assert first.significant
    assert (second.wins, second.ties, second.randomization_holm) == (0, 60, 1.0)
    assert not second.significant


def test_scipy_absent_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "scipy", None)
    with pytest.raises(PreconditionError, match="--compare needs scipy; install it: pip install scipy"):
        paired_t_test(np.asarray([0.1, 0.2]))
