"""What the profile `paper` does on a cluster: encoding and search as job arrays that the recipe waits for."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
def test_a_recipe_waits_for_its_arrays_and_finds_them_again(
    slurm, cli, tiny_collection, tiny_model, tmp_path
):
    cli("encode", "--model", tiny_model, "--corpus", tiny_collection, "--output", "whole")
    asked = ["--model", tiny_model, "--queries", f"{tiny_collection}:train", "--hits", "10"]
    cli("search", "--index", "whole", *asked, "--output", "whole.trec")
    steps = (
        f"source {ROOT}/recipes/taser/rows.sh; SHARDS=2 QUEUE=slurm POLL=1\n"
        f"in_shards encode --model {tiny_model} --corpus {tiny_collection} --output parts\n"
        f"search_shards parts.trec --index parts {' '.join(str(word) for word in asked)}\n"
    )
    for expected in (2, 0):  # arrays submitted
        done = subprocess.run(
            ["bash", "-c", steps],
            cwd=tmp_path,
            env=os.environ | {"PYTHON": sys.executable},
            capture_output=True,
            text=True,
            timeout=600,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert done.stdout.count("(array)") == expected
    assert (tmp_path / "parts.trec").read_bytes() == (tmp_path / "whole.trec").read_bytes()
    assert len(list((tmp_path / "parts").glob("shard-*.manifest.json"))) == 2
