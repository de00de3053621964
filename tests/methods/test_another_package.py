"""A researcher's own method: one file and one registry line in a folder outside this repository."""

from __future__ import annotations

import os
import re
import subprocess
import sys

METHOD = '''
"""The shared encoder with its vectors turned around."""

from dataclasses import dataclass

from dretrieve.models.base import Encoded
from dretrieve.models.shared import Shared
from dretrieve.models.shared_config import SharedConfig
from dretrieve.options import option


@dataclass(frozen=True, kw_only=True)
class TurnedConfig(SharedConfig):
    turns: int = option(1, "How often the numbers move on by one.")


class Turned(Shared):
    name = "turned"
    config_class = TurnedConfig

    def encode_side(self, batch, side):
        return Encoded(super().encode_side(batch, side).vectors.roll(self.config.turns, dims=1))
'''


def test_one_file_and_one_registry_line(root, tiny_collection, tiny_model, tmp_path):
    place = tmp_path / "package"
    (place / "turned-0.1.dist-info").mkdir(parents=True)
    (place / "turned_encoder.py").write_text(METHOD)
    line = "[dretrieve.methods]\nturned = turned_encoder:Turned\n"
    (place / "turned-0.1.dist-info" / "entry_points.txt").write_text(line)
    environment = os.environ | {"PYTHONPATH": f"{place}:{root}:{root / 'cli'}", "OMP_NUM_THREADS": "1"}

    def dretrieve(*words, code=0):
        command = [sys.executable, "-m", "dretrieve_cli", *map(str, words)]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == code, done.stderr
        return done.stdout + done.stderr

    told = dretrieve("train", "turned", "--help")
    assert "--turns" in told
    assert "turned (of turned_encoder)" in told
    model, data = tmp_path / "model", f"{tiny_collection}:train"
    common = ("--data", data, "--max-steps", 2, "--batch-size", 3, "--device", "cpu", "--output", model)
    dretrieve("train", "turned", "--backbone", tiny_model, "--turns", 3, *common)
    told = dretrieve("encode", "--model", model, "--corpus", tiny_collection, "--output", tmp_path / "emb")
    assert "encoded: 30 passages" in told
    told = dretrieve("train", "turnd", "--backbone", tiny_model, *common, code=2)
    assert re.search("there is no method 'turnd'; there are shared, dpr, .*turned", told)
