"""The command `inspect`."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path


def text(path: Path, content: str) -> Path:
    """Write a file."""
    path.write_text(content, encoding="utf-8")
    return path


def test_the_command_line(cli_here: Callable, tiny_collection: Path, tmp_path: Path) -> None:
    shown = cli_here("inspect", tiny_collection)
    assert "collection (BEIR folder)" in shown.out
    assert cli_here("inspect", tiny_collection, "--json").json()["facts"]["passages"] == 30
    broken = cli_here("inspect", text(tmp_path / "x.jsonl", '{"_id": 1.5, "text": "x"}\n'), "--json", code=4)
    assert json.loads(broken.out)["problems"][0].startswith(str(tmp_path / "x.jsonl"))
