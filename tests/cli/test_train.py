from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from dretrieve.models.registry import METHODS, spelled


@pytest.mark.parametrize("method", METHODS)
def test_help_of_a_method_holds_its_own_options_and_loads_nothing_heavy(root, method):
    code = (
        f"import sys; from dretrieve_cli.app import main; main(['train', {method!r}, '--help']); "
        "print([n for n in ('torch', 'numpy', 'transformers', 'numba', 'faiss') if n in sys.modules])"
    )
    environment = {"PYTHONPATH": f"{root}:{root / 'cli'}", "COLUMNS": "100"}
    out = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment
    ).stdout
    assert out.strip().endswith("[]")
    for flag in ("--temperature", "--per-device-train-batch-size, --batch-size", "--grad-cache"):
        assert flag in out
    assert ("--lora-r" in out) == (method == "shared")
    assert f"Method {spelled(method)}:" in out


def test_help_without_a_method_lists_them(cli_here):
    out = cli_here("train", "--help").out
    assert "shared (one encoder for queries and passages)" in out
    assert "--learning-rate" in out


@pytest.mark.parametrize("method", METHODS)
def test_the_help_of_each_method_shows_how_to_train_it(cli_here, method):
    """And the options in the example are options of the method."""
    out = cli_here("train", method, "--help").out
    example = next(
        line for line in out.splitlines() if f"dretrieve train {spelled(method)} --backbone" in line
    )
    options = [word for word in example.split() if word.startswith("--")]
    assert len(options) > 3
    below = out.split("Options", 1)[1] + out.split("Arguments", 1)[-1]
    assert all(option in below for option in options)
    assert f"-m dretrieve_cli train {method} " in out


def test_an_unknown_method(cli_here):
    assert "there is no method 'bm25'; there are shared, dpr" in cli_here("train", "bm25", code=2).err


def test_an_unknown_option_of_the_method(cli_here):
    assert "--lora" in cli_here("train", "dpr", "--lora", code=2).err


def words(tiny_collection, tiny_model, tmp_path):
    return [
        "train", "shared", "--backbone", tiny_model, "--data", f"{tiny_collection}:train",
        "--output", tmp_path / "model", "--pooling", "mean", "--batch_size", "3", "--max-steps", "4",
        "--logging-steps", "2", "--device", "cpu",
    ]  # fmt: skip


def test_train_from_the_command_line(cli_here, tiny_collection, tiny_model, tmp_path):
    done = cli_here(*words(tiny_collection, tiny_model, tmp_path), "--json")
    result = json.loads(done.out)
    assert result["steps"] == 4
    assert [point["step"] for point in result["curve"]] == [2, 4]
    card = json.loads((tmp_path / "model" / "card.json").read_text())
    assert card["method_config"]["pooling"] == "mean"
    again = cli_here(*words(tiny_collection, tiny_model, tmp_path))
    assert again.out.startswith("up to date")


def test_max_minutes_ends_with_75_and_says_how_to_go_on(cli_here, tiny_collection, tiny_model, tmp_path):
    line = words(tiny_collection, tiny_model, tmp_path)
    stopped = cli_here(*line, "--max-minutes", "1e-9", "--quiet", code=75)
    assert stopped.err == (
        "dretrieve: the minutes of --max-minutes are over, after step 1 of 4; "
        "run the same command again to continue\n"
    )
    assert json.loads(cli_here(*line, "--json").out)["steps"] == 4


@pytest.mark.slow
def test_two_processes_train_the_model_of_one(root, tiny_collection, tiny_model, tmp_path):
    """torchrun with 2 x 2 queries and without dropout gives the weights of 1 x 4, to rounding."""
    from safetensors.torch import load_file
    from torch import allclose
    from transformers import AutoModel

    still = tmp_path / "still"
    plain = AutoModel.from_pretrained(tiny_model)
    plain.config.hidden_dropout_prob = plain.config.attention_probs_dropout_prob = 0.0
    plain.save_pretrained(still)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (still / name).write_bytes((tiny_model / name).read_bytes())
    weights = []
    for count, batch in ((1, 4), (2, 2)):
        output = tmp_path / f"model{count}"
        line = [
            "train", "shared", "--backbone", still, "--data", f"{tiny_collection}:train", "--output", output,
            "--pooling", "mean", "--batch-size", batch, "--max-steps", 3, "--device", "cpu", "--quiet",
        ]  # fmt: skip
        launch = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={count}", "--standalone"]
        done = subprocess.run(
            [*launch, "-m", "dretrieve_cli", *map(str, line), "--json"],
            check=True,
            stdout=subprocess.PIPE,
            cwd=tmp_path,
            env={
                **os.environ,
                "PYTHONPATH": f"{root}:{root / 'cli'}",
                "OMP_NUM_THREADS": "1",
            },
            timeout=300,
        )
        assert json.loads(done.stdout)["steps"] == 3  # printed once
        weights.append(load_file(output / "model.safetensors"))
    one, two = weights
    assert all(allclose(one[name], two[name], atol=2e-5) for name in one)


@pytest.mark.slow
@pytest.mark.parametrize("mistaken", [0, 1])
def test_a_mistake_ends_every_process_with_a_sentence(cli, tiny_model, tiny_collection, tmp_path, mistaken):
    """Also one that a single process meets: a machine that lacks a file."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = str(one.getsockname()[1])
    group = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}

    def run(rank):
        data = tmp_path / "nowhere" if rank == mistaken else f"{tiny_collection}:train"
        line = ["train", "shared", "--backbone", tiny_model, "--data", data, "--device", "cpu"]
        own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "OMP_NUM_THREADS": "1"}
        return cli(*line, "--output", tmp_path / "model", "--quiet", code=None, env=group | own)

    with ThreadPoolExecutor() as pool:
        ended = list(pool.map(run, (0, 1)))
    wrong, other = ended[mistaken], ended[1 - mistaken]
    assert (wrong.code, other.code) == (3, 1)
    assert "nowhere' does not exist" in wrong.err
    assert other.err.startswith("dretrieve: another process of this training has ended; ")
    assert other.err.count("\n") == 1


def test_a_phase_takes_options_of_its_own(cli_here, tiny_collection, tiny_model, tmp_path):
    line = words(tiny_collection, tiny_model, tmp_path)
    own = ["--phase", "name=train,max-steps=7,learning_rate=1e-3"]
    found = json.loads(cli_here(*line, *own, "--dry-run", "--json").out)
    assert found["estimate"]["steps"] == 7
