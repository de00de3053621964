"""The plan of a recipe: each command is asked, those whose inputs are not there wait, nothing is done."""

from __future__ import annotations

import importlib.util
import json
import os
import random
import subprocess
import sys
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[2]
RECIPES = sorted(
    path for path in (ROOT / "recipes").rglob("*.sh") if "\nrecipe " in path.read_text(encoding="utf-8")
)
# A walk that visits nothing passes everything; how many recipes there are is held by test_recipes.
FEWEST_PLANS = 4
COLLECTIONS = (
    "squad nq-qed nq-gold wiki-2wmh-passages nq-open triviaqa webquestions curatedtrec "
    "scifact nfcorpus arguana medquad"
).split()


def loaded(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"recipes_{name}", ROOT / "recipes" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def plan() -> Iterator[ModuleType]:
    """The module; a command is asked once, for nothing is ever made and recipes of a paper share steps."""
    from dretrieve_cli import plan as module

    before, asked = module.ask, lru_cache(maxsize=None)(module.ask)
    module.ask = lambda words: asked(tuple(words))
    yield module
    module.ask = before


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """The collections that recipes look for below $DATA, each of a few passages."""
    smoke, folder = loaded("smoke"), tmp_path_factory.mktemp("data")
    rng = random.Random(1)
    for name in COLLECTIONS:
        smoke.write_collection(folder / name, smoke.words(rng, 6, 3), smoke.words(rng, 9, 2), rng)
    asked = folder / "entityquestions" / "queries.jsonl"
    asked.parent.mkdir()
    row = {"_id": "e", "text": "Where was Bo born?", "answers": ["Rome"], "relation": "P19", "split": "test"}
    asked.write_text(json.dumps(row) + "\n")
    return folder


def profiles_of(path: Path) -> list[str]:
    line = next(line for line in path.read_text().splitlines() if line.startswith("recipe "))
    return line.rpartition('"')[2].split() or [""]


PLANS = [(path, profile) for path in RECIPES for profile in profiles_of(path)]


def test_all_are_visited():
    assert len(PLANS) >= FEWEST_PLANS


@pytest.mark.parametrize(("path", "profile"), PLANS, ids=lambda value: getattr(value, "stem", value))
def test_every_dry_run_passes(path, profile, plan, data, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kept = tmp_path / "kept"
    environment = os.environ | {
        "PYTHON": str(ROOT / "tests" / "recipes" / "keep_plan.sh"),
        "KEPT_PLAN": str(kept),
        "DATA": str(data),
        "PROFILE": profile,
    }
    environment.pop("WORK", None)
    done = subprocess.run(
        ["bash", str(path), "--dry-run"], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    calls = sum(not line.startswith("step\x1f") for line in kept.read_text().splitlines())
    assert calls >= 5
    assert plan.main(kept) == 0, capsys.readouterr().out
    out = capsys.readouterr().out
    assert f"\n{calls} commands" in out
    assert "Nothing was done." in out
    assert not (tmp_path / "work").exists()


def recorded(folder: Path, *calls: list[str]) -> Path:
    path = folder / "record"
    path.write_text("".join("\x1f".join([*words, ""]) + "\n" for words in calls))
    return path


def test_commands_that_wait_name_the_last_that_they_wait_for(plan, tiny_collection, tmp_path, capsys):
    work = str(tmp_path / "work")
    where = str(tiny_collection)
    index = ["call", "index", "--corpus", where, "--type", "bm25", "--output", f"{work}/index"]
    search = [
        "call",
        "search",
        "--index",
        f"{work}/index",
        "--queries",
        f"{where}:test",
        "--output",
        f"{work}/r.trec",
    ]
    measure = ["call", "evaluate", "--run", f"{work}/r.trec", "--qrels", f"{where}:test"]
    assert plan.main(recorded(tmp_path, ["step", "1. All"], index, search, measure)) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[1] == "1. All"
    assert [line.strip() for line in out if "after" in line] == ["after 1", "after 2"]
    assert out[-1] == "3 commands; 2 of them wait for an earlier one. Nothing was done."
    assert not (tmp_path / "work").exists()


def test_what_is_missing_and_made_by_nobody_ends_with_its_code(plan, tmp_path, capsys):
    call = ["call", "index", "--corpus", str(tmp_path / "absent"), "--type", "bm25", "--output", "x"]
    assert plan.main(recorded(tmp_path, call)) == 3
    assert "absent' does not exist" in capsys.readouterr().out
    assert plan.main(recorded(tmp_path, ["call", "index", "--corpse", "x", "--output", "y"])) == 2


def test_another_command_is_only_shown_and_its_output_waited_for(plan, tmp_path, capsys):
    made = ["other", f"{tmp_path}/world", "python", "make it.py", f"{tmp_path}/world"]
    call = ["call", "index", "--corpus", f"{tmp_path}/world/nq", "--type", "bm25", "--output", "x"]
    assert plan.main(recorded(tmp_path, made, call)) == 0
    out = capsys.readouterr().out
    assert f"1. python 'make it.py' {tmp_path}/world\n" in out
    assert "after 1\n" in out


def test_shards_are_told_in_a_line_each_and_wait_together(plan, tmp_path, capsys):
    world = ["other", f"{tmp_path}/world", "true"]
    shards = [
        [
            "call",
            "encode",
            "--model",
            "m",
            "--corpus",
            f"{tmp_path}/world/nq",
            "--output",
            "e",
            "--shard",
            f"{n}/3",
        ]
        for n in range(3)
    ]
    searches = [
        [
            "call",
            "search",
            "--index",
            "e",
            "--query-embeddings",
            "e",
            "--shard",
            f"{n}/2",
            "--output",
            f"part-{n}",
        ]
        for n in range(2)
    ]
    merge = ["call", "merge", "part-0", "part-1", "--output", "x"]
    assert plan.main(recorded(tmp_path, world, *shards, *searches, merge)) == 0
    out = capsys.readouterr().out
    assert (out.count("dretrieve encode"), out.count("dretrieve search")) == (1, 1)
    assert "       and 3. --shard 1/3\n       and 4. --shard 2/3\n" in out
    assert "       and 6. --shard 1/2\n" in out
    assert "merge part-0 part-1 --output x\n       after 6\n" in out
    assert "7 commands; 6 of them wait for an earlier one." in out


def test_seeds_come_from_the_environment_or_the_recipe(tmp_path):
    script = tmp_path / "toy.sh"
    script.write_text(f'source "{ROOT}/recipes/lib.sh"\nchoose_seeds 1 2 3\necho "${{seeds[@]/#/s}}"\n')
    said = [
        subprocess.run(
            ["bash", str(script)], env=os.environ | extra, capture_output=True, text=True, check=True
        ).stdout
        for extra in ({}, {"SEEDS": "3 1"})
    ]
    assert said == ["s1 s2 s3\n", "s3 s1\n"]
