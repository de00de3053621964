"""The words that Slurm reads."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.errors import DretrieveError
from dretrieve.jobs import slurm


@pytest.mark.parametrize(
    ("numbers", "at_once", "spelled"),
    [
        ([0, 1, 2, 3], None, "0-3"),
        ([7, 1, 2], None, "1-2,7"),
        ([5], 2, "5%2"),
        ([], None, ""),
        ([0, 2, 4], 1, "0,2,4%1"),
    ],
)
def test_task_numbers(numbers, at_once, spelled):
    assert slurm.task_numbers(numbers, at_once) == spelled


@given(st.sets(st.integers(0, 60)))
def test_task_numbers_read_back(numbers):
    spelled = slurm.task_numbers(sorted(numbers), None)
    parts = [part.split("-") for part in spelled.split(",")] if spelled else []
    assert {number for part in parts for number in range(int(part[0]), int(part[-1]) + 1)} == numbers


def test_a_single_jobs_script_is_no_array():
    text = slurm.Script(
        name="dretrieve-merge",
        command=("python", "-m", "dretrieve_cli", "merge", "--output", "a b"),
        folder=Path("/x"),
        log=Path("/x/%j.log"),
        environment={"PYTHONPATH": "/c d"},
        resources=slurm.Resources(),
    ).text()
    assert text.startswith("#!/bin/bash\n#SBATCH --job-name=dretrieve-merge\n")
    assert "--array" not in text
    assert "--signal=B:USR1@90" in text
    assert "export PYTHONPATH='/c d'\nexec python -m dretrieve_cli merge --output 'a b'\n" in text


def test_jobs_that_slurm_has_forgotten_hold_no_tasks(tmp_path, monkeypatch):
    fake = tmp_path / "squeue"
    fake.write_text("#!/bin/sh\necho 'slurm_load_jobs error: Invalid job id specified' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    assert slurm.queued_tasks(["1"]) == set()
    fake.write_text("#!/bin/sh\nprintf '3\\n4\\n'\n")
    assert slurm.queued_tasks(["1"]) == {3, 4}
    assert slurm.queued_tasks([]) == set()
    fake.write_text("#!/bin/sh\necho 'no controller' >&2\nexit 1\n")
    with pytest.raises(DretrieveError, match="squeue fails: no controller"):
        slurm.queued_tasks(["1"])


def test_without_slurm_nothing_is_queued(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert slurm.queued_tasks(["1"]) == set()


def test_a_word_with_the_shard_in_it(tmp_path):
    script = slurm.Script(
        name="x",
        command=("echo", "a b/run.{shard}.trec", "{shard}", "it's", ""),
        folder=tmp_path,
        log=tmp_path / "%A.log",
        environment={},
        resources=slurm.Resources(),
        array="0-15",
        shards=16,
    )
    environment = {"SLURM_ARRAY_TASK_ID": "3", "PATH": "/bin:/usr/bin"}
    done = subprocess.run(
        ["bash", "-c", script.text()], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "a b/run.shard-00003-of-00016.trec shard-00003-of-00016 it's \n"
