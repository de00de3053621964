"""SIGKILL in the middle of `dretrieve train`, ten times at random: then the weights of an unbroken run."""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

KILLS, STEPS = 10, 1500


def newest(folder: Path) -> int:
    """Return the step of the newest whole checkpoint; 0 before the first."""
    steps = [re.search(r"(\d+)$", path.name) for path in folder.glob("[!.]*")] if folder.is_dir() else []
    return max((int(found.group(1)) for found in steps if found), default=0)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["shared", "dpr"])
def test_killed_ten_times_at_random(
    method: str, tiny_model: Path, tiny_collection: Path, tmp_path: Path, root: Path
) -> None:
    def words(output: Path) -> list[str]:
        command = [sys.executable, "-m", "dretrieve_cli", "train", method, "--backbone", str(tiny_model)]
        rhythm = ["--max-steps", str(STEPS), "--save-steps", "20", "--batch-size", "3", "--pooling", "mean"]
        kind = ["--device", "cpu", "--precision", "fp32", "--learning-rate", "1e-4", "--quiet"]
        return [*command, "--data", f"{tiny_collection}:train", "--output", str(output), *rhythm, *kind]

    around = os.environ | {"PYTHONPATH": f"{root}:{root / 'cli'}", "OMP_NUM_THREADS": "1"}
    subprocess.run(words(tmp_path / "whole"), check=True, env=around, timeout=600)
    chance, reached = random.Random(11), [0]
    for _ in range(KILLS):
        process = subprocess.Popen(words(tmp_path / "broken"), env=around)
        end = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < end:
            if newest(tmp_path / "broken" / "checkpoints") > reached[-1]:
                break
            time.sleep(0.005)
        time.sleep(chance.uniform(0, 0.3))
        assert process.poll() is None, "training ended before the tenth kill; raise STEPS"
        process.kill()
        process.wait()
        reached.append(newest(tmp_path / "broken" / "checkpoints"))
    assert reached == sorted(set(reached)), "a resumed training threw a checkpoint away"
    subprocess.run(words(tmp_path / "broken"), check=True, env=around, timeout=600)
    whole = sorted((tmp_path / "whole").rglob("*.safetensors"))
    assert len(whole) == {"shared": 1, "dpr": 2}[method]
    for path in whole:
        assert (tmp_path / "broken" / path.relative_to(tmp_path / "whole")).read_bytes() == path.read_bytes()
