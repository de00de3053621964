"""What a claim compares: by query, by seed, by round."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dretrieve.reports.claims_samples import NoCommonSeedError, combined, difference, excess, rounds
from dretrieve.reports.expected_file import read_expected
from dretrieve.reports.metrics_file import Measured
from dretrieve.reports.readings import Reading
from dretrieve.reports.verdicts import Judged


@pytest.fixture
def cell(recipe):
    """A function: a cell with those values by seed and query, of a file with {seed} or without."""
    plain = read_expected(recipe / "expected.yaml").cell("t1.dpr.nq")

    def made(by_seed, file="{seed}.json", ids="abc", row="dpr"):
        readings = []
        for seed, values in by_seed.items():
            measured = Measured(
                name="run",
                means={},
                query_ids=list(ids),
                values={"R@1": np.array(values, float)},
            )
            readings.append(Reading(seed=seed, file=Path(f"{seed}.json"), value=0.0, measured=measured))
        return Judged(cell=replace(plain, file=file, row=row), verdict="OK", readings=readings, value=0.0)

    return made


def test_only_common_seeds_are_compared(cell):
    """Seed 1 is a bad draw for everything: a row run with it alone is not worse for that."""
    left, right = cell({1: [1, 0, 0]}), cell({1: [1, 0, 0], 2: [1, 1, 1], 3: [1, 1, 1]})
    found = difference(left, right, "R@1", 100.0)
    np.testing.assert_array_equal(found.values, [0, 0, 0])
    assert list(found.layouts[0]) == [1]


def test_values_are_the_mean_over_the_common_seeds(cell):
    left = cell({1: [1, 0, 0], 2: [1, 1, 0], 4: [0, 0, 0]})
    right = cell({3: [0, 0, 1], 2: [0, 1, 0], 4: [0, 1, 0]})
    found = difference(left, right, "R@1", 100.0)
    np.testing.assert_allclose(found.values, [50, -50, 0])
    assert [list(layout) for layout in found.layouts] == [[2, 4]]
    np.testing.assert_allclose(found.layouts[0][2], [100, 0, 0])
    assert (found.trained, found.paired) == (True, True)


def test_without_a_common_seed_there_is_nothing_to_compare(cell):
    left, right = cell({1: [1, 0, 0]}), cell({2: [1, 1, 1], 3: [1, 1, 1]}, row="shared")
    with pytest.raises(NoCommonSeedError, match="t1.dpr.nq was run with the seeds 1, t1.shared.nq with 2, 3"):
        difference(left, right, "R@1", 1.0)


def test_queries_are_matched_by_id(cell):
    left, right = cell({1: [1, 0, 0]}), cell({1: [0, 0, 1]}, ids="cba")
    np.testing.assert_allclose(difference(left, right, "R@1", 1.0).values, [0, 0, 0])


@pytest.mark.parametrize("swapped", [False, True])
def test_a_side_without_seeds_stands_beside_every_seed(cell, swapped):
    seeded, plain = cell({2: [1, 1, 1], 3: [0, 0, 1]}), cell({1: [0, 1, 0]}, file="bm25.json")
    assert (seeded.cell.is_trained, plain.cell.is_trained) == (True, False)
    found = difference(plain, seeded, "R@1", 1.0) if swapped else difference(seeded, plain, "R@1", 1.0)
    sign = -1 if swapped else 1
    assert sorted(found.layouts[0]) == [2, 3]
    np.testing.assert_allclose(found.layouts[0][2], [sign, 0, sign])
    np.testing.assert_allclose(found.layouts[0][3], [0, -sign, sign])
    assert found.trained


def test_two_sides_without_seeds_have_one_difference(cell):
    left, right = cell({1: [1, 0, 0]}, file="a.json"), cell({1: [0, 0, 0]}, file="b.json")
    found = difference(left, right, "R@1", 1.0)
    assert (list(found.layouts[0]), found.trained) == ([1], False)


def test_what_cannot_be_compared_is_said(cell):
    with pytest.raises(ValueError, match="R@5 was not measured for t1.dpr.nq and t1.shared.nq"):
        difference(cell({1: [1, 0, 0]}), cell({1: [1, 0, 0]}, row="shared"), "R@5", 1.0)
    with pytest.raises(ValueError, match="measured on different queries"):
        difference(cell({1: [1, 0, 0]}), cell({1: [1, 0, 0]}, ids="abd"), "R@1", 1.0)


def test_an_excess_has_welchs_standard_error(cell):
    gain = difference(cell({1: [1, 0, 0], 2: [1, 1, 0]}), cell({1: [0, 0, 0], 2: [0, 0, 0]}), "R@1", 1.0)
    ids = "vwxyz"
    other = difference(
        cell({1: [1, 0, 1, 0, 1], 2: [0, 0, 0, 0, 1]}, ids=ids),
        cell({1: [0, 1, 0, 0, 0], 2: [0] * 5}, ids=ids),
        "R@1",
        1.0,
    )
    found = combined([gain, other], [1, -1])
    assert found.values.mean() == pytest.approx(gain.values.mean() - other.values.mean())
    error = np.sqrt(gain.values.var(ddof=1) / 3 + other.values.var(ddof=1) / 5)
    assert found.values.std(ddof=1) / np.sqrt(8) == pytest.approx(error)
    assert (found.trained, found.paired, len(found.layouts)) == (True, False, 2)
    np.testing.assert_allclose(found.layouts[1][1], -other.layouts[0][1])


def test_an_excess_over_the_same_queries_is_by_query(cell):
    none = cell({1: [0, 0, 0], 2: [0, 0, 0], 3: [0, 0, 0]})
    gain = difference(cell({1: [1, 0, 0], 2: [1, 1, 0]}), none, "R@1", 1.0)
    turned = cell({2: [0, 0, 0], 3: [0, 0, 0]}, ids="cba")
    other = difference(cell({2: [0, 1, 0], 3: [1, 1, 1]}, ids="cba"), turned, "R@1", 1.0)
    found = excess(gain, other)
    np.testing.assert_allclose(found.values, [1, 0, 0])
    assert ([list(layout) for layout in found.layouts], found.trained, found.paired) == ([[2]], True, True)
    plain = difference(cell({1: [1, 0, 0]}, file="a"), cell({1: [0, 0, 0]}, file="b"), "R@1", 1.0)
    for one, two in ((gain, plain), (plain, gain)):
        assert list(excess(one, two).layouts[0]) == [1, 2]
    last = difference(cell({3: [1, 0, 0]}), none, "R@1", 1.0)
    apart = difference(cell({1: [1, 0]}, ids="xy"), cell({1: [0, 0]}, ids="xy"), "R@1", 1.0)
    assert not any(excess(gain, one).paired for one in (last, apart))


def averaged(*sets):
    """An average's cell over those, with a reading for each of their seeds."""
    seeds = [reading.seed for reading in sets[0].readings]
    members = [[one.readings[place] for one in sets] for place in range(len(seeds))]
    readings = [
        Reading(seed=seed, file=Path(), value=0.0, members=each)
        for seed, each in zip(seeds, members, strict=True)
    ]
    cell = replace(sets[0].cell, file="", measure="", average=tuple(one.cell for one in sets))
    return replace(sets[0], cell=cell, readings=readings)


def test_an_average_is_of_the_sets_means_and_its_error_of_each_sets_own(cell):
    """Differences 1 0 0 and 1 1 0 0: means 1/3, 1/2, variances 1/3 both, squared errors 1/9 and 1/12."""
    a, b = cell({1: [1, 0, 0]}), cell({1: [1, 1, 0, 0]}, ids="vxyz")
    none = averaged(cell({1: [0, 0, 0]}), cell({1: [0, 0, 0, 0]}, ids="vxyz"))
    found = difference(averaged(a, b), none, "R@1", 1.0)
    assert found.values.mean() == pytest.approx(5 / 12)  # of one pool 3/7
    assert found.values.std(ddof=1) / np.sqrt(7) == pytest.approx(np.sqrt(7) / 12)  # the root of 7/36, halved
    assert (found.paired, len(found.layouts)) == (False, 2)


def test_an_average_is_compared_set_by_set_and_seed_by_seed(cell):
    """A side without seeds stands beside all; a seed of one side alone is not compared."""
    ours = averaged(cell({1: [1, 0, 0], 2: [1, 1, 0]}), cell({1: [1, 1], 2: [1, 0]}, ids="xy"))
    theirs = averaged(cell({2: [0, 1, 0], 3: [1, 1, 1]}), cell({2: [0, 0], 3: [1, 1]}, ids="xy"))
    found = difference(ours, theirs, "R@1", 100.0)
    assert [list(layout) for layout in found.layouts] == [[2], [2]]
    np.testing.assert_allclose(found.layouts[0][2], [50, 0, 0])  # half of each set's difference
    np.testing.assert_allclose(found.layouts[1][2], [50, 0])
    plain = averaged(cell({1: [0, 0, 0]}, file="a.json"), cell({1: [0, 1]}, file="b.json", ids="xy"))
    found = difference(ours, plain, "R@1", 1.0)
    assert [list(layout) for layout in found.layouts] == [[1, 2], [1, 2]]
    assert found.values.mean() == pytest.approx((1.0 / 3 + 2 / 3 + 0.5 + 0.0) / 4)


def timed(cell, *seconds):
    (reading,) = cell({1: [0, 0, 0]}).readings
    return replace(cell({}), readings=[replace(reading, measured=None, repeats=seconds)])


def test_rounds_are_logs_of_ratios_to_the_bound(cell):
    left, right = timed(cell, 1.0, 3.0), timed(cell, 2.0, 4.0)
    np.testing.assert_allclose(rounds(left, right, 0.5).values, np.log([1.0, 1.5]))
    np.testing.assert_allclose(rounds(left, None, 2.0).values, np.log([0.5, 1.5]))
    assert rounds(timed(cell), timed(cell), 0.5) is None
    assert rounds(timed(cell), None, 0.5) is None


def test_rounds_must_be_pairs_of_positive_numbers(cell):
    with pytest.raises(ValueError, match="t1.dpr.nq and t1.dpr.nq were measured 1 and 2 times, not in turn"):
        rounds(timed(cell, 1.0), timed(cell, 1.0, 2.0), 0.5)
    for left, bound in ((timed(cell, 0.0), 0.5), (timed(cell, 1.0), 0.0)):
        with pytest.raises(ValueError, match="needs times and a bound above 0"):
            rounds(left, timed(cell, 1.0), bound)


def test_rounds_are_paired_by_seed(cell):
    """A machine that was slow for seed 3 says nothing of the side that was not run with it."""

    def side(**seconds):
        readings = [
            replace(timed(cell, *one).readings[0], seed=int(name[1:])) for name, one in seconds.items()
        ]
        return replace(cell({}), readings=readings)

    left, right = side(s1=(1.0, 1.0), s2=(2.0, 3.0)), side(s2=(4.0, 9.0), s3=(8.0, 8.0))
    np.testing.assert_allclose(rounds(left, right, 1.0).values, np.log([1 / 2, 1 / 3]))
    with pytest.raises(NoCommonSeedError, match="with the seeds 1, t1.dpr.nq with 3: none is common"):
        rounds(side(s1=(1.0, 1.0)), side(s3=(8.0, 8.0)), 1.0)
