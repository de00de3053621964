"""What killed processes left is found, and nothing else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from dretrieve.store import leftovers
from dretrieve.store.atomic import folder_beside, replacing, scratch_file
from dretrieve.store.leftovers import is_gone, remove_leftovers, this_process
from dretrieve.store.stage import Stage

NAMED = "from dretrieve.store.leftovers import this_process; print(this_process())"


@pytest.fixture(scope="module")
def dead() -> str:
    """A process of this host that has ended."""
    return subprocess.check_output([sys.executable, "-c", NAMED], text=True).strip()


def left(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_a_process_is_known_by_host_number_and_start(dead: str) -> None:
    host, number, start = this_process().split("-")
    assert is_gone(dead)
    assert not is_gone(this_process())
    assert is_gone(f"{host}-{number}-{int(start) - 1}"), "the number was given to another process"
    assert not is_gone(f"00000000-{number}-1"), "of another host nobody knows"
    assert not is_gone("")


def test_a_process_that_its_parent_did_not_wait_for_is_gone() -> None:
    with subprocess.Popen([sys.executable, "-c", NAMED], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        name = process.stdout.read().strip()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert is_gone(name)


def test_a_process_that_proc_hides_is_asked_for_by_its_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """On machines of many users /proc shows each of them their own processes alone."""
    mine, larger_than_any = this_process(), 1 << 22
    monkeypatch.setattr(leftovers, "_started", lambda process: None)
    assert not is_gone(mine)
    assert is_gone(f"{mine.partition('-')[0]}-{larger_than_any}-1")


def test_of_this_host_at_once_of_others_after_a_time(tmp_path: Path, dead: str) -> None:
    kept = {f".b.tmp-{this_process()}-00a1", ".c.tmp-00000000-1-1-00a1", "d", ".tmp-x"}
    for name in (*kept, f".a.tmp-{dead}-00a1"):
        (tmp_path / name).write_bytes(b"")
    for name in (".theirs.tmp-old", ".vim.tmp-1-2", "tmp-1-0000abcd"):
        kept.add(name)
        (tmp_path / name).write_bytes(b"another program's")
        os.utime(tmp_path / name, (1, 1))
    earlier = tmp_path / ".f.tmp-1-0123abcd"
    earlier.write_bytes(b"as releases before named them")
    os.utime(earlier, (1, 1))
    old = tmp_path / ".e.tmp-00000000-1-1-00a2"
    old.mkdir()
    (old / "texts.bin").write_bytes(b"")
    for path in (old / "texts.bin", old):
        os.utime(path, (1, 1))
    remove_leftovers(tmp_path)
    assert left(tmp_path) == kept
    assert leftovers.QUIET_SECONDS >= 60


def test_only_the_named_and_below_only_if_asked(tmp_path: Path, dead: str) -> None:
    (tmp_path / "query").mkdir()
    names = {f".run.tmp-{dead}-00a1", f".other.tmp-{dead}-00a1", f"query/.x.tmp-{dead}-00a1"}
    for name in names:
        (tmp_path / name).write_bytes(b"")
    remove_leftovers(tmp_path, ["run"])
    assert left(tmp_path) == {"query", f".other.tmp-{dead}-00a1", f"query/.x.tmp-{dead}-00a1"}
    remove_leftovers(tmp_path)
    assert left(tmp_path) == {"query", f"query/.x.tmp-{dead}-00a1"}
    remove_leftovers(tmp_path, deep=True)
    assert left(tmp_path) == {"query"}
    remove_leftovers(tmp_path / "none", deep=True)


def test_the_next_write_of_a_file_removes_what_the_last_left(tmp_path: Path, dead: str) -> None:
    (tmp_path / f".a.tmp-{dead}-00a1").write_bytes(b"half")
    with replacing(tmp_path / "a", text=True) as file:
        file.write("whole")
    assert left(tmp_path) == {"a"}


def test_scratch_has_no_name_or_goes(tmp_path: Path, dead: str) -> None:
    (tmp_path / f".scratch.tmp-{dead}-00a1").write_bytes(b"half")
    with scratch_file(tmp_path) as file:
        assert not left(tmp_path)
        file.write(b"x")
    (tmp_path / f".dretrieve.tmp-{dead}-00a1").mkdir()
    with folder_beside(tmp_path / "dretrieve") as folder:
        (folder / "x").write_bytes(b"x")
        assert len(left(tmp_path)) == 2
    assert not left(tmp_path)


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_an_up_to_date_stage_too_removes_what_killed_calls_left(tmp_path: Path, dead: str, kind: str) -> None:
    output = tmp_path / "out"
    stage = Stage(output, kind, "search")  # type: ignore[arg-type]  # parametrized
    with stage.write("a/b" if kind == "folder" else None, text=True) as file:
        file.write("x\n")
    stage.commit()
    whole = left(tmp_path)
    target = output / "a" / "b" if kind == "folder" else output
    for path in (target, stage.manifest_file, stage.manifest_file.with_name("other")):
        path.with_name(f".{path.name}.tmp-{dead}-00a1").write_bytes(b"")
    state = stage.manifest_file.with_name(stage.manifest_file.name.replace("manifest", "state"))
    state.write_text('{"state": "running"}')
    assert stage.up_to_date(look=True)
    assert len(left(tmp_path)) == len(whole) + 4, "a dry run changes nothing"
    assert stage.up_to_date()
    others = {f".other.tmp-{dead}-00a1"} if kind == "file" else set()
    assert left(tmp_path) == whole | others
