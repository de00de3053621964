"""``dretrieve array``: the stage's words are checked before anything is written, and reach it unchanged."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from dretrieve.jobs.configs.base import Sharded, Writing
from dretrieve.models.plain import read_plain
from dretrieve.options import REQUIRED, option
from dretrieve.types import Vectors, offsets_of
from dretrieve_cli import array as command
from dretrieve_cli.command import THREAD_VARIABLES
from tests.common import bytes_of


@dataclass(frozen=True, kw_only=True)
class ToyConfig(Writing, Sharded):
    """A stage that can be cut."""

    rows: int = option(REQUIRED, "Rows.")
    query_prefix: str = option("")


@dataclass(frozen=True, kw_only=True)
class WholeConfig(Writing):
    """A stage that cannot be cut."""


@dataclass(frozen=True, kw_only=True)
class SilentConfig(Sharded):
    """A stage without output."""


@pytest.fixture(autouse=True)
def stages(new_command):
    for kind in (ToyConfig, WholeConfig, SilentConfig):
        new_command(kind)


def test_words_of_the_stage_reach_the_plan_and_the_script(cli_here, tmp_path):
    out = tmp_path / "out"
    words = ["--rows", "5", "--query_prefix", "a b", "--output", out, "--force"]
    state = cli_here("array", "toy", *words, "--shards", "2", "--json").json()
    assert state["plan"] == f"{out}.array"
    assert state["missing"] == [0, 1]
    plan = json.loads((Path(state["plan"]) / "plan.json").read_text())
    dashed = [str(word).replace("_", "-") if str(word).startswith("--") else str(word) for word in words]
    assert plan["command"] == ["toy", *dashed, "--shard", "array/2"]
    script = Path(state["script"]).read_text()
    assert (
        f"exec {sys.executable} -m dretrieve_cli toy --rows 5 --query-prefix 'a b' --output {out}" in script
    )


def test_tasks_do_not_take_the_threads_of_the_machine_that_submits(cli_here, tmp_path, monkeypatch):
    """Slurm gives a task the environment of ``sbatch``; how many threads it has is for its own allotment."""
    ours = {*THREAD_VARIABLES, "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}
    for name in ours:
        monkeypatch.delenv(name, raising=False)
    fake = tmp_path / "bin" / "sbatch"
    fake.parent.mkdir()
    fake.write_text(f"#!/bin/sh\nenv >'{tmp_path / 'env'}'\necho 7\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{fake.parent}:{os.environ['PATH']}")
    cli_here("array", "toy", "--rows", "5", "--output", tmp_path / "out", "--shards", "2", "--submit")
    given = {line.partition("=")[0] for line in (tmp_path / "env").read_text().splitlines()}
    assert "PATH" in given
    assert not given & ours


def test_own_words_may_stand_anywhere(cli_here, tmp_path):
    out = tmp_path / "out"
    text = cli_here(
        "array", "--shards", "3", "toy", "--rows", "5", "--time", "1:00:00", "--output", out, "--dry-run"
    ).out
    assert "#SBATCH --array=0-2" in text
    assert "#SBATCH --time=1:00:00" in text
    assert not Path(f"{out}.array").exists()


def test_the_plan_folder_can_be_chosen(cli_here, tmp_path):
    words = ("--rows", "5", "--output", tmp_path / "out", "--plan", tmp_path / "p")
    cli_here("array", "toy", *words, "--shards", "2")
    assert (tmp_path / "p" / "plan.json").is_file()


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nothing"], "there is no command 'nothing'"),
        (["array"], "array cannot run array"),
        (["whole", "--output", "x"], "whole has no --shard, so it cannot run as an array"),
        (
            ["search", "--index", "i", "--query-embeddings", "q", "--output", "run.trec"],
            "each shard of search has an output of its own: put {shard} into --output, as in run.{shard}",
        ),
        (
            ["index", "--embeddings", "e", "--type", "token", "--output", "parts"],
            "into --output, as in part.{shard}, and join them with --then 'merge {outputs} --output INDEX'",
        ),
        (["silent"], "array needs a stage with --output; silent has none"),
        (["toy", "--output", "x"], "Missing option '--rows'"),
        (["toy", "--output", "x", "--rows", "five"], "--rows"),
        (["toy", "--output", "x", "--rows", "5", "--shard", "0/2"], "array writes --shard itself"),
        (
            ["toy", "--output", "x", "--rows", "5", "--row", "5"],
            "there is no option --row; did you mean --rows?",
        ),
        (["toy", "--output", "x", "--rows", "5", "--then", "whole --outpt y"], "no option --outpt"),
    ],
)
def test_mistakes_are_found_before_anything_is_written(words, sentence, cli_here, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert sentence in cli_here("array", *words, "--shards", "2", code=2).err
    assert list(tmp_path.iterdir()) == []


def test_tasks_of_a_checkout_find_it(root, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", "relative:/absolute")
    path = command.python_path()["PYTHONPATH"].split(":")
    assert path[:2] == [str(root), str(root / "cli")]
    assert path[2:] == [str(Path.cwd() / "relative"), "/absolute"]


def test_tasks_make_the_parts_of_a_token_index_that_merge_joins(cli_here, write_embeddings, tmp_path):
    chance = np.random.default_rng(0)
    lengths = chance.integers(0, 6, 2500)
    vectors = Vectors(chance.standard_normal((lengths.sum(), 8)).astype(np.float16), offsets_of(lengths))
    folder = write_embeddings("emb", [f"p{row}" for row in range(2500)], vectors, score="maxsim_sum")
    source, centroids = ["--embeddings", folder, "--type", "token", "--output"], tmp_path / "centroids"
    cli_here("index", *source, tmp_path / "whole")
    cli_here("index", *source, centroids, "--set", "only=centroids")

    words = [*source, tmp_path / "part.{shard}", "--set", f"centroids={centroids}", "--shards", 3, "--json"]
    words += ["--then", f"merge {{outputs}} --output {tmp_path / 'joined'}"]
    plan = Path(cli_here("array", "index", *words).json()["plan"])

    def run(script: str, task: int = 0) -> None:
        given = os.environ | {"SLURM_ARRAY_TASK_ID": str(task)}
        subprocess.run(["bash", str(plan / script)], env=given, check=True, capture_output=True, timeout=300)

    run("array.sh", 1)
    state = cli_here("array", "index", *words).json()
    assert (state["finished"], state["missing"]) == ([1], [0, 2])
    for task in (2, 0):
        run("array.sh", task)
    assert cli_here("array", "index", *words).json()["missing"] == []
    run("then-0.sh")
    assert bytes_of(tmp_path / "whole") == bytes_of(tmp_path / "joined")


def test_shards_of_a_model_that_was_trained_again_are_missing(
    cli_here, tiny_model, tiny_collection, tmp_path, monkeypatch
):
    model, emb = tmp_path / "model", tmp_path / "emb"
    shutil.copytree(tiny_model, model)
    compute = ["--device", "cpu", "--precision", "fp32", "--output"]
    encode = ["encode", "--model", model, "--corpus", tiny_collection, *compute, emb]
    search = ["search", "--index", emb, "--model", model, "--queries", f"{tiny_collection}:test", *compute]
    for words in (encode, [*search, tmp_path / "run.shard-0000{}-of-00002"]):
        for index in range(2):
            cli_here(*(str(word).format(index) for word in words), "--shard", f"{index}/2")
    card = read_plain(model).card
    parts = [*search, tmp_path / "run.{shard}"]

    def missing(words, **sides):
        replace(card, **sides).save(model)
        return cli_here("array", *words, "--shards", 2, "--json").json()["missing"]

    monkeypatch.setenv("DRETRIEVE_STALE", "replace")
    assert missing(encode) == missing(parts) == []
    query = replace(card.query, template="query: {text}")
    assert missing(encode, query=query) == []
    assert missing(parts, query=query) == [0, 1]
    assert missing(encode, passage=replace(card.passage, max_tokens=7)) == [0, 1]
    monkeypatch.delenv("DRETRIEVE_STALE")
    assert "would make it (input passage_model);" in cli_here("array", *encode, "--shards", 2, code=5).err


def test_parts_of_a_search_in_vectors_that_were_made_again_are_missing(
    cli_here, write_embeddings, tmp_path, monkeypatch
):
    ids, ones = [f"p{row}" for row in range(2500)], np.ones((2500, 2))
    asked = write_embeddings("asked", ["q"], ones[:1], side="query")
    words = ["search", "--index", write_embeddings("emb", ids, ones), "--query-embeddings", asked, "--output"]
    for index in range(2):
        cli_here(*words, tmp_path / f"run.shard-0000{index}-of-00002", "--shard", f"{index}/2")
    array = ["array", *words, tmp_path / "run.{shard}", "--shards", 2, "--json"]
    assert cli_here(*array).json()["missing"] == []
    monkeypatch.setenv("DRETRIEVE_STALE", "replace")
    write_embeddings("emb", ids, ones, model="trained again")
    assert cli_here(*array).json()["missing"] == [0, 1]
    assert cli_here(*array, "--hits", 5, "--replan").json()["missing"] == [0, 1]


def test_parts_of_a_fusion_with_another_weight_are_missing(cli_here, tmp_path, monkeypatch):
    for name in ("dense", "words"):
        (tmp_path / name).write_text("q Q0 p 1 1.5 t\n")
    words = ["fuse-bm25", "--run", tmp_path / "dense", "--bm25-run", tmp_path / "words"]
    words += ["--output", tmp_path / "fused", "--alpha"]
    for index in range(2):
        cli_here(*words, 1, "--shard", f"{index}/2")
    array = ["array", *words, "{}", "--shards", 2, "--replan", "--json"]
    assert cli_here(*(str(word).format(1) for word in array)).json()["missing"] == []
    other = [str(word).format(2) for word in array]
    assert "part" in cli_here(*other, code=5).err
    monkeypatch.setenv("DRETRIEVE_STALE", "replace")
    assert cli_here(*other).json()["missing"] == [0, 1]
