"""What tests of several packages need: lines in files, `prepare`, a listening progress, a broken training."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dretrieve.errors import Interrupted
from dretrieve.types import Silent


def lines(path: Path, *rows: object) -> Path:
    """Write each row as JSON (strings as they are) on a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows)
    path.write_text(text, encoding="utf-8", newline="")
    return path


def prepared(source: object, output: Path, **options: Any) -> dict[str, Any]:
    """Run ``prepare`` and return its JSON."""
    from dretrieve.jobs.prepare import PrepareConfig, run

    return run(PrepareConfig(source=str(source), output=output, **options)).as_json()


class Told(Silent):
    """Keeps what it is told in ``lines``; sends a signal to the process after ``steps`` of progress."""

    def __init__(self, steps: int = 0) -> None:
        self.left, self.lines = steps, list[str]()

    def note(self, text: str) -> None:
        self.lines.append(text)

    def advance(self, units: int) -> None:
        self.left -= 1
        if self.left == 0:
            signal.raise_signal(signal.SIGTERM)


def check_resumed(config_of: Callable[[Path], Any], folder: Path, least: int) -> None:
    """Train unbroken, and with a signal after three steps: the same bytes, in so many files of weights."""
    from dretrieve.jobs.train import run

    unbroken, broken = folder / "unbroken", folder / "broken"
    run(config_of(unbroken))
    with pytest.raises(Interrupted):
        run(config_of(broken), Told(3))
    run(config_of(broken))
    names = [path.relative_to(broken) for path in broken.rglob("*.safetensors")]
    assert len(names) >= least
    for name in names:
        assert (unbroken / name).read_bytes() == (broken / name).read_bytes(), name
