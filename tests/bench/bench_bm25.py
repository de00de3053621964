"""BM25 beside bm25s: passages indexed per second and queries per second, one thread each, interleaved.

Run: ``python tests/bench/bench_bm25.py [--passages 100000] [--rounds 5]``.
Texts are generated: words of a Zipf law over 80,000 forms. Both sides cut words, drop stop words, stem and
index from the same strings (ours also writes and syncs the index, which bm25s keeps in memory); both search
with compiled loops, warm, top 100. bm25s keeps exact lengths where Lucene (and we) keep one byte, so hits
are compared by overlap. The rule: both ratios at least 1.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("NUMBA_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import bm25s
import numpy as np
import Stemmer
from bench_tokens import measured, overlap

from dretrieve.bm25.backends import build_words, open_words, plan_words
from dretrieve.order import id_ranks
from dretrieve.types import Record

K = 100
LETTERS = np.array(list("etaoinshrdlucmfwypvbgk"))


class Memory:
    """Records in memory, in the place of a text store."""

    sha256 = "generated"

    def __init__(self, records: Sequence[Record]) -> None:
        self._records = list(records)

    def __len__(self) -> int:
        return len(self._records)

    def ids(self, start: int, stop: int) -> list[str]:
        return [record.id for record in self._records[start:stop]]

    def records(self, start: int, stop: int) -> list[Record]:
        return self._records[start:stop]

    def id_ranks(self) -> np.ndarray:
        return id_ranks(self.ids(0, len(self)))


def make_texts(passages: int, queries: int) -> tuple[list[str], list[str]]:
    """Return passages of about 60 words and queries of about 6, none of them among the most frequent 30."""
    chance = np.random.default_rng(7)
    lengths = chance.integers(3, 11, 80_000)
    forms = np.array(["".join(chance.choice(LETTERS, size)) for size in lengths])
    weights = 1.0 / np.arange(1, len(forms) + 1)
    weights /= weights.sum()
    sizes = np.clip(chance.lognormal(4.0, 0.4, passages).astype(int), 5, 300)
    drawn = chance.choice(len(forms), sizes.sum(), p=weights)
    texts = [" ".join(forms[part]) for part in np.split(drawn, np.cumsum(sizes)[:-1])]
    tail = weights.copy()
    tail[:30] = 0
    asked = chance.choice(len(forms), (queries, 6), p=tail / tail.sum())
    return texts, [" ".join(forms[row]) for row in asked]


def theirs(texts: list[str]) -> bm25s.BM25:
    """Index with bm25s as its manual shows, Lucene's formula."""
    tokens = bm25s.tokenize(texts, stopwords="en", stemmer=Stemmer.Stemmer("porter"), show_progress=False)
    index = bm25s.BM25(method="lucene", k1=0.9, b=0.4, backend="numba")
    index.index(tokens, show_progress=False)
    return index


def their_search(index: bm25s.BM25, queries: list[str]) -> np.ndarray:
    """Search with bm25s: cut the queries, retrieve."""
    tokens = bm25s.tokenize(queries, stopwords="en", stemmer=Stemmer.Stemmer("porter"), show_progress=False)
    return index.retrieve(tokens, k=K, show_progress=False, n_threads=1).documents


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--passages", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=2_000)
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    texts, queries = make_texts(arguments.passages, arguments.queries)
    memory = Memory([Record(str(row), "", text) for row, text in enumerate(texts)])
    names = [str(row) for row in range(len(queries))]
    folder = Path(tempfile.mkdtemp(prefix="bench-bm25-"))
    seconds: dict[str, list[float]] = {"index": [], "search": [], "their index": [], "their search": []}
    for turn in range(arguments.rounds + 1):
        shutil.rmtree(folder, ignore_errors=True)
        ours_index = measured(lambda: build_words(plan_words(memory, folder, {}), memory))
        their_index = measured(lambda: theirs(texts))
        index = open_words(folder)
        ours = measured(lambda index=index: index.search(names, queries, K))
        peer = measured(lambda index=their_index.hits: their_search(index, queries))
        if turn:  # the first round compiles
            for name, one in zip(seconds, (ours_index, ours, their_index, peer), strict=True):
                seconds[name].append(one.cpu)
    shutil.rmtree(folder)
    middle = {name: statistics.median(values) for name, values in seconds.items()}
    run = ours.hits
    hits = [run.passages[run.offsets[q] : run.offsets[q + 1]].tolist() for q in range(len(queries))]
    print(
        f"{len(texts):,} passages, {len(queries):,} queries, k {K}, CPU seconds, median of {arguments.rounds}"
    )
    for name, count in (("index", len(texts)), ("search", len(queries))):
        own, peer_rate = count / middle[name], count / middle[f"their {name}"]
        print(f"{name:7} ours {own:10,.0f}/s   bm25s {peer_rate:10,.0f}/s   ratio {own / peer_rate:.2f}")
    print(f"overlap of the top {K}: {overlap(peer.hits.tolist(), hits):.3f}")
    if any(middle[name] > middle[f"their {name}"] for name in ("index", "search")):
        sys.exit(1)


if __name__ == "__main__":
    main()
