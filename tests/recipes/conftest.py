"""What the tests of recipes share: a paper's tables, made as their user makes them, and the plans of all."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, ClassVar

import pytest

ROOT = Path(__file__).parents[2]
SURE = 0.01
# What a user may have set for recipes of his own.
VARIABLES = (
    *("ASKED", "BACKBONE", "BATCH", "BEGAN", "DATA", "DRETRIEVE", "DRY_RUN", "GPUS", "MINUTES", "MIRROR"),
    *("ONLY", "PLAN", "PROFILE", "PYTHON", "QUEUE", "README", "SEEDS", "SHARDS", "WORK"),
)
BESIDE = ("DRETRIEVE_CACHE", "ASKED")  # what a miniature keeps beside its work folder
COLLECTIONS = (
    "squad nq-qed nq-gold wiki-2wmh-passages nq-open triviaqa webquestions curatedtrec "
    "scifact nfcorpus arguana medquad cranfield pubmedqa"
).split()


def environment(**variables: str) -> dict[str, str]:
    """Return this process's variables, of those of recipes only the given ones."""
    return {name: value for name, value in os.environ.items() if name not in VARIABLES} | variables


class Call(list[str]):
    """The words of a dretrieve command."""

    def behind(self, option: str) -> str:
        """Return the word behind an option, or nothing."""
        return self[self.index(option) + 1] if option in self else ""

    @property
    def made(self) -> str:
        """The last part of what it makes."""
        return Path(self.behind("--output")).name


@dataclass(frozen=True)
class Paper:
    """``paper("taser", folder)``: the tables of a paper, made in that work folder."""

    name: str
    work: Path
    # Stands in for `python -m dretrieve_cli` where commands compute for seconds.
    warm: ClassVar[str] = f"{sys.executable} -SE {ROOT / 'recipes' / 'warm.py'}"

    def run(self, table: str, **variables: str) -> subprocess.CompletedProcess[str]:
        """Make a table, without its report."""
        own = {"WORK": str(self.work), "PYTHON": sys.executable, "REPORT": "later", **variables}
        command = ["bash", str(ROOT / "recipes" / self.name / f"{table}.sh")]
        done = subprocess.run(command, env=environment(**own), capture_output=True, text=True, timeout=3600)
        assert done.returncode == 0, f"{table}: {done.stderr[-4000:]}"
        return done

    def kill(self, table: str, **variables: str) -> None:
        """Begin a table, and kill all of it when some of its models stand."""
        own = {"WORK": str(self.work), "PYTHON": sys.executable, **variables}
        command = ["bash", str(ROOT / "recipes" / self.name / f"{table}.sh")]
        to: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "start_new_session": True}
        with subprocess.Popen(command, env=environment(**own), **to) as begun:
            deadline = time.monotonic() + 300
            while len(self._models()) < 3 and time.monotonic() < deadline:
                with suppress(subprocess.TimeoutExpired):
                    begun.communicate(timeout=0.05)
            os.killpg(begun.pid, signal.SIGKILL)
            # A warm copy dies after its caller, by itself, and may hold this pipe until then.
            begun.communicate(timeout=60)
        assert len(self._models()) >= 3

    def _models(self) -> list[Path]:
        return list((self.work / "models").glob("*/manifest.json"))

    def smoke(self, tables: Sequence[str], elsewhere: Iterable[str]) -> dict[str, Any]:
        """Make all tables at `smoke`, the first killed once and called again; return the report.

        Nothing may have failed, and nothing be missing but cells whose name holds one of ``elsewhere``; the
        claim ``learns`` holds.
        """
        asked = self.work.with_name("asked")
        asked.touch()
        self.kill(tables[0], PROFILE="smoke", ASKED=str(asked))
        for table in tables:
            self.run(table, PROFILE="smoke", ASKED=str(asked))
        found = self.smoke_report(elsewhere)
        claim = found["claims"]["learns"]
        assert (claim["outcome"], claim["p"] < SURE) == ("HOLDS", True)
        return found

    def smoke_report(self, elsewhere: Iterable[str]) -> dict[str, Any]:
        """Return the report of `smoke`, in which nothing failed and nothing is missing but ``elsewhere``."""
        found = self.report("smoke")
        assert "FAIL" not in found["tally"], found["tally"]
        absent = [name for name, cell in found["cells"].items() if cell["verdict"] == "NOT RUN"]
        assert [name for name in absent if not any(part in name for part in elsewhere)] == []
        return found

    def check_again(self, table: str, least: int) -> None:
        """Call a finished table of `smoke` again: nothing is made anew, so many commands at least say so."""
        stands = self.made()
        again = self.run(table, PROFILE="smoke")
        assert self.made() == stands
        assert again.stdout.count("up to date") >= least
        assert "train (" not in again.stderr

    def variables(self, address: str) -> dict[str, str]:
        """Return with what the tables of `paper` are made in miniature, of files that are served there."""
        beside = {name: str(self.work.with_name(name.lower().removeprefix("dretrieve_"))) for name in BESIDE}
        given = {"PROFILE": "paper", "MIRROR": address, "BACKBONE": "tiny", "DRETRIEVE": self.warm}
        return given | beside

    def miniature(self, tables: Sequence[str], address: str, **variables: str) -> dict[str, dict[str, Any]]:
        """Make tables of `paper` so, in two shards; return the report's cells.

        Some of them fail: a hundred rows do not give the paper's numbers.
        """
        own = {**self.variables(address), "SHARDS": "2", **variables}
        for table in tables:
            self.run(table, **own)
        cells: dict[str, dict[str, Any]] = self.report("paper", code=5, **own)["cells"]
        return cells

    def shards(self, place: str) -> int:
        """Return in how many of two shards vectors were made."""
        return len(list((self.work / place).glob("shard-*-of-00002.manifest.json")))

    def report(self, profile: str, code: int = 0, **variables: str) -> dict[str, Any]:
        """Return the report as data; ``code`` is 5 where a cell fails."""
        words = ["report", str(ROOT / "recipes" / self.name), "--profile", profile, "--work", str(self.work)]
        command = [sys.executable, "-m", "dretrieve_cli", *words, "--json"]
        own = {"PYTHONPATH": f"{ROOT}:{ROOT / 'cli'}", **variables}
        done = subprocess.run(command, env=environment(**own), capture_output=True, text=True, timeout=600)
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)

    def filled(self, cells: Mapping[str, dict[str, Any]]) -> set[str]:
        """Return the cells that hold a number of ours; none may have been refused for what is behind it."""
        assert [name for name, of in cells.items() if of["verdict"] == "FAIL" and of["ours"] is None] == []
        return {name for name, cell in cells.items() if cell["ours"] is not None}

    def check_swapped(self, profile: str, pairs: Mapping[tuple[str, str], Iterable[str]]) -> None:
        """Exchange pairs of metrics files with their manifests: every cell that they fill must fail."""
        self._swap(pairs)
        found = self.report(profile, code=5)["cells"]
        self._swap(pairs)
        cells = [name for names in pairs.values() for name in names]
        assert {name: found[name]["verdict"] for name in cells} == dict.fromkeys(cells, "FAIL")

    def _swap(self, pairs: Iterable[tuple[str, str]]) -> None:
        for pair in pairs:
            for ending in ("", ".manifest.json", ".provenance.json"):
                one, other = (self.work / "metrics" / f"{name}.json{ending}" for name in pair)
                shutil.move(one, f"{one}.kept")
                shutil.move(other, one)
                shutil.move(f"{one}.kept", other)

    def check_nothing_is_taken(self, profile: str) -> None:
        """Of what stands in the work folder another profile's report takes no number."""
        cells = self.report(profile, code=5)["cells"]
        assert [name for name, cell in cells.items() if cell["ours"] is not None] == []

    def made(self) -> dict[Path, int]:
        """Return when each model, index, text and run of the folder was made."""
        folders = ("models", "vectors", "made", "wiki", "dev", "bm25", "negatives", "runs")
        paths = [path for folder in folders for path in (self.work / folder).rglob("*manifest.json")]
        return {path: path.stat().st_mtime_ns for path in paths}


@pytest.fixture(scope="session")
def paper() -> type[Paper]:
    return Paper


@pytest.fixture(scope="session")
def mirror(script) -> ModuleType:
    """What lays out the files that the profile `paper` downloads, and serves them."""
    return script("tests/recipes/mirror.py")


@pytest.fixture(scope="session")
def collections(script, tmp_path_factory) -> Path:
    """What recipes look for below $DATA, each of a few passages."""
    smoke, folder = script("recipes/smoke.py"), tmp_path_factory.mktemp("data")
    rng = random.Random(1)
    for name in COLLECTIONS:
        smoke.write_collection(folder / name, smoke.words(rng, 6, 3), smoke.words(rng, 9, 2), rng)
    asked = folder / "entityquestions" / "queries.jsonl"
    asked.parent.mkdir()
    row = {"_id": "e", "text": "Where was Bo born?", "answers": ["Rome"], "relation": "P19", "split": "test"}
    asked.write_text(json.dumps(row) + "\n")
    return folder


@pytest.fixture(scope="session")
def record_of(collections, tmp_path_factory) -> Callable[..., Path]:
    """``record_of(script, PROFILE="mini")``: the file in which a dry run wrote down its commands.

    Each is made once, with one seed and two shards, from a folder of its own in which nothing may be made.
    """

    @cache
    def record_of(path: Path, **variables: str) -> Path:
        folder, kept = tmp_path_factory.mktemp("dry"), tmp_path_factory.mktemp("record") / "plan"
        own = {"PYTHON": str(ROOT / "tests" / "recipes" / "keep_plan.sh"), "KEPT_PLAN": str(kept)}
        own |= {"DATA": str(collections), "SEEDS": "1", "SHARDS": "2", **variables}
        done = subprocess.run(
            ["bash", str(path), "--dry-run"],
            cwd=folder,
            env=environment(**own),
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr
        assert list(folder.iterdir()) == []
        return kept

    return record_of


@pytest.fixture(scope="session")
def calls_of(record_of) -> Callable[..., list[Call]]:
    """The same: the words of each dretrieve command."""

    def calls_of(path: Path, **variables: str) -> list[Call]:
        lines = record_of(path, **variables).read_text(encoding="utf-8").splitlines()
        return [Call(line.split("\x1f")[1:-1]) for line in lines if line.startswith("call\x1f")]

    return calls_of
