"""What a recipe takes from lib.sh: profiles, work folders, banners, steps that are skipped or made again."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
TOY = """
source "{root}/recipes/lib.sh"
recipe toy "a small chain" {profiles}
step "Index"
dretrieve index --corpus "$COLLECTION" --type bm25 --output "$WORK/index"
step "Search"
dretrieve search --index "$WORK/index" --queries "$COLLECTION:test" --hits "$HITS" --output "$WORK/run.trec"
step "Measure"
dretrieve evaluate --run "$WORK/run.trec" --qrels "$COLLECTION:test" --output "$WORK/run.json"
dretrieve report --row "BM25=$WORK/run.json" --output "$WORK/report.html"
finish "see $WORK/report.html"
"""


def toy(folder: Path, *, profiles: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    path = folder / "toy.sh"
    path.write_text(TOY.format(root=ROOT, profiles=profiles))
    environment = {
        name: value for name, value in os.environ.items() if name not in ("WORK", "PROFILE", "PYTHONPATH")
    }
    environment |= {"PYTHON": sys.executable, "HITS": "10", **variables}
    return subprocess.run(
        ["bash", str(path)], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )


def test_finished_steps_are_skipped_and_stale_ones_made_again(tiny_collection, tmp_path):
    where = {"COLLECTION": str(tiny_collection)}
    first = toy(tmp_path, **where)
    assert first.returncode == 0, first.stderr
    assert "toy: a small chain" in first.stderr
    assert "[0:" in first.stderr
    assert first.stderr.splitlines()[-1] == "  see work/toy/report.html"
    files = ("run.trec", "run.json", "report.html")
    before = {name: (tmp_path / "work/toy" / name).stat().st_mtime_ns for name in files}
    index = (tmp_path / "work/toy/index/manifest.json").stat().st_mtime_ns

    again = toy(tmp_path, **where)
    assert again.returncode == 0, again.stderr
    assert again.stdout.count("up to date") == 2
    assert {name: (tmp_path / "work/toy" / name).stat().st_mtime_ns for name in files[:2]} == {
        name: before[name] for name in files[:2]
    }

    changed = toy(tmp_path, **where, HITS="2")
    assert changed.returncode == 0, changed.stderr
    assert changed.stdout.count("up to date") == 1  # the index
    assert (tmp_path / "work/toy/index/manifest.json").stat().st_mtime_ns == index
    assert (tmp_path / "work/toy/run.trec").stat().st_mtime_ns > before["run.trec"]
    assert (tmp_path / "work/toy/run.json").stat().st_mtime_ns > before["run.json"]


def test_what_one_call_has_asked_for_is_not_asked_for_again(tiny_collection, tmp_path):
    asked = tmp_path / "asked"
    asked.touch()
    variables = {"COLLECTION": str(tiny_collection), "ASKED": str(asked)}
    first = toy(tmp_path, **variables)
    assert first.returncode == 0, first.stderr
    lines = asked.read_text().splitlines()
    assert [line.split()[0] for line in lines] == ["index", "search", "evaluate", "report"]
    again = toy(tmp_path, **variables)
    assert again.returncode == 0, again.stderr
    assert again.stdout == ""
    assert asked.read_text().splitlines() == lines
    changed = toy(tmp_path, **variables, HITS="2")
    assert "run.trec: written" in changed.stdout


def test_profiles_choose_the_folder_and_an_unknown_one_is_refused(tiny_collection, tmp_path):
    where = {"COLLECTION": str(tiny_collection), "DRETRIEVE": "true"}
    assert toy(tmp_path, profiles="mini paper", **where).returncode == 0
    assert (tmp_path / "work/toy/mini").is_dir()
    assert toy(tmp_path, profiles="mini paper", PROFILE="paper", **where).returncode == 0
    assert (tmp_path / "work/toy/paper").is_dir()
    refused = toy(tmp_path, profiles="mini paper", PROFILE="papr", **where)
    assert refused.returncode == 2
    assert refused.stderr == "PROFILE=papr is none of this recipe's profiles: mini paper\n"


def test_the_first_failing_command_ends_the_recipe(tmp_path):
    done = toy(tmp_path, COLLECTION=str(tmp_path / "absent"))
    assert done.returncode == 3
    assert "does not exist" in done.stderr
    assert 'stopped in step 1, "Index" (exit code 3).' in done.stderr
    assert "goes on from here" in done.stderr


def test_a_folder_with_a_blank_in_its_name(tiny_collection, tmp_path):
    done = toy(tmp_path, COLLECTION=str(tiny_collection), WORK="my work")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "my work/report.html").exists()


def test_a_signal_is_answered_when_the_command_at_work_is_done(tmp_path):
    """Not before: a recipe that is gone while its command goes on would be started twice."""
    slow = tmp_path / "slow.sh"
    slow.write_text("#!/bin/sh\necho started >&2\nsleep 2\ntouch finished\n")
    slow.chmod(0o755)
    path = tmp_path / "toy.sh"
    path.write_text(TOY.format(root=ROOT, profiles=""))
    environment = os.environ | {
        "DRETRIEVE": str(slow),
        "COLLECTION": "x",
        "HITS": "1",
        "WORK": str(tmp_path / "work"),
    }
    running = subprocess.Popen(
        ["bash", str(path)], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    assert running.stderr is not None
    while "started" not in running.stderr.readline():
        pass
    running.terminate()
    _, said = running.communicate(timeout=60)
    assert running.returncode == 143
    assert (tmp_path / "finished").exists()
    assert 'stopped in step 1, "Index" (exit code 143)' in said
