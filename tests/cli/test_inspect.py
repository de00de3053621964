"""The command `inspect`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.common import lines


def test_the_command_line(cli_here: Callable, tiny_collection: Path, tmp_path: Path) -> None:
    shown = cli_here("inspect", tiny_collection)
    assert "collection (BEIR folder)" in shown.out
    assert cli_here("inspect", tiny_collection, "--json").json()["facts"]["passages"] == 30
    broken = cli_here("inspect", lines(tmp_path / "x.jsonl", '{"_id": 1.5, "text": "x"}'), "--json", code=4)
    assert json.loads(broken.out)["problems"][0].startswith(str(tmp_path / "x.jsonl"))
