"""The embedded BM25 index: exact top k with Lucene's scores, memory-mapped postings, threads over queries."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import UsageError
from dretrieve.index.bm25_formula import STAGE, Bm25Options, idf, pair_factors
from dretrieve.kernels import bm25 as kernels
from dretrieve.kernels.bm25_postings import strongest
from dretrieve.store.ids import IdTable
from dretrieve.store.manifest import Manifest
from dretrieve.store.npy import map_array
from dretrieve.store.stage import open_artefact
from dretrieve.tokens.lucene_english import MAX_TOKEN_LENGTH, normalize, plain_words, words
from dretrieve.types import Run

_IN_MEMORY = 2_000_000  # terms; above, they are found by bisection in the file


class Bm25Index:
    """An opened index.

    Args:
        folder: where it stands.
        manifest: its manifest, verified.
        options: k1 and b to search with; those it was built with by default.
    """

    def __init__(self, folder: Path, manifest: Manifest, options: Bm25Options | None = None) -> None:
        built = Bm25Options(k1=manifest.options["k1"], b=manifest.options["b"])
        self.folder, self.manifest, self.options = folder, manifest, options or built
        self.passage_ids = IdTable.open(folder / "ids.txt")
        self._terms = IdTable.open(folder / "terms.txt")
        names = ("offsets", "passages", "pairs", "id_ranks")
        self._postings = kernels.Postings(*(map_array(folder / f"{name}.npy") for name in names))
        filled = manifest.counts["filled"]
        average = manifest.counts["total_terms"] / filled if filled else 1.0
        columns = (map_array(folder / "pair_frequencies.npy"), map_array(folder / "pair_norms.npy"))
        self._factors = pair_factors(*columns, average, self.options.k1, self.options.b)
        self._strongest = strongest(self._postings.offsets, self._postings.pairs, self._factors)
        self._words = _Words(self._terms)

    @classmethod
    def open(cls, folder: Path, options: Bm25Options | None = None, *, full: bool = False) -> Bm25Index:
        """Return the index at ``folder``.

        Args:
            folder: what `build_bm25` wrote.
            options: other k1 and b than those of the build.
            full: hash every file again instead of those whose size or time changed.

        Raises:
            PreconditionError: there is none, or it is not finished.
            VerificationError: it is something else, or its bytes changed.
        """
        return cls(folder, open_artefact(folder, (STAGE,), full=full), options)

    def __len__(self) -> int:
        return len(self.passage_ids)

    def search(
        self,
        query_ids: Sequence[str],
        query_texts: Sequence[str],
        k: int,
        *,
        threads: int = 1,
        tag: str = "bm25",
    ) -> Run:
        """Return the k best passages of each query, exactly, ties at the cut by the one rule.

        A passage that shares no term with the query is no hit. Scores equal Lucene's BM25Similarity to the
        last bit of a 32-bit float but for the order of its sum. Memory: 8 bytes x k x queries and postings
        as the page cache keeps them; give the queries in blocks.

        Args:
            query_ids: one per query.
            query_texts: their texts; a word said twice counts twice.
            k: at least 1.
            threads: threads to spread the queries over; the result is the same for any number.
            tag: the run's name.
        """
        if k < 1:
            raise UsageError(f"--hits is {k}; it must be at least 1")
        k = min(k, max(len(self), 1))
        offsets, rows, weights = self._queries(query_texts)
        passages = np.empty((len(query_texts), k), dtype=np.int32)
        scores = np.empty((len(query_texts), k), dtype=np.float32)
        counts = np.zeros(len(query_texts), dtype=np.int64)

        def part(span: tuple[int, int]) -> None:
            model = (self._factors, self._strongest)
            kernels.search((offsets, rows, weights), self._postings, model, (passages, scores), span, counts)

        spans = _spans(len(query_texts), threads)
        if len(spans) == 1:
            part(spans[0])
        else:
            with ThreadPoolExecutor(threads) as pool:
                list(pool.map(part, spans))
        kept = np.arange(k) < counts[:, None]
        return Run(
            query_ids=list(query_ids),
            passage_ids=self.passage_ids,
            offsets=np.concatenate([np.zeros(1, np.int64), counts]).cumsum(),
            passages=passages[kept],
            scores=scores[kept],
            tag=tag,
        )

    def _queries(
        self, texts: Sequence[str]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
        """Return offsets [Q + 1], distinct term rows and weights (repetitions times idf) of all queries."""
        rows: list[int] = []
        lengths = np.empty(len(texts), dtype=np.int64)
        for query, text in enumerate(texts):
            found = self._words.rows(text)
            rows += found
            lengths[query] = len(found)
        queries = np.repeat(np.arange(len(texts)), lengths)
        said = np.asarray(rows, dtype=np.int64)
        keys, repetitions = np.unique(
            (queries * (len(self._terms) + 1) + said)[said >= 0], return_counts=True
        )
        owners, terms = np.divmod(keys, len(self._terms) + 1)
        offsets = np.searchsorted(owners, np.arange(len(texts) + 1))
        bounds = self._postings.offsets
        rarity = idf(bounds[terms + 1] - bounds[terms], self.manifest.counts["filled"])
        return offsets.astype(np.int64), terms, repetitions.astype(np.float32) * rarity


class _Words(dict[str, int]):
    """The term row of every word asked for so far, -1 for none; a new word is analysed and looked up once."""

    def __init__(self, terms: IdTable) -> None:
        super().__init__()
        self._terms = terms
        self._all = {term: row for row, term in enumerate(terms)} if len(terms) <= _IN_MEMORY else None

    def rows(self, text: str) -> list[int]:
        """Return the term row of each word of a text."""
        if len(self) > _IN_MEMORY:
            self.clear()
        found = plain_words(text)
        if len(text) > MAX_TOKEN_LENGTH and any(len(word) > MAX_TOKEN_LENGTH for word in found):
            found = words(text)
        return list(map(self.__getitem__, found))

    def __missing__(self, word: str) -> int:
        term = normalize(word)
        row = self._all.get(term, -1) if self._all is not None else self._bisect(term)
        self[word] = row
        return row

    def _bisect(self, term: str) -> int:
        low, high = 0, len(self._terms)
        while low < high:
            middle = (low + high) // 2
            if self._terms[middle] < term:
                low = middle + 1
            else:
                high = middle
        return low if low < len(self._terms) and self._terms[low] == term else -1


def _spans(count: int, threads: int) -> list[tuple[int, int]]:
    """Return slices of the queries: some per thread, so that long queries spread."""
    parts = 1 if threads <= 1 else min(count, threads * 4)
    bounds = [count * part // max(parts, 1) for part in range(max(parts, 1) + 1)]
    return list(pairwise(bounds))
