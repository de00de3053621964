"""A token index that stands alone: its embeddings may go, and scores are those of its reconstruction."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dretrieve.index.base import IDS, Passages
from dretrieve.index.token_clusters import num_tokens, sample
from dretrieve.index.token_codes import TokenCodes
from dretrieve.scoring.maxsim import lengths_of
from dretrieve.store.embeddings import Embeddings
from dretrieve.store.parts import whole_of
from dretrieve.store.stage import Stage
from dretrieve.types import Vectors, offsets_of

BLOCK_TOKENS = 1 << 14
SAMPLED, NEARLY = 1 << 12, 2.0**-8  # float16 leaves a unit vector nearer to its length


class Reconstructed(Passages):
    """The passages of an index that stands alone; their vectors are made from the codes when asked for.

    Args:
        embeddings: what the index keeps of them.
        ranks_file: of the index.
        codes: of all tokens.
        unit: whether each vector gets length 1, which the coded ones had, as ColBERTv2 has it: what a code
            loses along a vector then moves no product with one of its direction.
    """

    def __init__(self, embeddings: Embeddings, ranks_file: Path, codes: TokenCodes, *, unit: bool) -> None:
        super().__init__(embeddings, ranks_file, many=True)
        self._codes, self._unit = codes, unit

    def lengths(self) -> NDArray[np.int64]:
        """Return [rows], how many tokens each passage has."""
        return np.diff(self._codes.borders)

    def vectors(self, shard: int) -> Vectors:
        """Return all vectors, in memory: 4 bytes a number."""
        return self._some(0, self.rows)

    def block(self, start: int, stop: int) -> Vectors:
        """Return rows ``start`` to ``stop``, or as many as have 16,384 tokens together, one at least."""
        borders = self._codes.borders
        fitting = int(np.searchsorted(borders, borders[start] + BLOCK_TOKENS, side="right")) - 1
        return self._some(start, min(stop, max(fitting, start + 1)))

    def gather(self, rows: NDArray[np.int64]) -> Vectors:
        """Return the vectors of ascending rows, in memory."""
        return Vectors.joined([self._some(0, 0), *(self._some(row, row + 1) for row in rows.tolist())])

    def _some(self, start: int, stop: int) -> Vectors:
        borders = self._codes.borders[start : stop + 1]
        values = self._codes.reconstructed(int(borders[0]), int(borders[-1]))
        if self._unit:
            squares = np.square(values, dtype=np.float64).sum(axis=1, keepdims=True)
            values = (values / np.maximum(np.sqrt(squares), 1e-30)).astype(np.float32)
        return Vectors(values, offsets_of(np.diff(borders)))


def have_unit_length(passages: Passages) -> bool:
    """Return whether the token vectors have length 1, as far as a sample spread over all tells."""
    tokens = num_tokens(passages)
    lengths = lengths_of(sample(passages, tokens, min(tokens, SAMPLED)).astype(np.float32))
    return bool((np.abs(lengths - 1) < NEARLY).all())


def write_ids(stage: Stage, passages: Passages) -> dict[str, Any]:
    """Write the ids as embeddings have them; return what the manifest keeps of the embeddings."""
    manifest = passages.embeddings.shards[0].manifest
    with stage.write(IDS, text=True) as file:
        file.writelines(f"{text_id}\n" for text_id in passages.every_id())
    whole = whole_of(manifest)
    found = {"version": whole.version, "options": whole.options, "inputs": dict(whole.inputs)}
    inference = {name: manifest.extra[name] for name in ("inference",) if name in manifest.extra}
    return {**found, "extra": inference}
