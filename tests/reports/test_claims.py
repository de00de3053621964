"""A paper's sentences on our numbers."""

from __future__ import annotations

import numpy as np
import pytest

from dretrieve.metrics.significance import paired_t_test
from dretrieve.reports import claims
from dretrieve.store.stage import Stage


def finding(recipe, work):
    """What is found of the recipe's own claim."""
    return work.found(recipe)[3]["shared-above-dpr"]


def values(share, queries=200):
    return [1.0 if number < share * queries else 0.0 for number in range(queries)]


@pytest.mark.parametrize(
    ("dpr", "shared", "outcome"), [(0.4, 0.6, "HOLDS"), (0.6, 0.4, "DOES NOT HOLD"), (0.5, 0.51, "UNDECIDED")]
)
def test_above(recipe, work, dpr, shared, outcome):
    work.system("dpr", "dpr", values(dpr))
    work.system("shared", "shared", values(shared))
    found = finding(recipe, work)
    assert found.outcome == outcome
    assert found.difference == pytest.approx(100 * (shared - dpr))
    assert found.low < found.difference < found.high
    assert found.detectable > 0


def test_what_was_not_run_and_what_failed(recipe, work):
    work.system("dpr", "dpr", values(0.5))
    found = finding(recipe, work)
    assert (found.outcome, found.notes) == ("NOT RUN", ("not run: t1.shared.nq",))
    work.system("shared", "dpr", values(0.5))
    found = finding(recipe, work)
    assert (found.outcome, found.notes) == ("FAIL", ("what stands behind t1.shared.nq does not fit",))


def test_other_queries_are_no_comparison(recipe, work):
    work.system("dpr", "dpr", values(0.5))
    work.system("shared", "shared", values(0.5, 150))
    found = finding(recipe, work)
    assert (found.outcome, found.notes) == (
        "FAIL",
        ("t1.shared.nq and t1.dpr.nq were measured on different queries",),
    )


@pytest.mark.parametrize(
    ("shared", "margin", "outcome"),
    [(0.5, 5.0, "HOLDS"), (0.3, 5.0, "DOES NOT HOLD"), (0.49, 1.0, "UNDECIDED")],
)
def test_not_below_needs_the_whole_interval_above_the_margin(recipe, work, shared, margin, outcome):
    work.edit(recipe, "relation: above", f"relation: not-below\n    margin: {margin}")
    rng = np.random.default_rng(0)
    noise = rng.permutation(values(0.5))
    work.system("dpr", "dpr", noise)
    work.system("shared", "shared", noise - (0.5 - shared) * 2 * (noise > 0))
    assert finding(recipe, work).outcome == outcome


@pytest.mark.parametrize(
    ("shared", "outcome"), [(0.5, "HOLDS"), (0.6, "DOES NOT HOLD"), (0.2, "DOES NOT HOLD")]
)
def test_equal_within_a_margin(recipe, work, shared, outcome):
    work.edit(recipe, "relation: above", "relation: equal\n    margin: 3")
    work.system("dpr", "dpr", values(0.5))
    work.system("shared", "shared", values(shared))
    assert finding(recipe, work).outcome == outcome


def test_just_outside_a_margin_nothing_is_decided(recipe, work):
    """The nearer margin must be refuted: 3.5 lies beyond 3, and may well be 2."""
    work.edit(recipe, "relation: above", "relation: equal\n    margin: 3")
    work.system("dpr", "dpr", values(0.5))
    work.system("shared", "shared", values(0.535))
    found = finding(recipe, work)
    assert (found.outcome, found.difference) == ("UNDECIDED", pytest.approx(3.5))
    assert (found.low, found.high) == (pytest.approx(0.95, abs=0.05), pytest.approx(6.05, abs=0.05))
    assert found.p > 0.5


def gains(recipe, work, **gain_on):
    """Both systems on several query sets, with those gains of shared over dpr; None where nothing was run."""
    queries = {"nq": 300, "tq": 200, "wq": 100}
    columns = "".join(f"\n      {name}: {{title: {name}}}" for name in queries if name != "nq")
    cells = "".join(f", {name}: 60.0" for name in queries if name != "nq")
    work.edit(recipe, "nq: {title: NQ}", "nq: {title: NQ}" + columns)
    work.edit(recipe, 'file: "metrics/{row}.json"', 'file: "metrics/{row}.{column}.json"')
    work.edit(recipe, "cells: {nq: 50.0}", f"cells: {{nq: 50.0{cells}}}")
    work.edit(recipe, 'prints 60.0"}}', f'prints 60.0"}}{cells}}}')
    others = ", ".join(f"[t1.shared.{name}, t1.dpr.{name}]" for name in gain_on if name != "nq")
    work.edit(recipe, "relation: above", f"relation: most\n    others: [{others}]")
    for name in ("dpr", "shared"):
        work.model(name, name)
        work.run(name, name)
    for column, gain in gain_on.items():
        work.metrics(f"dpr.{column}", values(0.4, queries[column]), "dpr")
        if gain is not None:
            work.metrics(f"shared.{column}", values(round(0.4 + gain, 6), queries[column]), "shared")
    return finding(recipe, work)


@pytest.mark.parametrize(
    ("on_nq", "on_tq", "outcome"),
    [(0.3, 0.05, "HOLDS"), (0.05, 0.3, "DOES NOT HOLD"), (0.10, 0.09, "UNDECIDED")],
)
def test_most_compares_gains_on_different_queries(recipe, work, on_nq, on_tq, outcome):
    found = gains(recipe, work, nq=on_nq, tq=on_tq)
    assert found.outcome == outcome
    assert found.difference == pytest.approx(100 * (on_nq - on_tq))


def test_a_difference_of_gains_has_the_error_of_two_independent_means(recipe, work):
    found = gains(recipe, work, nq=0.3, tq=0.1)
    errors = [
        np.var(np.array([1.0] * round(g * n) + [0.0] * round((1 - g) * n)), ddof=1) / n
        for g, n in ((0.3, 300), (0.1, 200))
    ]
    expected = 1.9647 * np.sqrt(sum(errors)) * 100  # Student's t with 499 degrees of freedom
    assert (found.high - found.low) / 2 == pytest.approx(expected, rel=1e-4)


def test_most_leaves_out_what_was_not_run_and_says_so(recipe, work):
    found = gains(recipe, work, nq=0.3, tq=0.05, wq=None)
    assert (found.outcome, found.difference) == ("HOLDS", pytest.approx(25.0))
    assert found.notes == ("left out, not run: t1.shared.wq",)


def test_most_needs_one_other_that_was_run(recipe, work):
    found = gains(recipe, work, nq=0.3, tq=None)
    assert (found.outcome, found.notes) == ("NOT RUN", ("not run: t1.shared.tq",))


def test_most_shows_the_comparison_that_decides(recipe, work):
    """The other gains lie 3 and 4 points lower, each undecided: the nearer one is shown."""
    found = gains(recipe, work, nq=0.1, tq=0.07, wq=0.06)
    assert (found.outcome, found.difference) == ("UNDECIDED", pytest.approx(3.0))


@pytest.mark.parametrize(
    ("on_nq", "outcome", "shown"), [(0.0, "UNDECIDED", 0.0), (-0.1, "DOES NOT HOLD", -10.0)]
)
def test_a_gain_that_is_none_is_not_the_largest(recipe, work, on_nq, outcome, shown):
    """Fusion hurts even more elsewhere; that does not make it help."""
    found = gains(recipe, work, nq=on_nq, tq=-0.38)
    assert (found.outcome, found.difference) == (outcome, pytest.approx(shown))
    assert any(
        note.startswith("the gain itself") and "not shown to be above zero" in note for note in found.notes
    )


def averages(recipe, work, relation, gain_on):
    """Both systems on two query sets of other sizes, compared by the average of both."""
    work.edit(
        recipe,
        "nq: {title: NQ}",
        "nq: {title: NQ}\n      tq: TQ\n      mean: {title: Mean, average: [nq, tq]}",
    )
    work.edit(recipe, 'file: "metrics/{row}.json"', 'file: "metrics/{row}.{column}.json"')
    work.edit(recipe, "{nq: 50.0}", "[50.0, ours]")
    work.edit(recipe, 'prints 60.0"}}', 'prints 60.0"}, tq: ours}')
    work.edit(
        recipe, "relation: above\n    left: t1.shared.nq", f"relation: {relation}\n    left: t1.shared.mean"
    )
    work.edit(recipe, "right: t1.dpr.nq", "right: t1.dpr.mean")
    for name in ("dpr", "shared"):
        work.model(name, name)
        work.run(name, name)
    for column, queries, gain in zip(("nq", "tq"), (400, 100), gain_on, strict=True):
        work.metrics(f"dpr.{column}", values(0.4, queries), "dpr")
        if gain is not None:
            work.metrics(f"shared.{column}", values(round(0.4 + gain, 6), queries), "shared")
    return finding(recipe, work)


def test_an_average_has_the_error_of_each_set_over_its_own_size(recipe, work):
    """Of 400 queries a tenth gains, of 100 three tenths: variances .09 and .21, times n / (n - 1)."""
    found = averages(recipe, work, "above", (0.1, 0.3))
    assert (found.outcome, found.difference) == ("HOLDS", pytest.approx(20.0))  # of one pool 14
    error = 100 * np.sqrt(0.09 / 399 + 0.21 / 99) / 2
    assert (found.high - found.low) / 2 == pytest.approx(
        1.96472 * error, rel=1e-4
    )  # Student's t, 499 degrees


@pytest.mark.parametrize(
    ("relation", "gain_on", "outcome"),
    [
        ("above", (-0.1, -0.3), "DOES NOT HOLD"),
        ("above", (0.02, -0.02), "UNDECIDED"),
        ("not-below\n    margin: 5.0", (0.02, -0.02), "HOLDS"),
        ("not-below\n    margin: 5.0", (-0.1, -0.2), "DOES NOT HOLD"),
        ("equal\n    margin: 5.0", (0.02, -0.02), "HOLDS"),
        ("equal\n    margin: 5.0", (0.1, 0.2), "DOES NOT HOLD"),
    ],
)
def test_a_claim_about_averages(recipe, work, relation, gain_on, outcome):
    assert averages(recipe, work, relation, gain_on).outcome == outcome


def test_a_set_that_was_not_run_leaves_the_claim_about_the_average_out(recipe, work):
    found = averages(recipe, work, "above", (0.1, None))
    assert (found.outcome, found.notes) == ("NOT RUN", ("not run: t1.shared.mean",))


SPEED = """  speed:
    title: Seconds
    unit: number
    file: speed.json
    columns: {time: {}}
    rows: {dpr: {key: extra.seconds.dpr, cells: {time: 15}}, det: {key: extra.seconds.det, cells: {time: 11}}}
claims:
  faster: {says: faster, relation: at-most, left: speed.det.time, right: speed.dpr.time, bound: 0.74}
"""
SECONDS = np.array([1.0, 1.3, 0.9, 1.2, 1.1, 2.0])


def timed(recipe, work, dpr, det, relation="at-most"):
    """The claim about times, measured as those lists say."""
    work.edit(recipe, "claims:\n", SPEED.replace("at-most", relation))
    stage = Stage(work.folder / "speed.json", "file", "bench")
    with stage.write(text=True) as file:
        file.write("seconds")
    stage.commit(extra={"seconds": {"dpr": dpr, "det": det}})
    return work.found(recipe)[3]["faster"]


@pytest.mark.parametrize(
    ("relation", "ratio", "spread", "outcome"),
    [
        ("at-most", 0.70, 0.01, "HOLDS"),
        ("at-most", 0.78, 0.01, "DOES NOT HOLD"),
        ("at-most", 0.70, 0.2, "UNDECIDED"),
        ("at-least", 0.78, 0.01, "HOLDS"),
        ("at-least", 0.70, 0.01, "DOES NOT HOLD"),
    ],
)
def test_times_measured_in_turn_are_tested_round_by_round(recipe, work, relation, ratio, spread, outcome):
    logs = np.log(ratio) + spread * np.array([1, -1, 1, -1, 1, -1])
    found = timed(recipe, work, SECONDS.tolist(), (SECONDS * np.exp(logs)).tolist(), relation)
    assert (found.outcome, found.difference) == (outcome, pytest.approx(ratio))
    # Six logs of equal distance from their mean: standard error spread / sqrt(5), t(.975, 5) = 2.5706.
    half = 2.5706 * spread / np.sqrt(5)
    assert found.low == pytest.approx(ratio * np.exp(-half), rel=1e-4)
    assert found.high == pytest.approx(ratio * np.exp(half), rel=1e-4)
    assert found.p == pytest.approx(paired_t_test(logs - np.log(0.74))[0])
    assert found.detectable is None
    assert (found.seeds_needed, found.queries_needed) == (None, False)


def test_times_are_corrected_with_the_other_claims(recipe, work):
    det = (SECONDS * 0.7 * np.array([1.03, 0.94, 1.05, 1, 0.96, 1.03])).tolist()
    alone = timed(recipe, work, SECONDS.tolist(), det)
    for name, share in (("dpr", 0.5), ("shared", 0.51)):
        work.system(name, name, values(share))
    together = work.found(recipe)[3]
    assert together["faster"].p == pytest.approx(2 * alone.p)
    assert together["shared-above-dpr"].p > together["faster"].p


def test_rounds_of_a_share_are_held_against_the_bound_in_the_tables_unit(recipe, work):
    """Of 3 % a bound of 1 is not kept, whether it was measured once or in rounds; a ratio has no unit."""
    work.edit(recipe, "claims:\n", SPEED.replace(", right: speed.dpr.time, bound: 0.74", ", bound: 1"))
    work.edit(recipe, "unit: number", "unit: percent")
    stage = Stage(work.folder / "speed.json", "file", "bench")
    with stage.write(text=True) as file:
        file.write("shares")
    stage.commit(extra={"seconds": {"dpr": 0.03, "det": [0.029, 0.03, 0.031]}})
    found = work.found(recipe)[3]["faster"]
    assert (found.outcome, found.difference) == ("DOES NOT HOLD", pytest.approx(3.0, rel=0.01))
    work.edit(recipe, "left: speed.det.time", "left: speed.dpr.time")
    assert work.found(recipe)[3]["faster"].outcome == "DOES NOT HOLD"


def test_a_ratio_of_tables_in_other_units_is_of_what_was_measured(recipe, work):
    table = """  fractions:
    title: Small
    measure: Success@20
    file: "metrics/{row}.json"
    columns: {nq: NQ}
    ours: [dpr]
claims:
"""
    work.edit(recipe, "claims:\n", table)
    work.edit(recipe, "relation: above", "relation: at-least\n    bound: 0.9")
    work.edit(recipe, "right: t1.dpr.nq", "right: fractions.dpr.nq")
    work.system("dpr", "dpr", values(0.8))
    work.system("shared", "shared", values(0.4))
    found = finding(recipe, work)
    assert (found.outcome, found.difference) == ("DOES NOT HOLD", pytest.approx(0.5))


def test_too_few_rounds_decide_nothing(recipe, work):
    found = timed(recipe, work, [1.0, 1.1], [0.5, 0.55])
    assert (found.outcome, found.p, found.difference) == ("UNDECIDED", None, pytest.approx(0.5))
    assert found.notes == ("measured in 2 rounds, and a test needs 3",)


def test_single_numbers_are_decided_as_they_are(recipe, work):
    found = timed(recipe, work, 1.0, 0.73)
    assert (found.outcome, found.p, found.difference) == ("HOLDS", None, pytest.approx(0.73))


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
    work.edit(recipe, "relation: above", f"relation: {relation}\n    bound: {bound}")
    work.system("dpr", "dpr", values(0.8))
    work.system("shared", "shared", values(0.44))
    found = finding(recipe, work)
    assert (found.outcome, found.difference) == (outcome, pytest.approx(0.55))


def again(recipe, work):
    """The claim's finding beside nine more, which say the reverse."""
    path = recipe / "expected.yaml"
    line = "  c{}: {{says: again, relation: above, left: t1.dpr.nq, right: t1.shared.nq}}\n"
    path.write_text(path.read_text() + "".join(map(line.format, range(9))))
    return finding(recipe, work)


def test_a_margin_is_tested_with_the_others(recipe, work):
    """Alone the difference is above its margin; among ten claims that is no longer sure."""
    work.edit(recipe, "relation: above", "relation: not-below\n    margin: 0.75")
    work.system("dpr", "dpr", values(0.5))
    work.system("shared", "shared", values(0.505))
    alone = finding(recipe, work)
    together = again(recipe, work)
    assert (alone.outcome, together.outcome) == ("HOLDS", "UNDECIDED")
    assert together.p == pytest.approx(10 * alone.p)
    differences = np.array(values(0.505)) - np.array(values(0.5))
    assert alone.p == pytest.approx(paired_t_test(differences + 0.0075)[0])


def test_claims_are_corrected_together(recipe, work):
    work.system("dpr", "dpr", values(0.5))
    work.system("shared", "shared", values(0.53))
    alone = finding(recipe, work)
    together = again(recipe, work)
    assert (alone.outcome, together.outcome) == ("HOLDS", "UNDECIDED")
    assert together.p == pytest.approx(min(1.0, 10 * alone.p))


def test_seeds_needed_come_from_the_spread_between_seeds(recipe, work):
    work.seeds(recipe, 1, 2)
    for seed, dpr, shared in ((1, 0.50, 0.51), (2, 0.50, 0.53)):
        work.system(f"dpr-{seed}", "dpr", values(dpr), seed=seed)
        work.system(f"shared-{seed}", "shared", values(shared), seed=seed)
    found = finding(recipe, work)
    # Points: seed 1 gains 100 on two queries, seed 2 on these and four others; means 1 and 3, so v_seed = 2.
    # By query 100, 100, 50 (four times), 0: variance 29200 / 199; residuals' mean square 19600 / 199.
    between_queries = 29200 / 199 / 200 - 19600 / 199 / (200 * 2)
    z_squared = (1.959964 + 0.841621) ** 2
    assert found.seeds_needed == np.ceil(z_squared * 2 / (2**2 - z_squared * between_queries)) == 91
    assert found.seeds == 2


def test_seeds_are_paired_by_number(recipe, work):
    """Left was run with seeds 1 and 2, right with 2 and 3: only one of them can be compared."""
    work.seeds(recipe, 1, 2, 3)
    for name, seed, share in (("dpr", 2, 0.5), ("dpr", 3, 0.5), ("shared", 1, 0.51), ("shared", 2, 0.5)):
        work.system(f"{name}-{seed}", name, values(share), seed=seed)
    found = finding(recipe, work)
    assert (found.outcome, found.seeds, found.seeds_needed) == ("UNDECIDED", 1, None)
    assert any("fewer than two seeds are common to both sides" in note for note in found.notes)


def test_a_row_of_one_seed_is_held_against_that_seed_of_the_other(recipe, work):
    """Seed 1 is a bad draw; against the mean of three the row of one seed would be significantly below."""
    work.seeds(recipe, 1, 2, 3)
    for name, seed, share in (("dpr", 1, 0.3), ("dpr", 2, 0.9), ("dpr", 3, 0.9), ("shared", 1, 0.3)):
        work.system(f"{name}-{seed}", name, values(share), seed=seed)
    found = finding(recipe, work)
    assert (found.outcome, found.difference) == ("UNDECIDED", 0.0)
    assert "compared over the seeds of both sides: 1" in found.notes
    assert claims.ONE_SEED in found.notes


def test_no_common_seed_leaves_a_claim_undecided(recipe, work):
    work.seeds(recipe, 1, 2)
    work.system("dpr-1", "dpr", values(0.3), seed=1)
    work.system("shared-2", "shared", values(0.9), seed=2)
    found = finding(recipe, work)
    assert found.outcome == "UNDECIDED"
    assert any("none is common" in note for note in found.notes)


def test_without_training_only_more_queries_help(recipe, work):
    work.system("dpr", "dpr", values(0.5))
    work.system("shared", "shared", values(0.51))
    found = finding(recipe, work)
    assert (found.outcome, found.seeds_needed, found.queries_needed) == ("UNDECIDED", None, True)
    assert any("more queries are needed" in note for note in found.notes)


def test_a_claim_belongs_to_its_profiles(recipe, work):
    """Elsewhere it is neither shown nor counted by Holm's correction."""
    path = recipe / "expected.yaml"
    work.system("dpr", "dpr", values(0.5))
    work.system("shared", "shared", values(0.53))
    alone = finding(recipe, work)
    line = (
        "  {name}: {{says: again, relation: above, left: t1.dpr.nq, right: t1.shared.nq, profiles: [{at}]}}\n"
    )
    path.write_text(path.read_text() + line.format(name="small", at="mini"))
    assert work.found(recipe)[3] == {"shared-above-dpr": alone}
    path.write_text(path.read_text() + line.format(name="large", at="mini, paper"))
    found = work.found(recipe)[3]
    assert list(found) == ["shared-above-dpr", "large"]
    assert found["shared-above-dpr"].p == pytest.approx(2 * alone.p)
