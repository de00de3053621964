"""What a recipe takes from lib.sh: profiles, work folders, banners, steps that are skipped or made again."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OWN = ("WORK", "PROFILE", "PYTHONPATH", "MINUTES", "BEGAN", "ASKED")
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
    environment = {name: value for name, value in os.environ.items() if name not in OWN}
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
    assert [line.split()[0] for line in lines] == ["index", "search", "evaluate"]  # a report is made anew
    again = toy(tmp_path, **variables)
    assert again.returncode == 0, again.stderr
    assert "up to date" in first.stdout + toy(tmp_path, COLLECTION=variables["COLLECTION"]).stdout
    assert "up to date" not in again.stdout
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


def bash(folder: Path, text: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run lines behind `recipe` in a script that sources lib.sh."""
    path = folder / "lines.sh"
    path.write_text(f'source "{ROOT}/recipes/lib.sh"\nrecipe toy "some lines"\n{text}\n')
    environment = {name: value for name, value in os.environ.items() if name not in OWN} | variables
    return subprocess.run(
        ["bash", str(path)], cwd=folder, env=environment, capture_output=True, text=True, timeout=120
    )


def stand_in(folder: Path, seconds: float = 0) -> dict[str, str]:
    """Return the variables that put a program of so many seconds in dretrieve's place; it makes no files."""
    program = folder / "stand-in.sh"
    program.write_text(f'#!/bin/sh\necho "$@" >>"{folder}/calls"\nsleep {seconds}\n')
    program.chmod(0o755)
    return {"DRETRIEVE": str(program), "COLLECTION": "x"}


def called(folder: Path) -> list[str]:
    """Return which commands the stand-in was called with, in order."""
    calls = folder / "calls"
    return [line.split()[0] for line in calls.read_text().splitlines()] if calls.exists() else []


def ago(seconds: float) -> str:
    return str(round(time.time() - seconds))


def test_when_the_minutes_are_over_nothing_is_started(tmp_path):
    done = toy(tmp_path, **stand_in(tmp_path), MINUTES="2", BEGAN=ago(121))
    assert done.returncode == 75
    assert called(tmp_path) == []
    said = done.stderr.splitlines()
    assert "The 2 minutes of this call are over." in said
    assert said[-2].endswith('stopped in step 1, "Index" (exit code 75).')


def test_what_stands_finished_is_still_looked_at(tmp_path):
    index = tmp_path / "work/toy/index"
    index.mkdir(parents=True)
    (index / "manifest.json").touch()
    done = toy(tmp_path, **stand_in(tmp_path), MINUTES="2", BEGAN=ago(121))
    assert (done.returncode, called(tmp_path)) == (75, ["index"])
    (tmp_path / "work/toy/run.trec.manifest.json").touch()
    done = toy(tmp_path, **stand_in(tmp_path), MINUTES="2", BEGAN=ago(121))
    assert (done.returncode, called(tmp_path)) == (75, ["index", "index", "search"])


def test_the_minutes_are_those_of_the_whole_call(tmp_path):
    """The first command takes longer than what is left; none is started behind it."""
    done = toy(tmp_path, **stand_in(tmp_path, seconds=6), MINUTES="1", BEGAN=ago(55))
    assert (done.returncode, called(tmp_path)) == (75, ["index"])
    assert 'stopped in step 2, "Search"' in done.stderr


@pytest.mark.parametrize("minutes", [{}, {"MINUTES": "0"}, {"MINUTES": "08"}])
def test_without_an_end_or_before_it_everything_runs(tmp_path, minutes):
    done = toy(tmp_path, **stand_in(tmp_path), **minutes, BEGAN=ago(0 if "08" in minutes.values() else 1e6))
    assert done.returncode == 0, done.stderr
    assert called(tmp_path) == ["index", "search", "evaluate", "report"]


def test_minutes_that_are_none_are_refused(tmp_path):
    for minutes in ("soon", "1.5", "-3"):
        done = toy(tmp_path, **stand_in(tmp_path), MINUTES=minutes)
        assert done.returncode == 2
        assert (
            done.stderr == f"MINUTES={minutes} is no whole number; 0 lets a call take as long as it takes\n"
        )


def test_a_training_gets_the_minutes_that_are_left(tmp_path):
    said = {
        key: bash(tmp_path, "minutes_left; trap - EXIT", **variables).stdout.strip()
        for key, variables in {
            "no end": {},
            "some": {"MINUTES": "10", "BEGAN": ago(330)},
            "none": {"MINUTES": "10", "BEGAN": ago(900)},
        }.items()
    }
    assert (said["no end"], said["none"]) == ("0.0", "0.1")  # 0 would let it train for ever
    assert 3.5 < float(said["some"]) <= 4.5


def test_the_minutes_that_are_left_are_no_other_question(tmp_path):
    line = 'dretrieve train dpr --output x --max-minutes "$1"; trap - EXIT'
    asked = {"ASKED": str(tmp_path / "asked"), **stand_in(tmp_path)}
    for minutes in ("8.5", "3.1"):
        assert bash(tmp_path, f"set -- {minutes}; {line}", **asked).returncode == 0
    assert called(tmp_path) == ["train"]
    assert (tmp_path / "asked").read_text() == "train dpr --output x\n"


def test_a_shard_stands_by_its_own_manifest(tmp_path):
    (tmp_path / "e").mkdir()
    (tmp_path / "e/shard-00001-of-00003.manifest.json").touch()
    (tmp_path / "f").mkdir()
    (tmp_path / "f/shard-00000-of-00001.manifest.json").touch()
    lines = [f"stands encode --output {words} && echo {words}" for words in ("e --shard 1/3", "f", "e", "g")]
    done = bash(
        tmp_path, "\n".join([*lines, "stands encode --shard 2/3 --output e && echo no", "trap - EXIT"])
    )
    assert done.stdout.split("\n") == ["e --shard 1/3", "f", ""]


def test_another_command_runs_late_only_where_its_output_is(tmp_path):
    late = {"MINUTES": "1", "BEGAN": ago(99)}
    (tmp_path / "there").touch()
    done = bash(tmp_path, "other there echo one\nother absent echo two", **late)
    assert (done.returncode, done.stdout) == (75, "one\n")


def test_vectors_go_when_they_are_spent_and_are_wanted_again_where_the_run_is_not_there(tmp_path):
    folder = tmp_path / "emb"
    folder.mkdir()
    names = ("shard-0.ids.txt", "shard-0.vectors.npy", "shard-1.vectors.npy")
    for name in names:
        (folder / name).write_text("x")
    (tmp_path / "run").touch()
    assert bash(tmp_path, "spent emb absent; DRY_RUN=1 wanted run emb").returncode == 0
    assert {file.name for file in folder.iterdir()} == {names[0], *(f"{name}.spent" for name in names[1:])}
    assert bash(tmp_path, "spent emb; wanted run emb").returncode == 0
    assert (folder / "shard-1.vectors.npy.spent").exists()
    assert bash(tmp_path, "mkdir other; wanted absent emb other").returncode == 0
    assert not folder.exists()
    assert (tmp_path / "other").exists()


def test_seeds_that_no_report_reads_are_refused(tmp_path):
    line = 'choose_seeds 1 2 3\necho "${seeds[@]}"; trap - EXIT'
    assert bash(tmp_path, line).stdout == "1 2 3\n"
    assert bash(tmp_path, line, SEEDS="3 1").stdout == "3 1\n"
    done = bash(tmp_path, line, SEEDS="2 4")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1] == (
        "SEEDS=2 4: 4 is none of the seeds that expected.yaml names, 1 2 3; no report would read it"
    )


BESIDE = """
at_once={at_once}
row() {{ echo "$1 says"; echo "$1 works" >&2; dretrieve "$1"; {then} echo "$1 has ended"; }}
for name in one two three four; do beside row "$name"; done
together
"""


@pytest.mark.parametrize("at_once", [1, 2])
def test_rows_side_by_side_print_what_they_print_one_by_one_as_they_end(tmp_path, at_once):
    asked = tmp_path / "asked"
    asked.touch()
    began = time.monotonic()
    text = BESIDE.format(at_once=at_once, then="")
    done = bash(tmp_path, text, ASKED=str(asked), **stand_in(tmp_path, seconds=2))
    took = time.monotonic() - began
    assert done.returncode == 0, done.stderr
    names = ["one", "two", "three", "four"]
    lines = done.stdout.splitlines()
    ended = [line.split()[0] for line in lines[::2]]
    assert lines == [line for name in ended for line in (f"{name} says", f"{name} has ended")]
    assert ended == names or (at_once == 2 and sorted(ended) == sorted(names))
    assert [line for line in done.stderr.splitlines() if "works" in line] == [f"{n} works" for n in ended]
    assert sorted(called(tmp_path)) == sorted(names) == sorted(asked.read_text().split())
    assert (took < 8) == (at_once == 2), took  # seconds: four commands of two, two at once


def test_a_long_row_does_not_hold_up_the_short_ones(tmp_path):
    row = 'at_once=2\nrow() { sleep "$1"; echo "$1"; }\n'
    text = "for seconds in 3 0.1 0.2 0.3; do beside row $seconds; done\ntogether"
    assert bash(tmp_path, row + text).stdout.split() == ["0.1", "0.2", "0.3", "3"]


def test_one_that_fails_ends_the_others_when_their_commands_are_done(tmp_path):
    text = BESIDE.format(at_once=2, then="[[ $1 != one ]] || exit 9;")
    text = text.replace(
        'dretrieve "$1"', 'if [[ $1 == one ]]; then sleep 0.5; else dretrieve "$1"; fi'
    ).replace('echo "$1 has ended"', 'dretrieve "$1-next"')
    temporary = tmp_path / "temporary files"
    temporary.mkdir()
    done = bash(tmp_path, text, TMPDIR=str(temporary), **stand_in(tmp_path, seconds=1))
    assert done.returncode == 9
    assert called(tmp_path) == ["two"]
    assert done.stdout.splitlines() == ["two says", "one says"]  # the one that failed last
    said = [line for line in done.stderr.splitlines() if "works" in line or "stopped" in line]
    assert said[:2] == ["two works", "one works"]
    assert said[2].endswith('stopped in step 0, "start" (exit code 9).')
    assert list(temporary.iterdir()) == []


@pytest.mark.parametrize(("at_once", "signals"), [(1, 1), (2, 1), (2, 2)])
def test_a_signal_is_answered_when_the_commands_at_work_are_done(tmp_path, at_once, signals):
    """Not before: a recipe that is gone while its command goes on would be started twice."""
    variables = stand_in(tmp_path, seconds=2)
    text = BESIDE.format(at_once=at_once, then='dretrieve "$1-next";')
    path = tmp_path / "lines.sh"
    path.write_text(f'source "{ROOT}/recipes/lib.sh"\nrecipe toy "some lines"\n{text}\n')
    environment = {name: value for name, value in os.environ.items() if name not in OWN} | variables
    running = subprocess.Popen(
        ["bash", str(path)], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True
    )
    while len(called(tmp_path)) < at_once:
        time.sleep(0.05)
    began = time.monotonic()
    for _ in range(signals):
        running.terminate()
        time.sleep(0.2)
    _, said = running.communicate(timeout=60)
    assert running.returncode == 143
    assert time.monotonic() - began > 1  # seconds: the commands were let finish
    assert sorted(called(tmp_path)) == ["one", "two"][:at_once]
    assert "stopped in step 0" in said


def test_on_one_stream_the_lines_of_a_row_stay_in_order(tmp_path):
    text = BESIDE.format(at_once=2, then='echo "$1 goes on" >&2;')
    done = bash(tmp_path, f"exec 2>&1\n{text}", **stand_in(tmp_path))
    names = ["one", "two", "three", "four"]
    lines = [line for line in done.stdout.splitlines() if line.startswith(tuple(names))]
    ended = [line.split()[0] for line in lines[::4]]
    words = ("says", "works", "goes on", "has ended")
    assert sorted(ended) == sorted(names)
    assert lines == [f"{name} {word}" for name in ended for word in words]
