"""The command `validate`."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

TOPICS = ("bees", "tides", "bread", "chess", "volcano", "printing")
RIGHT = [(f"q-{topic}-2", f"{topic}-2") for topic in TOPICS]


def trec(path: Path, hits: Iterable[tuple[str, str]]) -> Path:
    """Write a run with falling scores."""
    rows = [f"{query} Q0 {passage} 0 {100 - place} t\n" for place, (query, passage) in enumerate(hits)]
    path.write_text("".join(rows), encoding="utf-8")
    return path


def test_the_command_line(cli_here: Callable, tiny_collection: Path, tmp_path: Path) -> None:
    made = trec(tmp_path / "run", RIGHT)
    assert "everything fits" in cli_here("validate", f"{tiny_collection}:test", made).out
    wrong = trec(tmp_path / "wrong", [(q, "x" + p) for q, p in RIGHT])
    found = cli_here("validate", f"{tiny_collection}:test", wrong, "--json", code=4).json()
    assert found["fits"] is False
