"""Cells are filled only from metrics whose chain of checksums is what their row says."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from dretrieve.reports.artefacts import Library
from dretrieve.reports.expected_file import read_expected
from dretrieve.reports.readings import Place
from dretrieve.reports.verdicts import judge_all, tally


def judged(recipe, work, profile="paper", full=False):
    expected = read_expected(recipe / "expected.yaml")
    place = Place(
        work=work.folder, profile=expected.profiles[profile], library=Library.scan(work.folder), full=full
    )
    return judge_all(expected, place)


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
    one = judged(recipe, work)["t1.dpr.nq"]
    assert one.verdict == verdict
    assert one.value == pytest.approx(100 * share)
    assert one.difference == pytest.approx(100 * share - 50)


def test_what_was_not_run_and_what_is_cited(recipe, work):
    found = judged(recipe, work)
    assert {name: one.verdict for name, one in found.items()} == {
        "t1.dpr.nq": "NOT RUN",
        "t1.shared.nq": "NOT RUN",
        "t1.xmoco.nq": "CITED",
    }
    assert tally(one.verdict for one in found.values()) == {"NOT RUN": 2, "CITED": 1}


def test_the_corrected_number_is_the_target(recipe, work):
    work.system("shared", "shared", half(0.60))
    assert judged(recipe, work)["t1.shared.nq"].verdict == "OK"


def test_without_a_recorded_value_there_is_no_target(recipe, work):
    work.system("dpr", "dpr", half(0.5))
    assert judged(recipe, work, "mini")["t1.dpr.nq"].verdict == "NO TARGET"


def test_metrics_of_another_row_fail(recipe, work):
    """Somebody copies the better system's metrics, manifest and all, over this row's."""
    work.system("dpr", "dpr", half(0.5))
    work.system("shared", "shared", half(0.5))
    assert judged(recipe, work)["t1.dpr.nq"].verdict == "OK"
    for ending in ("", ".manifest.json", ".provenance.json"):
        shutil.copy(work.folder / f"metrics/shared.json{ending}", work.folder / f"metrics/dpr.json{ending}")
    one = judged(recipe, work)["t1.dpr.nq"]
    assert (one.verdict, one.value) == ("FAIL", None)
    assert one.notes == ("method is 'shared' in models/shared/card.json, the row says 'dpr'",)


@pytest.mark.parametrize(
    ("file", "sentence"),
    [
        ("metrics/dpr.json", r"metrics/dpr.json .*changed"),
        ("metrics/dpr.json.manifest.json", "cannot be read as a manifest"),
        ("runs/dpr.trec", r"runs/dpr.trec .*changed"),
        ("embeddings/dpr/shard-00000-of-00001.vectors.npy", "changed"),
        ("models/dpr/model.safetensors", "changed"),
    ],
)
def test_an_edited_file_anywhere_in_the_chain_fails(recipe, work, file, sentence):
    work.system("dpr", "dpr", half(0.5))
    path = work.folder / file
    data = bytearray(path.read_bytes())
    data[-3] ^= 1
    path.write_bytes(bytes(data))
    one = judged(recipe, work)["t1.dpr.nq"]
    assert one.verdict == "FAIL"
    assert any(re.search(sentence, note) for note in one.notes), one.notes


def test_an_edited_card_is_another_model(recipe, work):
    work.system("dpr", "shared", half(0.5))
    assert "method is 'shared'" in judged(recipe, work)["t1.dpr.nq"].notes[0]
    card = work.folder / "models/dpr/card.json"
    card.write_text(card.read_text().replace('"shared"', '"dpr"'))
    one = judged(recipe, work)["t1.dpr.nq"]
    assert one.verdict == "FAIL"
    assert one.notes[0] == "no 'model' stands behind it, the row needs one"
    assert any("the input 'passage_model'" in note for note in one.notes)


def test_a_run_that_is_gone_breaks_the_chain(recipe, work):
    work.system("dpr", "dpr", half(0.5))
    (work.folder / "runs/dpr.trec").unlink()
    assert "is missing though" in judged(recipe, work)["t1.dpr.nq"].notes[0]
    (work.folder / "runs/dpr.trec.manifest.json").unlink()
    notes = judged(recipe, work)["t1.dpr.nq"].notes
    assert any("the input 'run 1'" in note for note in notes)


def test_metrics_without_manifest_fail(recipe, work):
    path = work.system("dpr", "dpr", half(0.5))
    Path(f"{path}.manifest.json").unlink()
    assert "has no manifest: it was not made by dretrieve" in judged(recipe, work)["t1.dpr.nq"].notes[0]


def test_same_size_and_time_is_found_out_by_full_verification(recipe, work):
    import os

    path = work.system("dpr", "dpr", half(0.5))
    run = work.folder / "runs/dpr.trec"
    before = run.stat()
    run.write_text("run dpR")
    os.utime(run, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.exists()
    assert judged(recipe, work)["t1.dpr.nq"].verdict == "OK"
    assert judged(recipe, work, full=True)["t1.dpr.nq"].verdict == "FAIL"


def test_a_stage_that_the_row_must_not_use(recipe, work):
    work.model("dpr", "dpr")
    work.run("dense", "dpr")
    work.fused("dpr", "dense")
    work.metrics("dpr", half(0.5))
    assert judged(recipe, work)["t1.dpr.nq"].notes == (
        "runs/dpr.trec was made by 'fuse-bm25', which this row must not use",
    )


def test_another_seed_than_the_files_name_says(recipe, work):
    work.system("dpr", "dpr", half(0.5), seed=7)
    assert judged(recipe, work)["t1.dpr.nq"].notes == ("seed is 7 in models/dpr, the row says '1'",)


def test_seeds_are_averaged_and_missing_ones_are_said(recipe, work):
    path = recipe / "expected.yaml"
    text = path.read_text().replace("metrics/{row}.json", "metrics/{row}-{seed}.json")
    path.write_text(text.replace("paper: {target: paper}", "paper: {target: paper, seeds: [1, 2, 3]}"))
    for seed, share in ((1, 0.48), (3, 0.52)):
        work.system(f"dpr-{seed}", "dpr", half(share), seed=seed)
    one = judged(recipe, work)["t1.dpr.nq"]
    assert (one.verdict, one.value) == ("OK", pytest.approx(50.0))
    assert one.spread == pytest.approx(2.8284, abs=1e-3)
    assert one.notes == ("2 of 3 seeds were run (1, 3)",)


def test_a_measure_that_was_not_measured(recipe, work):
    work.model("dpr", "dpr")
    work.run("dpr", "dpr")
    work.metrics("dpr", half(0.5), measure="RR@10")
    assert "has no Success@20" in judged(recipe, work)["t1.dpr.nq"].notes[0]


def test_a_count_is_read_from_a_manifest_and_has_no_better_side(recipe, work):
    path = recipe / "expected.yaml"
    cell = "cells: {nq: {paper: 1.0, file: 'models/{row}', key: counts.parameters, tolerance: 0.1}}"
    text = path.read_text().replace("cells: {nq: 50.0}", cell).replace("unit: percent", "unit: number")
    path.write_text(text)
    work.model("dpr", "dpr")
    one = judged(recipe, work)["t1.dpr.nq"]
    assert (one.value, one.verdict) == (110.0, "FAIL")


def test_recorded_values_are_the_target_of_a_profile_of_ours(recipe, work):
    path = recipe / "expected.yaml"
    line = "{value: 40.0, spread: 3.0, seeds: [1], hardware: CPU, commit: abc, date: 2026-11-20}"
    path.write_text(path.read_text() + f"ours: {{mini: {{t1.dpr.nq: {line}}}}}\n")
    work.system("dpr", "dpr", half(0.46))
    one = judged(recipe, work, "mini")["t1.dpr.nq"]
    # Twice the recorded spread between seeds is more than the tolerance of 2.
    assert (one.target, one.tolerance, one.verdict) == (40.0, 6.0, "OK")


def test_queries_of_another_model_than_the_row_says_fail(recipe, work):
    work.system("dpr", "dpr", half(0.5))
    work.model("shared", "shared")
    work.run("dpr", "dpr", query_model="shared")
    work.metrics("dpr", half(0.5))
    one = judged(recipe, work)["t1.dpr.nq"]
    assert (one.verdict, one.value) == ("FAIL", None)
    assert one.notes == ("method is 'shared' in models/shared/card.json, the row says 'dpr'",)


def recorded_as(recipe, value, spread=0.0):
    """Record a value of the row at the profile `mini`."""
    path = recipe / "expected.yaml"
    line = f"{{value: {value}, spread: {spread}, seeds: [1], hardware: CPU, commit: abc, date: 2026-11-20}}"
    path.write_text(path.read_text() + f"ours: {{mini: {{t1.dpr.nq: {line}}}}}\n")


@pytest.mark.parametrize(("recorded", "verdict"), [(24931584, "OK"), (24931583, "FAIL"), (24930048, "FAIL")])
def test_a_recorded_count_must_be_met_exactly_whatever_the_paper_rounds_to(recipe, work, recorded, verdict):
    path = recipe / "expected.yaml"
    lines = ["tolerance: 500000", "kind: exact", "file: 'models/{row}'", "key: counts.parameters"]
    cell = "\n        ".join([*lines, "cells: {nq: 25000000}"])
    text = path.read_text().replace("cells: {nq: 50.0}", cell, 1)
    path.write_text(text.replace("unit: percent", "unit: number"))
    recorded_as(recipe, recorded)
    work.model("dpr", "dpr", parameters=24931584)
    assert judged(recipe, work, "paper")["t1.dpr.nq"].verdict == "OK"
    one = judged(recipe, work, "mini")["t1.dpr.nq"]
    assert (one.value, one.tolerance, one.verdict) == (24931584, 0.0, verdict)


@pytest.mark.parametrize(
    ("parameters", "verdict"), [(110, "OK"), (130, "CLOSE"), (80, "OK"), (60, "FAIL"), (140, "FAIL")]
)
def test_a_recorded_time_may_differ_by_a_share_of_itself(recipe, work, parameters, verdict):
    path = recipe / "expected.yaml"
    cell = "file: 'models/{row}'\n        key: counts.parameters\n        cells: {nq: 15}"
    text = path.read_text().replace("cells: {nq: 50.0}", f"tolerance: 2\n        {cell}", 1)
    path.write_text(text.replace("unit: percent", "unit: number"))
    recorded_as(recipe, 100)
    work.model("dpr", "dpr", parameters=parameters)
    one = judged(recipe, work, "mini")["t1.dpr.nq"]
    assert (one.tolerance, one.verdict) == (25.0, verdict)


def test_a_tolerance_of_the_papers_is_not_that_of_a_recorded_value(recipe, work):
    path = recipe / "expected.yaml"
    path.write_text(
        path.read_text().replace("cells: {nq: 50.0}", "tolerance: 9\n        cells: {nq: 50.0}", 1)
    )
    recorded_as(recipe, 50.0)
    work.system("dpr", "dpr", half(0.58))
    assert judged(recipe, work, "paper")["t1.dpr.nq"].verdict == "OK"
    one = judged(recipe, work, "mini")["t1.dpr.nq"]
    assert (one.tolerance, one.verdict) == (2.0, "BETTER")
