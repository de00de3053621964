"""NFCorpus in four shards, as commands and as a real Slurm array with a killed task: the same bytes.

By one layer of MiniLM: how good its vectors are, `test_minilm_board` says of all six.
"""

from __future__ import annotations

import subprocess
import time

import pytest

SHARDS = 4

pytestmark = [pytest.mark.realdata, pytest.mark.slow]


def wait_for(condition, seconds: float = 1200) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.2)


def state_of(job: str, task: int) -> str:
    words = ["squeue", "--noheader", "--array", f"--jobs={job}", "--format=%K %t"]
    lines = subprocess.run(words, capture_output=True, text=True, check=False).stdout.splitlines()
    return dict(line.split() for line in lines).get(str(task), "gone")


def shard_bytes(folder) -> dict[str, bytes]:
    names = ("vectors.npy", "ids.txt", "manifest.json")
    return {path.name: path.read_bytes() for name in names for path in sorted(folder.glob(f"shard-*.{name}"))}


def test_one_process_four_commands_and_a_slurm_array_agree(slurm, data_dir, cli, tmp_path):
    model = tmp_path / "model"
    cli("convert", "minilm", "--layers", "0", "--output", model)
    source = ["--model", model, "--corpus", data_dir / "nfcorpus"]
    whole, commands, array = (tmp_path / name for name in ("whole", "commands", "array"))
    cli("encode", *source, "--output", whole)
    for index in range(SHARDS):
        cli("encode", *source, "--output", commands, "--shard", f"{index}/{SHARDS}")

    words = ["array", "encode", *source, "--output", array, "--shards", SHARDS, "--cpus", 1, "--json"]
    job = cli(*words, "--submit").json()["submitted"]["array"]
    wait_for(lambda: state_of(job, 2) == "R")
    time.sleep(1)  # the process is loading its libraries
    subprocess.run(["scancel", "--signal=KILL", "--full", f"{job}_2"], check=True)
    wait_for(lambda: all(state_of(job, task) == "gone" for task in range(SHARDS)))
    assert cli(*words).json()["missing"] == [2]
    again = cli(*words, "--requeue").json()
    assert again["finished"] == [0, 1, 3]
    wait_for(lambda: state_of(again["submitted"]["array"], 2) == "gone")
    assert cli(*words).json()["finished"] == [0, 1, 2, 3]
    assert shard_bytes(array) == shard_bytes(commands)

    runs = []
    for folder in (whole, array):
        run = tmp_path / f"{folder.name}.trec"
        queries = ["--queries", f"{data_dir / 'nfcorpus'}:test", "--model", model]
        cli("search", "--index", folder, *queries, "--hits", "100", "--output", run)
        runs.append(run)
    assert runs[0].read_bytes() == runs[1].read_bytes()
