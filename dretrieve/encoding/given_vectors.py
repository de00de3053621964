"""Vectors that take the place of texts: what a frozen backbone gave for them, computed once.

A training set brings them (``--data path=DIR,split=train,query_vectors=EMB,passage_vectors=EMB``), and
``encode --embeddings EMB`` sends them through what the model has behind its encoder. Both hold them against
the texts and the backbone that they claim, so that what comes out is what the texts give.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from dretrieve.encoding.pieces import ChunkVectors
from dretrieve.errors import UsageError, VerificationError
from dretrieve.index.base import Passages
from dretrieve.models.base import Columns, TokenBatch
from dretrieve.models.loading import load_block
from dretrieve.models.registry import find
from dretrieve.store.card import Choice, ModelCard
from dretrieve.store.embeddings import Embeddings
from dretrieve.types import Engine, Side, Vectors

ENGINE = Engine("torch", "fp32")  # what lies behind an encoder computes in float32


def open_given(
    folder: Path, word: str, side: Side | None = None, texts: str | None = None, *, full: bool = False
) -> Embeddings:
    """Return embeddings that are to stand in the place of texts.

    They must be of that side and of the texts with that hash, where these are given; ``word`` says who wants
    them.

    Raises:
        VerificationError: of the other side, of other texts, or many vectors a text.
    """
    given = Embeddings.open(folder, full=full)
    wanted = side or given.side
    if given.side != wanted or given.vectors.kind != "one":
        kind = "vectors per token" if given.vectors.kind == "many" else f"{given.side} vectors"
        raise VerificationError(f"{folder} holds {kind}; {word} wants one for each {wanted}")
    if texts not in (None, given.collection_sha256):
        raise VerificationError(
            f"{folder} was encoded from other texts ({given.collection_sha256[:12]}) than the {wanted} side "
            f"that {word} goes with ({str(texts)[:12]}); encode these with the backbone"
        )
    return given


def check_made_by(given: Embeddings, card: ModelCard, word: str) -> None:
    """Refuse vectors that are not what the model's encoder gives for the texts.

    Raises:
        UsageError: the encoder is trained; the model's options change what the backbone says of itself.
        VerificationError: vectors by another model.
    """
    entry, source = find(card.method), card.source
    if not entry.method().takes_vectors(entry.config()(**card.method_config), given.side):
        raise UsageError(
            f"{word}: {card.method} takes {given.side} vectors only where what gives them stays as it is, "
            "and here it is trained; give it texts"
        )
    known = source.get("sides", {}).get(given.side, {})
    if known.get("changed"):
        raise UsageError(
            f"{word}: the model's options change the backbone's {', '.join(known['changed'])}, and the "
            "vectors were made with its own; give it texts"
        )
    made_by = given.query_fingerprint if given.side == "query" else given.passage_fingerprint
    expected = str(known.get("fingerprint") or "whose fingerprint was not kept")
    if made_by != expected:
        raise VerificationError(
            f"{given.folder} was encoded by another model ({str(made_by)[:12]}) than the backbone "
            f"{source.get('backbone')} ({expected[:12]}); encode the texts with the backbone"
        )


def rows_of(given: Embeddings, ids: Sequence[str], rows: Sequence[int]) -> NDArray[np.floating]:
    """Return the vectors [texts, D] of queries by their ids, of passages by their ascending rows."""
    if given.side == "passage":
        return Passages(given).gather(np.asarray(rows, dtype=np.int64)).values
    place = {text_id: row for row, text_id in enumerate(given.ids())}
    return given.all_vectors().values[[place[text_id] for text_id in ids]]


def vector_batch(values: NDArray[Any], text_ids: Sequence[str], columns: Columns | None = None) -> TokenBatch:
    """Return vectors [texts, D] as the batch of those texts, which has no tokens."""
    return TokenBatch(
        torch.empty((len(values), 0), dtype=torch.int64),
        torch.empty((len(values), 0), dtype=torch.bool),
        tuple(text_ids),
        columns or {},
        torch.from_numpy(values.astype(np.float32)),
    )


class GivenRows:
    """The rows of given vectors as ``encode`` reads texts: hash of the texts, ids, and vectors by row."""

    def __init__(self, given: Embeddings) -> None:
        self.given, self.sha256 = given, given.collection_sha256
        self._rows = Passages(given, side=given.side)

    def __len__(self) -> int:
        return self.given.rows

    def ids(self, start: int, stop: int) -> list[str]:
        """Return the ids of rows ``start`` to ``stop`` (exclusive)."""
        return self._rows.ids(np.arange(start, stop))

    def precision(self, wanted: str) -> str:
        """Return the number type that the encoder computed them in.

        Raises:
            UsageError: another one is wanted.
        """
        theirs = str(self.given.shards[0].manifest.options.get("precision", "fp32"))
        if wanted not in ("auto", theirs):
            raise UsageError(
                f"--precision {wanted}: {self.given.folder} was encoded in {theirs}, and what is behind the "
                "encoder computes in fp32; leave the option out"
            )
        return theirs

    def origin(self, output: Path) -> dict[str, Any]:
        """Return what embeddings in ``output`` that are made of these say of where they come from."""
        known = self.given.extra
        path = known.get("collection")
        if path is not None:
            path = os.path.relpath((self.given.folder / path).resolve(), output.resolve())
        return {**known, "collection": path}

    def batch(self, start: int, stop: int) -> TokenBatch:
        """Return those rows."""
        return vector_batch(self._rows.gather(np.arange(start, stop)).values, self.ids(start, stop))

    def encoded(
        self, model: str, device: str, settings: Mapping[str, Choice], chunks: Iterable[tuple[int, int]]
    ) -> Iterator[ChunkVectors]:
        """Yield what a model makes of each chunk, in order; one thread computes, so bytes need no others.

        The model's encoder is not read.
        """
        block, threads = load_block(model, device, settings), torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            for start, stop in chunks:
                batch = self.batch(start, stop).to(torch.device(device))
                with torch.inference_mode():
                    found = block.encode_side(batch, self.given.side).vectors
                yield ChunkVectors(Vectors(found.float().cpu().numpy()), 0, 0, ENGINE)
        finally:
            torch.set_num_threads(threads)
