"""What ``search`` is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from dretrieve.errors import UsageError
from dretrieve.jobs.configs.base import (
    MODEL,
    QUERIES,
    Computing,
    ReadingTopics,
    Sharded,
    Verifying,
    Writing,
    choices,
    given,
)
from dretrieve.options import REQUIRED, check, option, refuse_given


@dataclass(frozen=True, kw_only=True)
class AskingConfig(Writing, ReadingTopics, Computing, Verifying):
    """Of jobs that ask an index: which one, and the queries with what encodes them."""

    index: Path = given(REQUIRED, "An index, or embeddings as they are.", aliases=("--passage-reps",))
    queries: str | None = given(None, "DIR:split, the questions.", aliases=QUERIES)
    model: str | None = given(None, "Encodes --queries.", aliases=MODEL)
    query_embeddings: Path | None = given(
        None, "Queries encoded before, instead of --queries and --model.", aliases=("--query-reps",)
    )
    threads: int = 1

    def __post_init__(self) -> None:
        check(self)
        if self.topic_field and self.queries is None:
            raise UsageError("--topic-field goes with --queries: encoded queries have their text already")
        if (self.queries is None) == (self.query_embeddings is None):
            raise UsageError("give either --queries DIR:split (with --model) or --query-embeddings EMB")
        if self.query_embeddings is not None:
            why = "is for encoding --queries, and --query-embeddings are encoded already; leave it out"
            refuse_given(self, ("model",), why)


@dataclass(frozen=True, kw_only=True)
class SearchConfig(AskingConfig, Sharded):
    """Scores and order do not depend on shards, threads or interruptions.

    With --shard I/N the passages are cut into N parts; merge joins the partial runs.

    Examples:
        dretrieve search --index work/index --queries work/pydocs:test --model minilm --output work/run.trec
        dretrieve search --index EMB --query-embeddings QEMB --shard 0/4 --output part-0.trec
    """

    hits: int = option(1000, "Passages per query.", least=1, aliases=("--depth",))
    show: int = option(0, "Show so many questions with their passages.", least=0)
    corpus: str | None = option(None, "Where --show finds the texts, if not where they were encoded.")
    form: Literal["trec", "msmarco", "tevatron"] = option(
        "trec", "Lines of the run; .gz and .zst compress.", flag="--output-format"
    )
    settings: Mapping[str, Any] = choices(
        "A choice of the model or of the index (probes, ef_search, mode, alignment, …); repeatable.",
        shorthands={
            "k1": (float, "BM25: other than the index was built with."),
            "b": (float, "BM25: likewise."),
        },
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.show:
            why = "is where --show finds the texts; give --show N too, or leave it out"
            refuse_given(self, ("corpus",), why)
        if self.shard is not None and self.form != "trec":
            raise UsageError(
                "a partial run must keep its scores to be merged; write --output-format trec with --shard"
            )
