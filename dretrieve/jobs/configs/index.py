"""What ``index`` is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dretrieve.jobs.configs.base import Sharded, Verifying, Writing, choices, given
from dretrieve.options import option


@dataclass(frozen=True, kw_only=True)
class IndexConfig(Writing, Sharded, Verifying):
    """A flat index reads the embeddings where they stand and is exact.

    Embeddings can also be searched without an index. With --shard I/N the codes of a token index are made in
    N parts; merge joins them.

    Examples:
        dretrieve index --embeddings work/embeddings --type flat --output work/index
        dretrieve index --corpus work/pydocs --type bm25 --output work/bm25
        dretrieve index --embeddings EMB --type token --set only=centroids --output centroids
        dretrieve index --embeddings EMB --type token --set centroids=centroids --shard 0/4 --output part-0
    """

    embeddings: Path | None = given(
        None, "Embeddings of passages, read in place.", aliases=("--input", "--passage-reps")
    )
    corpus: str | None = given(None, "Collection, for --type bm25.")
    type: str = option(
        "flat", "flat (exact), token (a vector per token), bm25 (words), approximate hnsw, ivf, ivfpq."
    )
    settings: Mapping[str, Any] = choices(
        "An option of the type (k1, m, bits, keep, …); repeatable.",
        shorthands={
            "k1": (float, "BM25: saturation of repeated words.  [0.9]"),
            "b": (float, "BM25: weight of the length.  [0.4]"),
            "backend": (str, "BM25: embedded or lucene.  [embedded]"),
        },
    )
    threads: int = 1
