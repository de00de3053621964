"""What a value is worth beside its target; what is not up to date fills no cell."""

from __future__ import annotations

import pytest

from dretrieve.reports.expected_file import read_expected
from dretrieve.reports.verdicts import recorded_all, tally
from dretrieve.store.stage import Stage


def half(share: float, queries: int = 100) -> list[float]:
    """Values of 0 and 1 with that mean."""
    return [1.0 if number < round(share * queries) else 0.0 for number in range(queries)]


@pytest.mark.parametrize(
    ("share", "verdict"),
    [
        (0.50, "OK"),
        (0.52, "OK"),
        (0.48, "OK"),
        (0.53, "CLOSE"),
        (0.47, "CLOSE"),
        (0.60, "BETTER"),
        (0.40, "FAIL"),
    ],
)
def test_the_distance_from_the_target_decides_and_better_is_no_pass(recipe, work, share, verdict):
    work.system("dpr", "dpr", half(share))
    one = work.found(recipe)[2]["t1.dpr.nq"]
    assert one.verdict == verdict
    assert one.value == pytest.approx(100 * share)
    assert one.difference == pytest.approx(100 * share - 50)


def test_what_was_not_run_and_what_is_cited(recipe, work):
    found = work.found(recipe)[2]
    assert {name: one.verdict for name, one in found.items()} == {
        "t1.dpr.nq": "NOT RUN",
        "t1.shared.nq": "NOT RUN",
        "t1.xmoco.nq": "CITED",
    }
    assert tally(one.verdict for one in found.values()) == {"NOT RUN": 2, "CITED": 1}


def test_the_corrected_number_is_the_target(recipe, work):
    work.system("shared", "shared", half(0.60))
    assert work.found(recipe)[2]["t1.shared.nq"].verdict == "OK"


def test_without_a_recorded_value_there_is_no_target(recipe, work):
    work.system("dpr", "dpr", half(0.5))
    assert work.found(recipe, "mini")[2]["t1.dpr.nq"].verdict == "NO TARGET"


def test_what_is_not_up_to_date_fills_no_cell(recipe, work):
    work.system("dpr", "shared", half(0.5))
    one = work.found(recipe)[2]["t1.dpr.nq"]
    assert (one.verdict, one.value) == ("FAIL", None)
    assert one.notes == ("models/dpr is stale (other: method): the recipe would make it anew",)


def test_seeds_are_averaged_and_missing_ones_are_said(recipe, work):
    work.seeds(recipe, 1, 2, 3)
    for seed, share in ((1, 0.48), (3, 0.52)):
        work.system(f"dpr-{seed}", "dpr", half(share), seed=seed)
    one = work.found(recipe)[2]["t1.dpr.nq"]
    assert (one.verdict, one.value) == ("OK", pytest.approx(50.0))
    assert one.spread == pytest.approx(2.8284, abs=1e-3)
    assert one.notes == ("2 of 3 seeds were run (1, 3)",)


def with_mean(recipe, shares, work, mean="ours"):
    """Systems of three seeds on two sets, their average beside them; seed to a share on each."""
    work.seeds(recipe, 1, 2, 3)
    work.edit(recipe, "{row}-{seed}", "{row}.{column}.{seed}")
    average = "mean: {title: Mean, average: [nq, tq]}"
    work.edit(recipe, "nq: {title: NQ}", f"nq: NQ\n      tq: TQ\n      {average}")
    work.edit(recipe, "cells: {nq: 50.0}", f"cells: [50.0, 40.0, {mean}]")
    for seed, both in shares.items():
        for column, share in zip(("nq", "tq"), both, strict=True):
            if share is not None:
                work.system(f"dpr.{column}.{seed}", "dpr", half(share), seed=seed)
    return work.found(recipe)[2]["t1.dpr.mean"]


def test_an_average_is_over_the_seeds_of_all_its_columns(recipe, work):
    one = with_mean(recipe, {1: (0.50, 0.30), 2: (0.60, None), 3: (0.54, 0.38)}, work)
    assert (one.value, one.spread) == (pytest.approx(43.0), pytest.approx(4.2426, abs=1e-3))  # of 40 and 46
    assert (one.target, one.verdict, one.seeds) == (pytest.approx(45.0), "OK", (1, 3))
    assert one.notes == ("2 of 3 seeds were run (1, 3)",)


def test_an_average_of_counts_has_no_better_side(recipe, work):
    """With a larger model, or a slower one, nothing is better."""
    work.edit(recipe, "measure: Success@20", "key: counts.parameters")
    work.edit(recipe, "metrics/{row}.json", "models/{row}.{seed}")
    work.edit(recipe, "nq: {title: NQ}", "nq: NQ\n      tq: TQ\n      mean: {average: [nq, tq]}")
    work.edit(recipe, "cells: {nq: 50.0}", "cells: [90, 80, 85]")
    work.edit(recipe, "unit: percent", "unit: number")
    work.model("dpr.1", "dpr")
    one = work.found(recipe)[2]["t1.dpr.mean"]
    assert (one.value, one.verdict) == (110.0, "FAIL")


def test_the_printed_average_is_the_target(recipe, work):
    one = with_mean(recipe, {1: (0.50, 0.30)}, work, mean="39.0")
    assert (one.target, one.difference) == (39.0, pytest.approx(1.0))


def test_an_average_without_one_of_its_columns_is_not_run(recipe, work):
    one = with_mean(recipe, {1: (0.50, None), 2: (None, 0.30)}, work)
    assert (one.verdict, one.value) == ("NOT RUN", None)


def test_an_average_over_what_is_not_up_to_date_fails(recipe, work):
    work.refused[work.folder / "metrics" / "dpr.tq.1.json"] = "models/dpr is stale"
    one = with_mean(recipe, {1: (0.50, 0.30)}, work)
    assert (one.verdict, one.value, one.notes) == ("FAIL", None, ("models/dpr is stale",))


def test_a_measure_that_was_not_measured(recipe, work):
    work.model("dpr", "dpr")
    work.run("dpr", "dpr")
    work.metrics("dpr", half(0.5), measure="RR@10")
    assert "has no Success@20" in work.found(recipe)[2]["t1.dpr.nq"].notes[0]


def test_a_count_is_read_from_a_manifest_and_has_no_better_side(recipe, work):
    cell = "cells: {nq: {paper: 1.0, file: 'models/{row}', key: counts.parameters, tolerance: 0.1}}"
    work.edit(recipe, "cells: {nq: 50.0}", cell)
    work.edit(recipe, "unit: percent", "unit: number")
    work.model("dpr", "dpr")
    one = work.found(recipe)[2]["t1.dpr.nq"]
    assert (one.value, one.verdict) == (110.0, "FAIL")


def test_recorded_values_are_the_target_of_a_profile_of_ours(recipe, work):
    recorded_as(recipe, work, "40.0 ± 3.0")
    work.system("dpr", "dpr", half(0.46))
    one = work.found(recipe, "mini")[2]["t1.dpr.nq"]
    # Twice the recorded spread between seeds is more than the tolerance of 2.
    assert (one.target, one.tolerance, one.verdict) == (40.0, 6.0, "OK")


def recorded_as(recipe, work, value):
    """Record a value of the row at the profile `mini`."""
    path = recipe / "expected.yaml"
    path.write_text(path.read_text() + work.recorded(mini={"dpr": {"t1.nq": value}}))


@pytest.mark.parametrize(("recorded", "verdict"), [(24931584, "OK"), (24931583, "FAIL"), (24930048, "FAIL")])
def test_a_recorded_count_must_be_met_exactly_whatever_the_paper_rounds_to(recipe, work, recorded, verdict):
    lines = ["tolerance: 500000", "kind: exact", "file: 'models/{row}'", "key: counts.parameters"]
    cell = "\n        ".join([*lines, "cells: {nq: 25000000}"])
    work.edit(recipe, "cells: {nq: 50.0}", cell)
    work.edit(recipe, "unit: percent", "unit: number")
    recorded_as(recipe, work, recorded)
    work.model("dpr", "dpr", parameters=24931584)
    assert work.found(recipe, "paper")[2]["t1.dpr.nq"].verdict == "OK"
    one = work.found(recipe, "mini")[2]["t1.dpr.nq"]
    assert (one.value, one.tolerance, one.verdict) == (24931584, 0.0, verdict)


@pytest.mark.parametrize(("recorded", "verdict"), [(33.333333, "OK"), (33.333334, "FAIL")])
def test_what_was_recorded_is_met_by_the_number_that_it_was_rounded_from(recipe, work, recorded, verdict):
    work.edit(
        recipe,
        "cells: {nq: 50.0}",
        "kind: exact\n        file: size\n        key: extra.bytes\n        cells: {nq: ours}",
    )
    work.edit(recipe, "unit: percent", "unit: number")
    recorded_as(recipe, work, recorded)
    stage = Stage(work.folder / "size", "file", "bench")
    with stage.write(text=True) as file:
        file.write("bytes")
    stage.commit(extra={"bytes": 100 / 3})
    assert work.found(recipe, "mini")[2]["t1.dpr.nq"].verdict == verdict


@pytest.mark.parametrize(
    ("parameters", "verdict"), [(110, "OK"), (130, "CLOSE"), (80, "OK"), (60, "FAIL"), (140, "FAIL")]
)
def test_a_recorded_time_may_differ_by_a_share_of_itself(recipe, work, parameters, verdict):
    cell = "file: 'models/{row}'\n        key: counts.parameters\n        cells: {nq: 15}"
    work.edit(recipe, "cells: {nq: 50.0}", f"tolerance: 2\n        {cell}")
    work.edit(recipe, "unit: percent", "unit: number")
    recorded_as(recipe, work, 100)
    work.model("dpr", "dpr", parameters=parameters)
    one = work.found(recipe, "mini")[2]["t1.dpr.nq"]
    assert (one.tolerance, one.verdict) == (25.0, verdict)


def test_a_tolerance_of_the_papers_is_not_that_of_a_recorded_value(recipe, work):
    work.edit(recipe, "cells: {nq: 50.0}", "tolerance: 9\n        cells: {nq: 50.0}")
    recorded_as(recipe, work, 50.0)
    work.system("dpr", "dpr", half(0.58))
    assert work.found(recipe, "paper")[2]["t1.dpr.nq"].verdict == "OK"
    one = work.found(recipe, "mini")[2]["t1.dpr.nq"]
    assert (one.tolerance, one.verdict) == (2.0, "BETTER")


def test_recorded_values_are_judged_as_measured_ones(recipe, work):
    recorded_as(recipe, work, "40.0 ± 3.0 UNDERTRAINED")
    expected = read_expected(recipe / "expected.yaml")
    found = recorded_all(expected, expected.profiles["mini"])
    one = found["t1.dpr.nq"]
    assert (one.value, one.spread, one.verdict, one.marks) == (40.0, 3.0, "OK", ("UNDERTRAINED",))
    assert [found[name].verdict for name in ("t1.shared.nq", "t1.xmoco.nq")] == ["NOT RUN", "CITED"]
