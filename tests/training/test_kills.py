"""Training killed ten times at random moments, each time started again with the same command."""

from __future__ import annotations

import os
import random

import pytest

from tests.common import killed_and_resumed, steps_done


@pytest.mark.slow
def test_ten_kills_give_the_unbroken_bits(root, tiny_collection, tiny_model, tmp_path):
    def words(output):
        return [
            "train", "shared", "--backbone", tiny_model, "--data", f"{tiny_collection}:train", "--dev",
            f"{tiny_collection}:dev", "--output", output, "--pooling", "mean", "--batch-size", 3,
            "--max-steps", 400, "--save-steps", 5, "--eval-steps", 50, "--logging-steps", 7,
            "--device", "cpu", "--precision", "fp32",
        ]  # fmt: skip

    environment = os.environ | {"PYTHONPATH": f"{root}:{root / 'cli'}", "OMP_NUM_THREADS": "1"}
    draw = random.Random(11)
    goals = (min(390, steps_done(tmp_path / "broken") + draw.randint(1, 60)) for _ in range(10))
    unbroken, broken = killed_and_resumed(words, tmp_path, environment, goals)
    for name in ("model.safetensors", "curves.json", "manifest.json"):
        assert (unbroken / name).read_bytes() == (broken / name).read_bytes(), name
