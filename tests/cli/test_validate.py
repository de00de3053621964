"""The command `validate`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.common import lines

TOPICS = ("bees", "tides", "bread", "chess", "volcano", "printing")


def test_the_command_line(cli_here: Callable, tiny_collection: Path, tmp_path: Path) -> None:
    made = lines(tmp_path / "run", *(f"q-{topic}-2 Q0 {topic}-2 0 1 t" for topic in TOPICS))
    assert "everything fits" in cli_here("validate", f"{tiny_collection}:test", made).out
    wrong = lines(tmp_path / "wrong", *(f"q-{topic}-2 Q0 x{topic}-2 0 1 t" for topic in TOPICS))
    found = cli_here("validate", f"{tiny_collection}:test", wrong, "--json", code=4).json()
    assert found["fits"] is False
