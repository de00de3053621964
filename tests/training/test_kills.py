"""Training killed ten times at random moments, each time started again with the same command."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time

import pytest


def start(root, words):
    environment = os.environ | {"PYTHONPATH": f"{root}:{root / 'cli'}", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "dretrieve_cli", *map(str, words)]
    return subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def steps_done(output):
    """Return how far the newest checkpoint is."""
    names = [path.name for path in (output / "checkpoints").glob("step-*")]
    return max((int(name.rpartition("-")[2]) for name in names), default=0)


@pytest.mark.slow
def test_ten_kills_give_the_unbroken_bits(root, tiny_collection, tiny_model, tmp_path):
    def words(output):
        return [
            "train", "shared", "--backbone", tiny_model, "--data", f"{tiny_collection}:train", "--dev",
            f"{tiny_collection}:dev", "--output", output, "--pooling", "mean", "--batch-size", 3,
            "--max-steps", 400, "--save-steps", 5, "--eval-steps", 50, "--logging-steps", 7,
            "--device", "cpu", "--precision", "fp32",
        ]  # fmt: skip

    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    process = start(root, words(unbroken))
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    draw = random.Random(11)
    for kill in range(10):
        process = start(root, words(broken))
        goal = min(390, steps_done(broken) + draw.randint(1, 60))
        end = time.monotonic() + 300
        while steps_done(broken) < goal and process.poll() is None and time.monotonic() < end:
            time.sleep(draw.uniform(0.001, 0.02))
        assert process.poll() is None, f"finished before kill {kill}"
        process.kill()
        process.communicate()
    process = start(root, words(broken))
    _, said = process.communicate(timeout=600)
    assert process.returncode == 0, said
    assert "resuming after step" in said
    for name in ("model.safetensors", "curves.json", "manifest.json"):
        one, other = ((folder / name).read_bytes() for folder in (unbroken, broken))
        assert one == other, name
