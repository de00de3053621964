"""A researcher's own method: one file and one registry line in a folder outside this repository."""

from __future__ import annotations

import re

from dretrieve.models import registry

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


def test_one_file_and_one_registry_line(
    root, cli, cli_here, tiny_collection, tiny_model, tmp_path, monkeypatch
):
    """A process finds it by its path alone; the rest is the same in this one."""
    place = tmp_path / "package"
    (place / "turned-0.1.dist-info").mkdir(parents=True)
    (place / "turned_encoder.py").write_text(METHOD)
    line = "[dretrieve.methods]\nturned = turned_encoder:Turned\n"
    (place / "turned-0.1.dist-info" / "entry_points.txt").write_text(line)
    told = cli("train", "turned", "--help", env={"PYTHONPATH": f"{place}:{root}:{root / 'cli'}"}).out
    assert "--turns" in told
    assert "turned (of turned_encoder)" in told
    monkeypatch.syspath_prepend(place)
    monkeypatch.setattr(registry, "methods", registry.methods.__wrapped__)
    model, data = tmp_path / "model", f"{tiny_collection}:train"
    common = ("--data", data, "--max-steps", 2, "--batch-size", 3, "--device", "cpu", "--output", model)
    cli_here("train", "turned", "--backbone", tiny_model, "--turns", 3, *common)
    told = cli_here("encode", "--model", model, "--corpus", tiny_collection, "--output", tmp_path / "emb")
    assert "encoded: 30 passages" in told.out + told.err
    told = cli_here("train", "turnd", "--backbone", tiny_model, *common, code=2).err
    assert re.search("there is no method 'turnd'; there are shared, dpr, .*turned", told)
