"""A paper's sentences on our numbers."""

from __future__ import annotations

import numpy as np
import pytest

from dretrieve.metrics.significance import paired_t_test
from dretrieve.reports import claims
from dretrieve.reports.artefacts import Library
from dretrieve.reports.expected_file import read_expected
from dretrieve.reports.readings import Place
from dretrieve.reports.verdicts import judge_all


def findings(recipe, work):
    expected = read_expected(recipe / "expected.yaml")
    library = Library.scan(work.folder)
    place = Place(work=work.folder, profile=expected.profiles["paper"], library=library)
    return claims.find_all(expected, judge_all(expected, place))


def edit(recipe, old, new):
    path = recipe / "expected.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))


def values(share, queries=200):
    return [1.0 if number < share * queries else 0.0 for number in range(queries)]


@pytest.mark.parametrize(
    ("dpr", "shared", "outcome"), [(0.4, 0.6, "HOLDS"), (0.6, 0.4, "DOES NOT HOLD"), (0.5, 0.51, "UNDECIDED")]
)
def test_above(recipe, work, dpr, shared, outcome):
    work.system("dpr", "dpr", values(dpr))
    work.system("shared", "shared", values(shared))
    found = findings(recipe, work)["shared-above-dpr"]
    assert found.outcome == outcome
    assert found.difference == pytest.approx(100 * (shared - dpr))
    assert found.low < found.difference < found.high
    assert found.detectable > 0


def test_smallest_detectable_difference_is_what_four_of_five_samples_of_that_size_show():
    rng = np.random.default_rng(3)
    spread, queries = 0.5, 400
    smallest = claims.POWER * spread / np.sqrt(queries)
    shown = [paired_t_test(rng.normal(smallest, spread, queries))[0] < 0.05 for _ in range(400)]
    assert 0.74 < np.mean(shown) < 0.86


def test_what_was_not_run_and_what_failed(recipe, work):
    work.system("dpr", "dpr", values(0.5))
    found = findings(recipe, work)["shared-above-dpr"]
    assert (found.outcome, found.notes) == ("NOT RUN", ("not run: t1.shared.nq",))
    work.system("shared", "dpr", values(0.5))
    found = findings(recipe, work)["shared-above-dpr"]
    assert (found.outcome, found.notes) == ("FAIL", ("the chain of t1.shared.nq does not fit",))


def test_other_queries_are_no_comparison(recipe, work):
    work.system("dpr", "dpr", values(0.5))
    work.system("shared", "shared", values(0.5, 150))
    found = findings(recipe, work)["shared-above-dpr"]
    assert (found.outcome, found.notes) == (
        "FAIL",
        ("t1.shared.nq and t1.dpr.nq were measured on different queries",),
    )


@pytest.mark.parametrize(
    ("shared", "margin", "outcome"),
    [(0.5, 5.0, "HOLDS"), (0.3, 5.0, "DOES NOT HOLD"), (0.49, 1.0, "UNDECIDED")],
)
def test_not_below_needs_the_whole_interval_above_the_margin(recipe, work, shared, margin, outcome):
    edit(recipe, "relation: above", f"relation: not-below\n    margin: {margin}")
    rng = np.random.default_rng(0)
    noise = rng.permutation(values(0.5))
    work.system("dpr", "dpr", noise)
    work.system("shared", "shared", noise - (0.5 - shared) * 2 * (noise > 0))
    assert findings(recipe, work)["shared-above-dpr"].outcome == outcome


@pytest.mark.parametrize(
    ("shared", "outcome"), [(0.5, "HOLDS"), (0.6, "DOES NOT HOLD"), (0.2, "DOES NOT HOLD")]
)
def test_equal_within_a_margin(recipe, work, shared, outcome):
    edit(recipe, "relation: above", "relation: equal\n    margin: 3")
    work.system("dpr", "dpr", values(0.5))
    work.system("shared", "shared", values(shared))
    assert findings(recipe, work)["shared-above-dpr"].outcome == outcome


def gains(recipe, work, on_nq, on_tq):
    """Both systems on two query sets, with those gains of shared over dpr."""
    edit(recipe, "nq: {title: NQ}", "nq: {title: NQ}\n      tq: {title: TQ}")
    edit(recipe, 'file: "metrics/{row}.json"', 'file: "metrics/{row}.{column}.json"')
    edit(recipe, "cells: {nq: 50.0}", "cells: {nq: 50.0, tq: 50.0}")
    edit(recipe, 'prints 60.0"}}', 'prints 60.0"}, tq: 60.0}')
    edit(recipe, "relation: above", "relation: most\n    others: [[t1.shared.tq, t1.dpr.tq]]")
    for name in ("dpr", "shared"):
        work.model(name, name)
        work.run(name, name)
    for column, gain, queries in (("nq", on_nq, 300), ("tq", on_tq, 200)):
        work.metrics(f"dpr.{column}", values(0.4, queries), "dpr")
        work.metrics(f"shared.{column}", values(0.4 + gain, queries), "shared")
    return findings(recipe, work)["shared-above-dpr"]


@pytest.mark.parametrize(
    ("on_nq", "on_tq", "outcome"),
    [(0.3, 0.05, "HOLDS"), (0.05, 0.3, "DOES NOT HOLD"), (0.10, 0.09, "UNDECIDED")],
)
def test_most_compares_gains_on_different_queries(recipe, work, on_nq, on_tq, outcome):
    found = gains(recipe, work, on_nq, on_tq)
    assert found.outcome == outcome
    assert found.difference == pytest.approx(100 * (on_nq - on_tq))


def test_a_difference_of_gains_has_the_error_of_two_independent_means(recipe, work):
    found = gains(recipe, work, 0.3, 0.1)
    errors = [
        np.var(np.array([1.0] * round(g * n) + [0.0] * round((1 - g) * n)), ddof=1) / n
        for g, n in ((0.3, 300), (0.1, 200))
    ]
    expected = 1.96 * np.sqrt(sum(errors)) * 100
    assert (found.high - found.low) / 2 == pytest.approx(expected, rel=0.02)


@pytest.mark.parametrize(
    ("relation", "bound", "outcome"),
    [
        ("at-most", 0.6, "HOLDS"),
        ("at-most", 0.5, "DOES NOT HOLD"),
        ("at-least", 0.5, "HOLDS"),
        ("at-least", 0.6, "DOES NOT HOLD"),
    ],
)
def test_a_ratio_against_a_bound(recipe, work, relation, bound, outcome):
    edit(recipe, "relation: above", f"relation: {relation}\n    bound: {bound}")
    work.system("dpr", "dpr", values(0.8))
    work.system("shared", "shared", values(0.44))
    found = findings(recipe, work)["shared-above-dpr"]
    assert (found.outcome, found.difference) == (outcome, pytest.approx(0.55))


def test_a_margin_is_tested_with_the_others(recipe, work):
    """Alone the difference is above its margin; among ten claims that is no longer sure."""
    edit(recipe, "relation: above", "relation: not-below\n    margin: 0.75")
    work.system("dpr", "dpr", values(0.5))
    work.system("shared", "shared", values(0.505))
    alone = findings(recipe, work)["shared-above-dpr"]
    path = recipe / "expected.yaml"
    again = "".join(
        f"  c{number}: {{says: again, relation: above, left: t1.dpr.nq, right: t1.shared.nq}}\n"
        for number in range(9)
    )
    path.write_text(path.read_text() + again)
    together = findings(recipe, work)["shared-above-dpr"]
    assert (alone.outcome, together.outcome) == ("HOLDS", "UNDECIDED")
    assert together.p == pytest.approx(10 * alone.p)
    assert alone.p == pytest.approx(paired_t_test(alone_differences() + 0.0075)[0])


def alone_differences():
    return np.array(values(0.505)) - np.array(values(0.5))


def test_claims_are_corrected_together(recipe, work):
    path = recipe / "expected.yaml"
    again = "".join(
        f"  c{number}: {{says: again, relation: above, left: t1.dpr.nq, right: t1.shared.nq}}\n"
        for number in range(9)
    )
    work.system("dpr", "dpr", values(0.5))
    work.system("shared", "shared", values(0.53))
    alone = findings(recipe, work)["shared-above-dpr"]
    path.write_text(path.read_text() + again)
    together = findings(recipe, work)["shared-above-dpr"]
    assert (alone.outcome, together.outcome) == ("HOLDS", "UNDECIDED")
    assert together.p == pytest.approx(min(1.0, 10 * alone.p))


def test_seeds_needed_come_from_the_spread_between_seeds(recipe, work):
    edit(recipe, "metrics/{row}.json", "metrics/{row}-{seed}.json")
    edit(recipe, "paper: {target: paper}", "paper: {target: paper, seeds: [1, 2]}")
    for seed, dpr, shared in ((1, 0.50, 0.51), (2, 0.50, 0.53)):
        work.system(f"dpr-{seed}", "dpr", values(dpr), seed=seed)
        work.system(f"shared-{seed}", "shared", values(shared), seed=seed)
    found = findings(recipe, work)["shared-above-dpr"]
    # Differences of .01 and .03: mean .02, spread .01414.
    assert found.seeds_needed == int(np.ceil((claims.POWER * 0.014142 / 0.02) ** 2))
