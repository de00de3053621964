"""The recipe's side of the report job, over artefacts that the commands made."""

from __future__ import annotations

import os
import re
import shutil

import pytest

from dretrieve.errors import PreconditionError, UsageError
from dretrieve.jobs.configs.report import RecipeOptions
from dretrieve.jobs.report import ReportConfig, run
from dretrieve.jobs.report_recipe import commit_of
from dretrieve.reports.expected_file import read_expected
from dretrieve.reports.pages import markdown_page
from dretrieve_cli.plan import ask

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
      bm25: {title: BM25, kind: exact, cells: {tiny: 1.0}}
      wide: {kind: exact, cells: {tiny: 1.0}}
      lost: {kind: exact, cells: {tiny: 1.0}}
claims:
  wide: {says: Wider is better, relation: above, left: t.wide.tiny, right: t.bm25.tiny, profiles: [ours]}
"""


SCRIPT = """
source "{root}/recipes/lib.sh"
recipe tiny "words" small ours
step "Everything"
hits=20 asked="{collection}:test"
[[ $PROFILE == small ]] || hits=7
dretrieve index --corpus "{collection}" --type bm25 --output "$WORK/index"
for row in bm25 wide; do
    [[ $row == bm25 ]] || hits=1000
    dretrieve search --index "$WORK/index" --queries "$asked" --hits "$hits" --output "$WORK/$row.trec"
    dretrieve evaluate --run "$WORK/$row.trec" --qrels "$asked" --metrics R@5 --output "$WORK/$row.json"
done
finish
"""
ENDINGS = ("", ".manifest.json", ".provenance.json")


@pytest.fixture
def recipe(tiny_collection, cli_here, tmp_path, monkeypatch, root):
    """A recipe whose rows were run at its first profile, in the place that lib.sh would have chosen."""
    folder, work = tmp_path / "recipes" / "tiny", tmp_path / "work" / "tiny" / "small"
    folder.mkdir(parents=True)
    (folder / "expected.yaml").write_text(EXPECTED)
    (folder / "table.sh").write_text(SCRIPT.format(root=root, collection=tiny_collection))
    test = f"{tiny_collection}:test"
    cli_here("index", "--corpus", tiny_collection, "--type", "bm25", "--output", work / "index", "-q")
    for row, hits in (("bm25", 20), ("wide", 1000)):
        run, metrics = work / f"{row}.trec", work / f"{row}.json"
        words = ("--index", work / "index", "--queries", test, "--hits", hits, "--output", run, "-q")
        cli_here("search", *words)
        cli_here("evaluate", "--run", run, "--qrels", test, "--metrics", "R@5", "--output", metrics, "-q")
    monkeypatch.chdir(tmp_path)
    return folder


def report(recipe, *, verify=False, **options):
    return run(ReportConfig(target=recipe, recipe=RecipeOptions(**options), verify=verify), ask=ask)


def small(recipe):
    return recipe.parents[1] / "work/tiny/small"


def verdicts(result):
    return {name: cell["verdict"] for name, cell in result.data["cells"].items()}


def test_real_artefacts_fill_the_row_that_they_belong_to(recipe):
    result = report(recipe, verify=True)
    assert verdicts(result) == {"t.bm25.tiny": "OK", "t.wide.tiny": "OK", "t.lost.tiny": "NOT RUN"}
    assert result.exit_code == 0


def swapped(recipe):
    for ending in ENDINGS:
        one, other = (small(recipe) / f"{row}.json{ending}" for row in ("bm25", "wide"))
        kept = one.read_bytes()
        one.write_bytes(other.read_bytes())
        other.write_bytes(kept)


def edited(recipe):
    path = small(recipe) / "bm25.json"
    path.write_text(path.read_text().replace("1.0", "0.5", 1))


def edited_run(recipe):
    path = small(recipe) / "bm25.trec"
    path.write_bytes(path.read_bytes().replace(b" 1 ", b" 2 ", 1))


def gone(recipe):
    (small(recipe) / "bm25.trec").unlink()


def older(recipe):
    path = recipe / "table.sh"
    path.write_text(path.read_text().replace("hits=20", "hits=19"))


def unmade(recipe):
    for ending in ENDINGS:
        shutil.copy(small(recipe) / f"bm25.json{ending}", small(recipe) / f"lost.json{ending}")


def bare(recipe):
    (small(recipe) / "bm25.json.manifest.json").unlink()


@pytest.mark.parametrize(
    ("change", "row", "sentence"),
    [
        (
            swapped,
            "bm25",
            r"bm25\.json is stale \(other: names, input run 1\): the recipe would make it anew",
        ),
        (swapped, "wide", r"wide\.json is stale"),
        (edited, "bm25", r"bm25\.json .*changed"),
        (edited_run, "bm25", r"bm25\.trec .*changed"),
        (gone, "bm25", r"bm25\.trec is not there, and stands behind it"),
        (older, "bm25", r"bm25\.trec is stale \(other: hits\)"),
        (unmade, "lost", r"lost\.json is made by no command of the recipe at this profile"),
        (bare, "bm25", r"bm25\.json exists and was not made by dretrieve"),
    ],
)
def test_what_the_recipes_own_commands_would_not_leave_there_fails(recipe, change, row, sentence):
    change(recipe)
    result = report(recipe)
    one = result.data["cells"][f"t.{row}.tiny"]
    assert (one["verdict"], one["ours"], result.exit_code) == ("FAIL", None, 5)
    assert re.search(sentence, one["notes"][0]), one["notes"]


def test_numbers_of_another_profile_fail(recipe):
    """But the row that both make alike fills both."""
    found = report(recipe, profile="ours", work=small(recipe)).data["cells"]
    assert found["t.bm25.tiny"]["notes"] == [
        "bm25.trec is stale (other: hits): the recipe would make it anew"
    ]
    assert found["t.wide.tiny"]["verdict"] == "NO TARGET"
    result = report(recipe, record=True, profile="ours", work=small(recipe))
    assert list(read_expected(recipe / "expected.yaml").ours["ours"]) == ["t.wide.tiny"]
    assert result.exit_code == 5


def test_same_size_and_time_is_found_out_by_full_verification(recipe):
    path = small(recipe) / "bm25.trec"
    before = path.stat()
    path.write_bytes(path.read_bytes().replace(b" 1 ", b" 2 ", 1))
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert verdicts(report(recipe))["t.bm25.tiny"] == "OK"
    assert verdicts(report(recipe, verify=True))["t.bm25.tiny"] == "FAIL"


def test_a_recipe_that_refuses_says_why(recipe):
    path = recipe / "table.sh"
    path.write_text(path.read_text().replace("hits=20", 'refuse "HITS is no number"'))
    with pytest.raises(PreconditionError, match="table.sh says nothing of its plan at small: HITS is no num"):
        report(recipe)


def test_a_claim_is_shown_at_its_profiles(recipe):
    assert report(recipe, profile="small").data["claims"] == {}
    found = report(recipe, profile="ours", work=small(recipe)).data["claims"]
    assert {name: one["outcome"] for name, one in found.items()} == {"wide": "FAIL"}


def test_recording_makes_a_target(recipe):
    report(recipe, record=True, profile="ours", work=small(recipe), hardware="a laptop")
    recorded = read_expected(recipe / "expected.yaml").ours["ours"]["t.wide.tiny"]
    assert (recorded.hardware, recorded.value, recorded.commit) == ("a laptop", 1.0, "unknown")
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", recorded.date)
    again = report(recipe, profile="ours", work=small(recipe))
    assert again.data["cells"]["t.wide.tiny"]["target"] == 1.0


def test_the_readme_is_written(recipe):
    readme = recipe / "README.md"
    readme.write_text("<!-- report tiny -->\n<!-- /report tiny -->\n")
    result = report(recipe, readme=readme)
    assert result.written == [readme]
    lines = [" ".join(line.split()) for line in readme.read_text().splitlines()]
    assert "| BM25 | 1.000 | 1.000 |" in lines
    assert "| lost | 1.000 | NOT RUN |" in lines


def test_two_reports_that_record_at_once_lose_nothing(recipe):
    file = recipe / "expected.yaml"

    def asked(words):
        if not read_expected(file).ours:
            report(recipe, record=True, profile="small", work=small(recipe))
        return ask(words)

    options = RecipeOptions(record=True, profile="ours", work=small(recipe))
    run(ReportConfig(target=recipe, recipe=options), ask=asked)
    assert set(read_expected(file).ours) == {"small", "ours"}


def test_without_results_the_readme_is_made_of_what_was_recorded(recipe, tmp_path):
    shutil.copytree(small(recipe), small(recipe).with_name("ours"))
    readme = recipe / "README.md"
    readme.write_text("<!-- report tiny -->\n<!-- /report tiny -->\n")
    older(recipe)
    path = recipe / "table.sh"
    path.write_text(path.read_text().replace("hits=7", "hits=20"))
    report(recipe, profile="ours", record=True, readme=readme)
    measured = readme.read_text()
    assert "UNDECIDED" in measured
    shutil.rmtree(small(recipe).with_name("ours"))
    file = (recipe / "expected.yaml").read_bytes()
    shown = report(recipe, profile="ours", readme=readme, record=True)
    assert readme.read_text() == measured
    assert (recipe / "expected.yaml").read_bytes() == file  # what was only shown is not recorded anew
    cell, claim = shown.data["cells"]["t.wide.tiny"], shown.data["claims"]["wide"]
    assert (cell["verdict"], cell["ours"], cell["seeds"]) == ("OK", 1.0, [1])
    assert list(cell["recorded"]) == ["hardware", "commit", "date"]
    assert (claim["outcome"], claim["recorded"][:10]) == ("UNDECIDED", "UNDECIDED:")
    assert shown.data["cells"]["t.lost.tiny"]["recorded"] is None
    page = markdown_page(shown.page)
    assert "OK · RECORDED" in page
    assert claim["recorded"] in page


def test_unknown_places(recipe, tmp_path):
    with pytest.raises(UsageError, match="has no profile 'big'; it has small, ours"):
        report(recipe, profile="big")
    with pytest.raises(PreconditionError, match="nowhere does not exist; run the recipe first"):
        report(recipe, work=tmp_path / "nowhere")
    # The default place need not exist: then nothing was run.
    assert set(verdicts(report(recipe, profile="ours")).values()) == {"NOT RUN"}


def test_a_dry_run_counts_the_cells(recipe):
    plan = run(ReportConfig(target=recipe, dry_run=True), ask=ask).render()
    assert plan.startswith("would look for 3 cells of ")
    assert plan.endswith("(profile small) in work/tiny/small")


def test_a_checkout_has_a_commit(root, tmp_path):
    assert (
        re.fullmatch(r"[0-9a-f]{7,}\+?", commit_of(root / "recipes" / "lib.sh"))
        or not (root / ".git").exists()
    )
    assert commit_of(tmp_path / "expected.yaml") == "unknown"
