"""The words that Slurm reads."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.errors import DretrieveError, UsageError
from dretrieve.jobs import slurm
from dretrieve.jobs.configs.array import Resources


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
        resources=Resources(),
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
    assert slurm.queued_tasks(["1"]) == {}
    fake.write_text("#!/bin/sh\nprintf '1_3\\n1_4\\n'\n")
    assert slurm.queued_tasks(["1"]) == {3: "1_3", 4: "1_4"}
    assert slurm.queued_tasks([]) == {}
    fake.write_text("#!/bin/sh\necho 'no controller' >&2\nexit 1\n")
    with pytest.raises(DretrieveError, match="squeue fails: no controller"):
        slurm.queued_tasks(["1"])


def test_without_slurm_nothing_is_queued(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert slurm.queued_tasks(["1"]) == {}


def test_a_word_with_the_shard_in_it(tmp_path):
    script = slurm.Script(
        name="x",
        command=("echo", "a b/run.{shard}.trec", "{shard}", "it's", ""),
        folder=tmp_path,
        log=tmp_path / "%A.log",
        environment={},
        resources=Resources(),
        array="0-15",
        shards=16,
    )
    environment = {"SLURM_ARRAY_TASK_ID": "3", "PATH": "/bin:/usr/bin"}
    done = subprocess.run(
        ["bash", "-c", script.text()], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == "a b/run.shard-00003-of-00016.trec shard-00003-of-00016 it's \n"


def words_of_slurm(line: str) -> list[str]:
    """Cut a line as sbatch does: quotes of both kinds, a backslash keeps the next letter, # ends the line."""
    words, word, quote, at = [], None, "", 0
    while at < len(line):
        letter = line[at]
        if not quote and letter.isspace():
            words, word = ([*words, word] if word is not None else words), None
        elif letter == "\\":
            at += 1
            if not quote and line[at].isspace():
                words, word = [*words, word or ""], None
            else:
                word = (word or "") + line[at]
        elif quote and letter == quote:
            quote = ""
        elif not quote and letter in "\"'":
            quote, word = letter, word or ""
        elif not quote and letter == "#":
            break
        else:
            word = (word or "") + letter
        at += 1
    assert not quote
    return words if word is None else [*words, word]


HARD = st.text(st.sampled_from("ab \"'\\#$`;&|<>(){}!~%*é=:,"), min_size=1, max_size=12)


@given(HARD, HARD, HARD)
def test_the_scripts_options_are_the_words_that_were_given(place, partition, time):
    script = slurm.Script(
        name="dretrieve-encode",
        command=("echo", place, partition),
        folder=Path("/w") / place.replace("/", "_"),
        log=Path("/logs") / place.replace("/", "_") / "%A_%a.log",
        environment={"PYTHONPATH": time},
        resources=Resources(partition=partition, time=time, more=(shlex.join([f"--comment={place}"]),)),
        array="0-3",
        note="by hand: bash " + shlex.quote(place),
    )
    text = script.text()
    lines = [line.removeprefix("#SBATCH ") for line in text.splitlines() if line.startswith("#SBATCH")]
    wanted = [
        "--job-name=dretrieve-encode",
        f"--output={script.log}",
        "--signal=B:USR1@90",
        "--array=0-3",
        f"--time={time}",
        f"--partition={partition}",
        f"--comment={place}",
    ]
    assert [words_of_slurm(line) for line in lines] == [[word] for word in wanted]
    assert [shlex.split(line) for line in lines] == [[word] for word in wanted]
    assert shlex.split(text.splitlines()[-1]) == ["exec", "echo", place, partition]
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)


@pytest.mark.parametrize("name", ["time", "partition", "account", "memory"])
@pytest.mark.parametrize("bad", ["1\n#SBATCH --wrap=x", "1\rx", "1\x00", "1\u2028x"])
def test_a_line_break_in_an_option_is_refused(name, bad):
    script = slurm.Script(
        name="n",
        command=("x",),
        folder=Path(),
        log=Path("l"),
        environment={},
        resources=Resources(**{name: bad}),
    )
    with pytest.raises(UsageError, match="line break or a control character"):
        script.text()


def test_further_options_are_words_as_a_shell_reads_them():
    options = Resources(more=("--exclude=n1 --mail-type=END", "--comment='a b'")).options()
    assert options == ["--exclude=n1", "--mail-type=END", "--comment=a b"]
    with pytest.raises(UsageError, match="No closing quotation"):
        Resources(more=("--comment='a b",)).options()


def test_the_largest_array_of_the_cluster(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert slurm.most_tasks() is None
    fake = tmp_path / "scontrol"
    fake.write_text("#!/bin/sh\necho 'MaxArraySize            = 1001'\n")
    fake.chmod(0o755)
    assert slurm.most_tasks() == 1001
