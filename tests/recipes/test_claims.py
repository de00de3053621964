"""Every claim of a paper is about numbers that its profiles measure."""

from __future__ import annotations

import itertools
import os
import subprocess
from pathlib import Path

import pytest

from dretrieve.reports.expected_file import read_expected

ROOT = Path(__file__).parents[2]
PAPERS = {
    "taser": ("table1", "table2", "tableA1", "tableA3"),
    "sb_moe": ("table1", "controls", "samples", "costs"),
}


def words_of(paper: str, profile: str, folder: Path) -> set[str]:
    """Return every word of every call that the paper's tables make at the profile, with one seed."""
    log, asked = folder / "calls", folder / "asked"
    asked.touch()
    record = str(ROOT / "tests" / "recipes" / "record.sh")
    own = ("DRY_RUN", "DATA", "BACKBONE", "MIRROR", "QUEUE", "ONLY", "MINUTES")
    environment = {name: value for name, value in os.environ.items() if name not in own}
    environment |= {
        "DRETRIEVE": record,
        "PYTHON": record,
        "WORK": str(folder / "work"),
        "RECORDED_CALLS": str(log),
        "ASKED": str(asked),
        "REPORT": "later",
        "SHARDS": "1",
        "SEEDS": "1",
        "PROFILE": profile,
    }
    for table in PAPERS[paper]:
        script = str(ROOT / "recipes" / paper / f"{table}.sh")
        done = subprocess.run(["bash", script], env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    return {word for line in log.read_text().splitlines() for word in line.split("\x1f")}


@pytest.mark.parametrize("profile", ["smoke", "mini-cpu", "mini", "paper"])
@pytest.mark.parametrize("paper", PAPERS)
def test_a_profile_fills_every_claim_that_it_shows(paper, profile, tmp_path):
    expected = read_expected(ROOT / "recipes" / paper / "expected.yaml")
    words = words_of(paper, profile, tmp_path)
    absent = []
    shown = [claim for claim in expected.claims.values() if claim.shown_at(profile)]
    for claim in shown:
        named = [expected.cell(name) for name in claim.cells()]
        for cell in itertools.chain(*(one.average or [one] for one in named)):
            names = {
                "table": cell.table,
                "row": cell.row,
                "column": cell.column,
                "seed": 1,
                "profile": profile,
            }
            if str(tmp_path / "work" / cell.file.format(**names)) not in words:
                absent.append(f"{claim.name}: {cell.name}")
    assert shown
    assert absent == []


def test_every_profile_of_a_paper_is_looked_at():
    for paper in PAPERS:
        expected = read_expected(ROOT / "recipes" / paper / "expected.yaml")
        assert list(expected.profiles) == ["smoke", "mini-cpu", "mini", "paper"]
