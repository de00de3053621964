"""A batch through the model, and the parts of a chunk put back in row order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dretrieve.models.base import Encoded, TokenBatch
from dretrieve.models.loading import LoadedModel
from dretrieve.tokens.batches import cut_batches
from dretrieve.tokens.tokenizer import Tokenized
from dretrieve.types import Engine, Side, Vectors, VectorSpec, offsets_of

# Tokens per batch, and how small the last batches of a chunk may become. On a CPU the buffers of a batch
# should stay in the caches, and several threads share the batches; a GPU wants work for all its units.
BUDGETS = {"cpu": (2048, 512), "cuda": (32768, None)}


@dataclass(frozen=True, slots=True)
class ChunkVectors:
    """The vectors of a chunk in row order, float32; tokens read, texts cut, and what ran."""

    vectors: Vectors
    tokens: int
    truncated: int
    engine: Engine


@dataclass(frozen=True, slots=True)
class Piece:
    """The result of one batch on its way to host memory.

    Attributes:
        rows: which rows of the chunk.
        encoded: vectors, mask, salience and of many the tokens, on the host once ``done`` says so.
        done: the event after the copies; None where nothing is asynchronous.
    """

    rows: NDArray[np.int64]
    encoded: Encoded
    done: Any = None


def batches_of(tokens: Tokenized, device: torch.device) -> list[NDArray[np.int64]]:
    """Return the rows of a chunk in batches for that kind of device."""
    return cut_batches(tokens.lengths, *BUDGETS[device.type])


def token_batch(tokens: Tokenized, rows: NDArray[np.int64], pad_id: int, ids: Sequence[str]) -> TokenBatch:
    """Return some rows of a chunk, padded on the right to the longest: so no token's position moves.

    ``ids`` are those of all texts, or none.
    """
    # of these rows alone: a training has many
    starts, ends = tokens.offsets[rows], tokens.offsets[rows + 1]
    places = starts[:, None] + np.arange(int((ends - starts).max(initial=0)))
    mask = places < ends[:, None]
    padded = np.full(places.shape, pad_id, dtype=np.int64)
    padded[mask] = tokens.ids[places[mask]]
    names = tuple(ids[row] for row in rows) if ids else ()
    return TokenBatch(torch.from_numpy(padded), torch.from_numpy(mask), names)


def run_batch(
    model: LoadedModel, side: Side, tokens: Tokenized, rows: NDArray[np.int64], ids: Sequence[str]
) -> Piece:
    """Compute one batch; on a GPU return before it is finished, with the copies to the host under way."""
    tokenizer = model.tokenizers[side]
    batch = token_batch(tokens, rows, tokenizer.pad_id, ids)
    with torch.inference_mode():
        given = batch if model.engine.name == "packed" else batch.to(model.device)
        found = _with_tokens(model.encoder.encode_side(given, side), batch)
        if model.device.type == "cpu":
            return Piece(rows, found)
        parts = [found.vectors, found.mask, found.salience, found.tokens]
        host = [None if part is None else _to_pinned(part) for part in parts]
        done = torch.cuda.Event()
        done.record(torch.cuda.current_stream(model.device))
        assert host[0] is not None
        return Piece(rows, Encoded(host[0], host[1], host[2], tokens=host[3]), done)


def _with_tokens(found: Encoded, batch: TokenBatch) -> Encoded:
    """Return the same with the tokens' numbers, where there are many vectors."""
    if found.mask is None or found.tokens is not None:
        return found
    assert found.mask.shape == batch.input_ids.shape, "a method whose tokens are others than it was given"
    return replace(found, tokens=batch.input_ids)


def _to_pinned(part: Tensor) -> Tensor:
    host = torch.empty(part.shape, dtype=part.dtype, pin_memory=True)
    return host.copy_(part, non_blocking=True)


def assemble(pieces: Sequence[Piece], tokens: Tokenized, spec: VectorSpec) -> Vectors:
    """Wait for the pieces and put them in row order."""
    for piece in pieces:
        if piece.done is not None:
            piece.done.synchronize()
    if spec.kind == "many":
        return _many(pieces, len(tokens), spec.dim)
    vectors = np.empty((len(tokens), spec.dim), dtype=np.float32)
    for piece in pieces:
        vectors[piece.rows] = piece.encoded.vectors.float().numpy()
    return Vectors(vectors)


def _many(pieces: Sequence[Piece], texts: int, dim: int) -> Vectors:
    counts = np.zeros(texts, dtype=np.int64)
    for piece in pieces:
        assert piece.encoded.mask is not None
        counts[piece.rows] = piece.encoded.mask.sum(dim=1).numpy()
    offsets = offsets_of(counts)
    values = np.empty((int(offsets[-1]), dim), dtype=np.float32)
    weighted = any(piece.encoded.salience is not None for piece in pieces)
    weights = np.zeros(len(values), dtype=np.float32) if weighted else None
    tokens = np.empty(len(values), dtype=np.int32)
    for piece in pieces:
        encoded, own = piece.encoded, counts[piece.rows]
        # Where the piece's tokens go: each text's first place, and from there on as many as it has.
        starts = np.repeat(offsets[piece.rows] - (np.cumsum(own) - own), own)
        places = starts + np.arange(len(starts))
        assert encoded.mask is not None
        assert encoded.tokens is not None
        values[places] = encoded.vectors[encoded.mask].float().numpy()
        tokens[places] = encoded.tokens[encoded.mask].numpy()
        if weights is not None and encoded.salience is not None:
            weights[places] = encoded.salience[encoded.mask].float().numpy()
    return Vectors(values, offsets, weights, tokens)
