"""``--corpus DIR``: a collection named for its passages, of which there are no splits."""

from __future__ import annotations

from pathlib import Path

from dretrieve.errors import UsageError
from dretrieve.text.collection import parse_spec


def parse_corpus(spec: str | Path) -> Path:
    """Return the path of ``DIR``; a split would be ignored, so none may stand there.

    Raises:
        PreconditionError: nothing stands there.
        UsageError: a split is named (``DIR:split``).
    """
    path, split = parse_spec(spec)
    if split is not None:
        raise UsageError(
            f"--corpus {spec}: passages have no splits, all of them are taken; write --corpus {path}"
        )
    return path
