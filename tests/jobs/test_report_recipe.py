"""The recipe's side of the report job, over artefacts that the commands made."""

from __future__ import annotations

import re
import shutil

import pytest

from dretrieve.errors import PreconditionError, UsageError
from dretrieve.jobs.report import ReportConfig, run
from dretrieve.jobs.report_recipe import RecipeOptions, commit_of
from dretrieve.reports.expected_file import read_expected

EXPECTED = """
paper: TINY
title: Words
profiles: {small: {target: paper}, ours: {}}
tables:
  t:
    title: Words
    measure: R@5
    file: "{row}.json"
    columns: {tiny: {}}
    rows:
      bm25: {title: BM25, kind: exact, chain: {search: {hits: 20}, index-bm25: {}}, cells: {tiny: 1.0}}
      wide: {kind: exact, chain: {search: {hits: 1000}}, cells: {tiny: 1.0}}
claims:
  wide: {says: Wider is better, relation: above, left: t.wide.tiny, right: t.bm25.tiny, profiles: [ours]}
"""


@pytest.fixture
def recipe(tiny_collection, cli_here, tmp_path, monkeypatch):
    """A recipe whose one row was run, in the place that lib.sh would have chosen."""
    folder, work = tmp_path / "recipes" / "tiny", tmp_path / "work" / "tiny" / "small"
    folder.mkdir(parents=True)
    (folder / "expected.yaml").write_text(EXPECTED)
    cli_here("index", "--corpus", tiny_collection, "--type", "bm25", "--output", work / "index", "-q")
    test = f"{tiny_collection}:test"
    words = ("--index", work / "index", "--queries", test, "--hits", 20, "--output", work / "bm25.trec", "-q")
    cli_here("search", *words)
    words = (
        "--run",
        work / "bm25.trec",
        "--qrels",
        test,
        "--metrics",
        "R@5",
        "--output",
        work / "bm25.json",
        "-q",
    )
    cli_here("evaluate", *words)
    monkeypatch.chdir(tmp_path)
    return folder


def report(recipe, **options):
    return run(ReportConfig(target=recipe, recipe=RecipeOptions(**options)))


def verdicts(result):
    return {name: cell["verdict"] for name, cell in result.data["cells"].items()}


def test_real_artefacts_fill_the_row_that_they_belong_to(recipe):
    result = report(recipe)
    assert verdicts(result) == {"t.bm25.tiny": "OK", "t.wide.tiny": "NOT RUN"}
    assert not result.failed
    work = recipe.parents[1] / "work/tiny/small"
    for ending in ("", ".manifest.json", ".provenance.json"):
        shutil.copy(work / f"bm25.json{ending}", work / f"wide.json{ending}")
    result = report(recipe)
    assert verdicts(result)["t.wide.tiny"] == "FAIL"
    assert result.failed
    assert result.data["cells"]["t.wide.tiny"]["notes"] == ["hits is 20 in bm25.trec, the row says 1000"]


def test_a_claim_is_shown_at_its_profiles(recipe):
    assert report(recipe, profile="small").data["claims"] == {}
    found = report(recipe, profile="ours", work=recipe.parents[1] / "work/tiny/small").data["claims"]
    assert {name: one["outcome"] for name, one in found.items()} == {"wide": "NOT RUN"}


def test_recording_makes_a_target(recipe):
    report(
        recipe, record=True, profile="ours", work=recipe.parents[1] / "work/tiny/small", hardware="a laptop"
    )
    recorded = read_expected(recipe / "expected.yaml").ours["ours"]["t.bm25.tiny"]
    assert (recorded.hardware, recorded.value, recorded.commit) == ("a laptop", 1.0, "unknown")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", recorded.date)
    again = report(recipe, profile="ours", work=recipe.parents[1] / "work/tiny/small")
    assert again.data["cells"]["t.bm25.tiny"]["target"] == 1.0


def test_the_readme_is_written(recipe):
    readme = recipe / "README.md"
    readme.write_text("<!-- report tiny -->\n<!-- /report tiny -->\n")
    result = report(recipe, readme=readme)
    assert result.written == [readme]
    lines = [" ".join(line.split()) for line in readme.read_text().splitlines()]
    assert "| BM25 | 1.000 | 1.000 |" in lines
    assert "| wide | 1.000 | NOT RUN |" in lines


def test_unknown_places(recipe, tmp_path):
    with pytest.raises(UsageError, match="has no profile 'big'; it has small, ours"):
        report(recipe, profile="big")
    with pytest.raises(PreconditionError, match="nowhere does not exist; run the recipe first"):
        report(recipe, work=tmp_path / "nowhere")
    # The default place need not exist: then nothing was run.
    assert set(verdicts(report(recipe, profile="ours")).values()) == {"NOT RUN"}


def test_a_dry_run_counts_the_cells(recipe):
    plan = run(ReportConfig(target=recipe, dry_run=True)).render()
    assert plan.startswith("would look for 2 cells of ")
    assert plan.endswith("(profile small) in work/tiny/small")


def test_a_checkout_has_a_commit(root, tmp_path):
    assert (
        re.fullmatch(r"[0-9a-f]{7,}\+?", commit_of(root / "recipes" / "lib.sh"))
        or not (root / ".git").exists()
    )
    assert commit_of(tmp_path / "expected.yaml") == "unknown"
