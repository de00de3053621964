"""What killed processes left is found, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from dretrieve.store.killed import QUIET_SECONDS, left_by_killed
from dretrieve.store.stage import Stage


def test_only_what_dead_processes_left_long_ago_is_found(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    names = {
        f".a.tmp-{process.pid}-1": True,
        f".b.tmp-{os.getpid()}-1": False,
        ".c.tmp-x-1": False,
        "d": False,
    }
    for name in names:
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (1, 1))
    fresh = tmp_path / f".e.tmp-{process.pid}-2"
    fresh.mkdir()
    (fresh / "texts.bin").write_bytes(b"")
    os.utime(fresh, (1, 1))
    assert [path.name for path in left_by_killed(tmp_path)] == [name for name, dead in names.items() if dead]
    os.utime(fresh / "texts.bin", (1, 1))
    os.utime(fresh, (1, 1))
    assert fresh in left_by_killed(tmp_path)
    assert QUIET_SECONDS >= 60


def test_a_finished_stage_removes_what_killed_runs_of_it_left(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    mine = [f".{name}.tmp-{process.pid}-1" for name in ("run.trec", "run.trec.state.json")]
    others = [f".other.trec.tmp-{process.pid}-1", f".run.trec.tmp-{os.getpid()}-1"]
    for name in (*mine, *others):
        (tmp_path / name).write_bytes(b"")
        os.utime(tmp_path / name, (1, 1))
    stage = Stage(tmp_path / "run.trec", "file", "search")
    with stage.write(text=True) as file:
        file.write("x\n")
    stage.commit()
    assert not any((tmp_path / name).exists() for name in mine)
    assert all((tmp_path / name).exists() for name in others)
