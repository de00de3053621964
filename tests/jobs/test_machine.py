"""What is seen of a machine, on made-up machines."""

from __future__ import annotations

import pytest

from dretrieve.jobs import machine


def program(folder, name: str, text: str) -> None:
    path = folder / name
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def alone(tmp_path, monkeypatch):
    """A PATH with nothing but what the test puts there; no Java of pip's."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    monkeypatch.setattr(
        machine.shutil, "which", lambda name: str(tmp_path / name) if (tmp_path / name).exists() else None
    )
    monkeypatch.setattr(machine, "find_spec", lambda name: None)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    return tmp_path


def test_java(alone):
    assert machine.look_at_java()[0].found == "none"
    program(alone, "java", """echo 'openjdk version "17.0.1" 2021' >&2""")
    old = machine.look_at_java()[0]
    assert (old.state, old.cure) == ("absent", 'pip install "dretrieve[lucene]"')
    program(alone, "java", """echo 'openjdk version "21.0.8" 2025' >&2""")
    assert machine.look_at_java()[0].state == "ok"


def test_slurm(alone):
    assert machine.look_at_slurm()[0].found == "no sbatch"
    program(alone, "sbatch", "exit 1")
    program(alone, "sinfo", "exit 1")
    assert machine.look_at_slurm()[0].found == "sbatch is here, but no cluster answers"
    program(alone, "sinfo", "echo slurm 22.05.8")
    assert machine.look_at_slurm()[0].found == "slurm 22.05.8"


def test_nothing_is_said_of_torch_where_it_is_missing(alone):
    assert machine.look_at_torch() == []


def test_an_old_python(monkeypatch):
    monkeypatch.setattr(machine, "MINIMUM_PYTHON", (99, 1))
    finding = machine.look_at_python()[0]
    assert (finding.state, finding.cure) == ("missing", "install Python 99.1 or later")


def test_little_memory_and_disk_are_worth_a_note(monkeypatch, tmp_path):
    assert machine.look_at_memory()[0].state == "ok"
    monkeypatch.setattr(machine, "MINIMUM_MEMORY_GIB", 1e9)
    monkeypatch.setattr(machine, "MINIMUM_DISK_GIB", 1e9)
    assert "use more shards" in machine.look_at_memory()[0].cure
    assert machine.look_at_disk(tmp_path)[0].state == "note"


def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path):
    monkeypatch.setenv("DRETRIEVE_CACHE", str(tmp_path / "cache"))
    assert machine.look_at_disk(tmp_path)[1].state == "ok"
    monkeypatch.setattr(machine.os, "access", lambda path, mode: False)
    assert "set DRETRIEVE_CACHE" in machine.look_at_disk(tmp_path)[1].cure


def test_threads_and_their_source(monkeypatch):
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", "3")
    assert "SLURM_CPUS_PER_TASK=3" in machine.look_at_threads()[0].found


def test_processor():
    names = [finding.name for finding in machine.look_at_torch()]
    assert names[:2] == ["processor", "bf16"]
    assert names[2].startswith("gpu")
