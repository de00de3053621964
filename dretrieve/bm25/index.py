"""The embedded BM25 index: exact top k with Lucene's scores, memory-mapped postings, threads over queries."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

import numpy as np

from dretrieve.bm25.analysis import MAX_TOKEN_LENGTH, normalize, plain_words, words
from dretrieve.bm25.max_score import Index, Queries, search
from dretrieve.bm25.postings import strongest
from dretrieve.bm25.scores import Bm25Options, idf, pair_factors
from dretrieve.store.ids import IdTable
from dretrieve.store.manifest import Manifest
from dretrieve.store.npy import map_array
from dretrieve.types import Run, offsets_of

_IN_MEMORY = 2_000_000  # terms; above, they are found by bisection in the file


class Bm25Index:
    """An opened index."""

    def __init__(self, folder: Path, manifest: Manifest, options: Bm25Options) -> None:
        self.manifest, self.options = manifest, options
        self.passage_ids = IdTable.open(folder / "ids.txt")
        self._terms = IdTable.open(folder / "terms.txt")
        names = ("offsets", "passages", "pairs", "id_ranks", "pair_frequencies", "pair_norms")
        offsets, passages, pairs, ranks, *columns = (map_array(folder / f"{name}.npy") for name in names)
        filled = manifest.counts["filled"]
        average = manifest.counts["total_terms"] / filled if filled else 1.0
        factors = pair_factors(columns[0], columns[1], average, options.k1, options.b)
        self._index = Index(offsets, passages, pairs, ranks, factors, strongest(offsets, pairs, factors))
        self._words = _Words(self._terms)

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
        as the page cache keeps them; give the queries in blocks. Arguments: see `WordIndex.search`.
        """
        k = min(k, max(len(self), 1))
        queries = self._queries(query_texts)
        passages = np.empty((len(query_texts), k), dtype=np.int32)
        scores = np.empty((len(query_texts), k), dtype=np.float32)
        counts = np.zeros(len(query_texts), dtype=np.int64)

        def part(span: tuple[int, int]) -> None:
            search(queries, self._index, *span, passages, scores, counts)

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
            offsets=offsets_of(counts),
            passages=passages[kept],
            scores=scores[kept],
            tag=tag,
        )

    def _queries(self, texts: Sequence[str]) -> Queries:
        """Return the terms of all queries, each once, weighted by repetitions times idf."""
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
        bounds = self._index.offsets
        rarity = idf(bounds[terms + 1] - bounds[terms], self.manifest.counts["filled"])
        return Queries(offsets.astype(np.int64), terms, repetitions.astype(np.float32) * rarity)


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
        if self._all is not None:
            row = self._all.get(term, -1)
        else:
            row = bisect_left(self._terms, term)
            row = row if row < len(self._terms) and self._terms[row] == term else -1
        self[word] = row
        return row


def _spans(count: int, threads: int) -> list[tuple[int, int]]:
    """Return slices of the queries: some per thread, so that long queries spread."""
    parts = 1 if threads <= 1 else min(count, threads * 4)
    bounds = [count * part // max(parts, 1) for part in range(max(parts, 1) + 1)]
    return list(pairwise(bounds))
