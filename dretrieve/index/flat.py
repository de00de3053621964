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
from dretrieve.index.base import (
    RANKS,
    Passages,
    described_inputs,
    open_embeddings,
    relative_folder,
    write_ranks,
)
from dretrieve.index.exact import Block, ExactOptions, check_finite, search_exact
from dretrieve.index.top_k import TopK
from dretrieve.kernels.codes import PANEL_ROWS, Codes, centre_of, pack_passages
from dretrieve.options import NoChoices, read_settings
from dretrieve.store.atomic import make_folder
from dretrieve.store.embeddings import Embeddings
from dretrieve.store.interrupt import Signals
from dretrieve.store.manifest import Manifest
from dretrieve.store.npy import map_array, npy_header, write_array
from dretrieve.store.stage import Stage, open_artefact
from dretrieve.store.state import recorded_state
from dretrieve.types import Progress, Vectors

STAGE = "index-flat"
VERSION = 1
PACKED_ROWS = 1 << 16


@dataclass(frozen=True, slots=True)
class FlatIndex:
    """Exact search over embeddings, with the bytes of an index folder or without.

    Attributes:
        passages: what is searched.
        codes: per shard that has rows its `Codes`, mapped; empty when the embeddings are searched directly.
    """

    passages: Passages
    codes: tuple[Codes, ...] = ()
    exact: bool = True
    search_options: dict[str, Any] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        """How many passages there are."""
        return self.passages.rows

    @property
    def dim(self) -> int:
        """Numbers per vector."""
        return self.passages.dim

    def block(self, start: int, stop: int) -> Block:
        """Return rows ``start`` to ``stop``, or as many as the first row's shard holds."""
        vectors = self.passages.block(start, stop).values
        number = self.passages.shard_of(start)
        local = start - self.passages.start_of(number)
        if not self.codes or local % PANEL_ROWS:
            return Block(start, vectors)
        panels = local // PANEL_ROWS, -(-(local + len(vectors)) // PANEL_ROWS)
        return Block(start, vectors, self.codes[number].panels(*panels))

    def search(self, queries: Vectors, kept: TopK, rows: tuple[int, int], options: ExactOptions) -> TopK:
        """Add the best passages among ``rows`` to ``kept`` and return it (see `search_exact`)."""
        return search_exact(self, queries.values, kept, self.passages.ranks, rows, options)


def over_embeddings(embeddings: Embeddings) -> FlatIndex:
    """Return an index over an embeddings folder that was never indexed."""
    return FlatIndex(Passages(embeddings))


def open_index(folder: Path, *, full: bool = False) -> FlatIndex:
    """Return the index at ``folder``.

    Raises:
        PreconditionError: it or its embeddings are missing or unfinished.
        VerificationError: changed bytes, or other embeddings than it was built over.
    """
    manifest = open_artefact(folder, (STAGE,), full=full)
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


def options(name: str, settings: Mapping[str, Any], threads: int) -> None:
    """Refuse options: a flat index has none.

    Raises:
        UsageError: one was given.
    """
    read_settings(NoChoices, settings, "a flat index")


def stage_of(embeddings: Embeddings, output: Path, options: None = None, *, force: bool = False) -> Stage:
    """Return the index's stage."""
    return Stage(output, "folder", STAGE, VERSION, {}, described_inputs(embeddings), force)


def build(
    embeddings: Embeddings,
    output: Path,
    options: None = None,
    *,
    force: bool = False,
    progress: Progress,
    signals: Signals,
) -> Manifest:
    """Write the index of the embeddings at ``output`` and return its manifest.

    Raises:
        DataError: a vector holds NaN or infinity, or an id stands twice.
        PreconditionError: ``output`` holds something else.
        Interrupted: a signal came; the same command begins again (it reads each vector once).
    """
    passages = Passages(embeddings)
    stage = stage_of(embeddings, output, force=force)
    if stage.up_to_date():
        return stage.existing()
    progress.start("index", embeddings.rows, "passages")
    make_folder(output)
    with recorded_state(stage.manifest_file, STAGE, stage.fingerprint):
        with stage.write(RANKS) as file:
            write_ranks([text_id for entry in embeddings.shards for text_id in entry.ids()], file)
        signals.check()
        for number, (stem, rows) in enumerate(passages.stems()):
            _write_codes(stage, passages.vectors(number).values, stem, rows, (progress, signals))
    progress.finish()
    return stage.commit(
        counts={"rows": embeddings.rows, "dim": passages.dim},
        extra={"embeddings": relative_folder(embeddings.folder, output)},
    )


def _write_codes(
    stage: Stage, vectors: NDArray[Any], stem: str, rows: int, watch: tuple[Progress, Signals]
) -> None:
    """Write the files of one shard: the codes as they are made, then centre, scales and bounds."""
    progress, signals = watch
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
    with stage.write(f"{stem}.centre.npy") as file:
        write_array(file, centre)
    with stage.write(f"{stem}.scales.npy") as file:
        write_array(file, np.concatenate(scales))
    with stage.write(f"{stem}.bounds.npy") as file:
        write_array(file, np.stack([np.concatenate(errors), np.concatenate(lengths)]))
