"""The flat index: every passage is compared, exactly. It reads the embeddings where they stand.

Beside the ids' order it adds one byte per number (`dretrieve.kernels.scan`), with which a search reads half
of the bytes and skips nearly all of the float16 vectors. Without an index folder the embeddings themselves
can be searched: the bytes are then made block by block, the hits are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import DataError
from dretrieve.index.base import RANKS, Filled, Passages, open_embeddings, write_file, write_ranks
from dretrieve.index.exact import Block, ExactOptions, check_finite, search_exact
from dretrieve.index.top_k import TopK
from dretrieve.kernels.codes import PANEL_ROWS, Codes, centre_of, pack_passages
from dretrieve.options import NoChoices, read_settings
from dretrieve.store.embeddings import Embeddings
from dretrieve.store.interrupt import Signals
from dretrieve.store.npy import map_array, npy_header
from dretrieve.store.stage import Stage, open_artefact
from dretrieve.types import Progress, Vectors

VERSION = 1
BUILT = SEARCHED = {"flat": NoChoices}
PACKED_ROWS = 1 << 16


@dataclass(frozen=True, slots=True)
class FlatIndex:
    """Exact search over embeddings, with the bytes of an index folder or without.

    Attributes:
        codes: per shard that has rows its `Codes`, mapped; empty when the embeddings are searched directly.
    """

    passages: Passages
    codes: tuple[Codes, ...] = ()
    exact: bool = True
    search_options: dict[str, Any] = field(default_factory=dict)

    def block(self, start: int, stop: int) -> Block:
        """Return rows ``start`` to ``stop``, or as many as the first row's shard holds."""
        vectors = self.passages.block(start, stop).values
        number = self.passages.shard_of(start)
        local = start - self.passages.start_of(number)
        if not self.codes or local % PANEL_ROWS:
            return Block(start, vectors)
        return Block(start, vectors, self.codes[number][local : local + len(vectors)])

    def search(self, queries: Vectors, kept: TopK, rows: tuple[int, int], options: ExactOptions) -> TopK:
        """Add the best passages among ``rows`` to ``kept`` and return it (see `search_exact`)."""
        return search_exact(self.block, queries.values, kept, self.passages.ranks, rows, options)


def over_embeddings(embeddings: Embeddings, settings: Mapping[str, Any] | None = None) -> FlatIndex:
    """Return an index over an embeddings folder that was never indexed; there are no settings."""
    read_settings(NoChoices, settings or {}, f"searching the embeddings {embeddings.folder}")
    return FlatIndex(Passages(embeddings))


def open_index(folder: Path, *, full: bool = False, settings: Mapping[str, Any] | None = None) -> FlatIndex:
    """Return the index at ``folder``.

    Raises:
        PreconditionError: it or its embeddings are missing or unfinished.
        VerificationError: changed bytes, or other embeddings than it was built over.
        UsageError: a setting was given; there are none.
    """
    read_settings(NoChoices, settings or {}, "searching an index of type flat")
    manifest = open_artefact(folder, ("index-flat",), full=full)
    passages = Passages(open_embeddings(folder, manifest, full=full), folder / RANKS)
    codes = []
    for stem, _ in passages.stems():
        bounds = map_array(folder / f"{stem}.bounds.npy")
        codes.append(
            Codes(
                map_array(folder / f"{stem}.codes.npy"),
                map_array(folder / f"{stem}.scales.npy"),
                np.ascontiguousarray(bounds[0]),
                np.ascontiguousarray(bounds[1]),
                np.array(map_array(folder / f"{stem}.centre.npy")),
            )
        )
    return FlatIndex(passages, tuple(codes))


def described(kind: str, choices: NoChoices, passages: Passages, progress: Progress) -> dict[str, Any]:
    """Return what the bytes depend on beside the embeddings: nothing."""
    return {}


def fill(
    stage: Stage, passages: Passages, choices: object, threads: int, progress: Progress, signals: Signals
) -> Filled:
    """Write one byte per number of every shard.

    Raises:
        DataError: a vector holds NaN or infinity.
        Interrupted: a signal came; the same command begins again (it reads each vector once).
    """
    write_ranks(stage, passages)
    progress.start("index", passages.rows, "passages")
    for number, (stem, rows) in enumerate(passages.stems()):
        _write_codes(stage, passages.vectors(number).values, stem, rows, progress, signals)
    progress.finish()
    return Filled()


def _write_codes(
    stage: Stage, vectors: NDArray[Any], stem: str, rows: int, progress: Progress, signals: Signals
) -> None:
    """Write the files of one shard: the codes as they are made, then centre, scales and bounds."""
    scales, errors, lengths = [], [], []
    centre = centre_of(vectors)
    panels, steps = -(-rows // PANEL_ROWS), -(-vectors.shape[1] // 4)
    with stage.write(f"{stem}.codes.npy") as file:
        file.write(npy_header("uint8", (panels, steps, PANEL_ROWS, 4)))
        for start in range(0, rows, PACKED_ROWS):
            block = vectors[start : start + PACKED_ROWS]
            bad = check_finite(block)
            if bad >= 0:
                raise DataError(
                    f"row {start + bad} of {stem} holds NaN or infinity; encode the passages again"
                )
            codes = pack_passages(block, centre)
            file.write(codes.codes.data)
            scales.append(codes.scales)
            errors.append(codes.errors)
            lengths.append(codes.lengths)
            progress.advance(len(block))
            signals.check()
    write_file(stage, f"{stem}.centre.npy", centre)
    write_file(stage, f"{stem}.scales.npy", np.concatenate(scales))
    write_file(stage, f"{stem}.bounds.npy", np.stack([np.concatenate(errors), np.concatenate(lengths)]))
