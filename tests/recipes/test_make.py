"""`make reproduce…`: which recipes it runs with what, and the report behind them."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
RECORD = ROOT / "tests" / "recipes" / "record.sh"
TABLES = sorted(
    path for path in (ROOT / "recipes").glob("*/*.sh") if "\nrecipe " in path.read_text(encoding="utf-8")
)

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def make(tmp_path):
    """Call make with stand-ins for the environment and for dretrieve; return what it said, and the calls."""
    folder, log = tmp_path / "venv" / "bin", tmp_path / "calls"
    folder.mkdir(parents=True)
    (folder / "python").symlink_to(shutil.which("true"))
    (folder / "dretrieve").symlink_to(RECORD)
    kept = {name: value for name, value in os.environ.items() if name not in ("WORK", "PROFILE", "DRY_RUN")}
    environment = kept | {
        "DRETRIEVE": str(RECORD),
        "RECORDED_CALLS": str(log),
        "WORK": str(tmp_path / "work"),
    }

    def call(*words):
        command = ["make", "--no-print-directory", "-o", "install", f"VENV={tmp_path / 'venv'}", *words]
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
        calls = [line.split("\x1f")[:-1] for line in log.read_text().splitlines()] if log.exists() else []
        return done, calls

    return call


def test_help_lists_every_paper_and_table(make):
    done, _ = make("help")
    names = {f"reproduce-{path.parent.name}-{path.stem}" for path in TABLES}
    names |= {f"reproduce-{path.parent.name}" for path in TABLES} | {"reproduce"}
    listed = {line.split()[1] for line in done.stdout.splitlines()}
    assert len(names) >= 3
    assert not names - listed
    lines = {" ".join(line.split()) for line in done.stdout.splitlines()}
    papers = {path.parent.name for path in TABLES}
    assert {f"make reproduce-{paper} all tables of {paper}" for paper in papers} <= lines


def test_bench_runs_them_all_and_names_those_that_failed(make, tmp_path):
    python = tmp_path / "venv" / "bin" / "python"
    python.unlink()
    python.write_text("#!/bin/sh\ncase $1 in *_bm25.py | *_taser.py) exit 3 ;; esac\n")
    python.chmod(0o755)
    python.with_name("pip").symlink_to(shutil.which("true"))
    done, _ = make("bench")
    run = [line[3:] for line in done.stdout.splitlines() if line.startswith("== ")]
    assert sorted(run) == sorted(
        f"tests/bench/{path.name}" for path in (ROOT / "tests/bench").glob("bench_*.py")
    )
    assert "failed: tests/bench/bench_bm25.py tests/bench/bench_taser.py\n" in done.stderr
    assert done.returncode == 2


def test_one_table_then_the_report(make, calls_of, collections, tmp_path):
    """What is run is what the plan of a dry run says, each command once."""
    work, given = str(tmp_path / "work"), {"PROFILE": "mini", "SEEDS": "1", "DATA": str(collections)}
    page = tmp_path / "x.md"
    page.write_text("<!-- report taser -->\n<!-- /report taser -->\n")
    done, calls = make(
        "reproduce-taser-table1", f"README={page}", *(f"{name}={value}" for name, value in given.items())
    )
    assert done.returncode == 0, done.stderr
    assert "taser (mini)" in done.stderr
    assert calls[-1] == [
        *(
            "report",
            f"{ROOT}/recipes/taser",
            "--profile",
            "mini",
            "--work",
            work,
            "--output",
            f"{work}/report",
        ),
        *("--readme", str(page)),
    ]
    planned = calls_of(ROOT / "recipes/taser/table1.sh", **given, WORK=work, SHARDS="1")
    assert calls[:-1] == [list(call) for call in dict.fromkeys(map(tuple, planned[:-1]))]
    assert len(calls) > 30


def test_a_paper_by_either_name_runs_all_its_tables(make):
    done, by_variable = make("reproduce", "PAPER=taser")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("taser (smoke):") == sum(path.parent.name == "taser" for path in TABLES)
    done, both = make("reproduce-taser")
    assert both[len(by_variable) :] == by_variable


def test_what_does_not_exist_is_said(make, tmp_path):
    done, calls = make("reproduce-taser-table9")
    assert (done.returncode, calls) == (2, [])
    assert "there is no recipe for taser-table9; make help lists them" in done.stderr
    # … and before an environment is made for it.
    words = ["make", "reproduce", "PAPER=nothing", f"VENV={tmp_path / 'none'}", "PYTHON=false"]
    said = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert "there is no recipe for nothing" in said.stderr
    assert "none" not in said.stdout
    done, _ = make("reproduce")
    assert done.returncode == 2
    assert "make reproduce needs PAPER=" in done.stderr


def test_a_recipe_that_stops_ends_it_before_the_report(make, tmp_path):
    (tmp_path / "venv/bin/python").unlink()
    stopping = tmp_path / "venv/bin/python"
    stopping.write_text("#!/bin/sh\nexit 75\n")
    stopping.chmod(0o755)
    done, calls = make("reproduce-taser-table1", "PROFILE=smoke")
    assert done.returncode != 0
    assert "exit code 75" in done.stderr
    assert calls == []


def test_all_tables_of_a_call_count_their_minutes_from_its_beginning(make, tmp_path):
    clock = tmp_path / "clock.sh"
    clock.write_text(f'#!/bin/sh\necho "$BEGAN $MINUTES" >>"{tmp_path}/times"\n')
    clock.chmod(0o755)
    before = int(time.time())
    done, _ = make("reproduce-taser-table1", "MINUTES=55", f"DRETRIEVE={clock}")
    assert done.returncode == 0, done.stderr
    told = (tmp_path / "times").read_text().splitlines()
    assert len(told) > 30
    assert len(set(told)) == 1
    began, minutes = told[0].split()
    assert (minutes, before <= int(began) <= time.time()) == ("55", True)


def test_what_was_asked_is_kept_where_the_caller_says(make, tmp_path):
    done, first = make("reproduce-taser-table1", f"ASKED={tmp_path / 'asked'}")
    assert done.returncode == 0, done.stderr
    done, both = make("reproduce-taser-table1", f"ASKED={tmp_path / 'asked'}")
    assert [call[0] for call in both[len(first) :]] == ["report"]
