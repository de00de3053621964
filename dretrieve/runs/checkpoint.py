"""What an interrupted search leaves beside its output: the best hits so far and the row it had reached."""

from __future__ import annotations

import time
import zipfile
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np

from dretrieve.index.base import Passages, contents
from dretrieve.index.top_k import TopK
from dretrieve.store.atomic import replacing
from dretrieve.store.fingerprint import sha256_bytes
from dretrieve.types import Vectors


def checkpoint_path(output: Path) -> Path:
    """Return where the search that writes ``output`` keeps its state."""
    return output.with_name(f".{output.name}.partial.npz")


def discard_checkpoint(output: Path) -> None:
    """Remove the state: the run is written, so that it is no failure when the file system refuses."""
    with suppress(OSError):
        checkpoint_path(output).unlink(missing_ok=True)


@dataclass
class Checkpoint:
    """Saves the hits at most every ``seconds``, and finds them again.

    Attributes:
        fingerprint: of the search; the state of another search is ignored.
    """

    path: Path
    fingerprint: str
    seconds: float = 60.0
    _saved: float = field(default_factory=time.monotonic)

    @classmethod
    def of(cls, output: Path, stage: str, passages: Passages, queries: Vectors) -> Self:
        """Return that of the search whose result goes to ``output``."""
        parts = [part for part in (queries.values, queries.offsets, queries.weights) if part is not None]
        asked = [sha256_bytes(np.ascontiguousarray(part).tobytes()) for part in parts]
        return cls(checkpoint_path(output), " ".join((stage, contents(passages.embeddings), *asked)))

    def load(self, empty: TopK, start: int) -> tuple[TopK, int]:
        """Return hits and the next row: those saved, or ``empty`` and ``start``."""
        try:
            with open(self.path, "rb") as file, np.load(file, allow_pickle=False) as saved:
                if (
                    str(saved["fingerprint"]) != self.fingerprint
                    or saved["scores"].shape != empty.scores.shape
                ):
                    return empty, start
                return TopK(saved["scores"], saved["rows"], saved["sizes"]), int(saved["row"])
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return empty, start

    def save(self, kept: TopK, row: int, *, now: bool = False) -> None:
        """Save, if it is time or ``now``."""
        if not now and time.monotonic() - self._saved < self.seconds:
            return
        with replacing(self.path) as file:
            np.savez(
                file,
                fingerprint=np.array(self.fingerprint),
                row=np.array(row),
                scores=kept.scores,
                rows=kept.rows,
                sizes=kept.sizes,
            )
        self._saved = time.monotonic()
