"""What ``read`` is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dretrieve.jobs.configs.base import (
    MODEL,
    QUERIES,
    Computing,
    ReadingRun,
    ReadingTopics,
    Sharded,
    Verifying,
    Writing,
    given,
)
from dretrieve.options import REQUIRED, option


@dataclass(frozen=True, kw_only=True)
class ReadConfig(Writing, ReadingTopics, ReadingRun, Sharded, Computing, Verifying):
    """Every question is read with its first passages of a run at once.

    A line of the output holds query_id, prediction, its log_probability, and the passages with the attention
    that the answer pays each of them. evaluate --predictions measures it. Shards, threads and interruptions
    change nothing; without --shard, finished parts beside the output are joined.

    Examples:
        dretrieve read --model reatt --run run.trec --queries nq:test --corpus nq --output answers.jsonl
        dretrieve read --model reatt --run run.trec --queries nq:test --depth 50 --shard 0/4 --output a.jsonl
        dretrieve evaluate --predictions answers.jsonl --answers nq:test --metrics "EM F1"
    """

    model: str = given(REQUIRED, "A reatt model's folder.", aliases=("-m", *MODEL))
    run: Path = given(REQUIRED, "The passages of each question, of any retriever.")
    queries: str = given(REQUIRED, "The questions.", metavar="DIR[:split]", aliases=QUERIES)
    corpus: str | None = given(
        None, "The passages that were searched, if not beside the questions.", metavar="DIR"
    )
    depth: int = option(10, "Passages that are read for a question.", least=1)
    beams: int = option(1, "Answers that are followed at once; 1 takes the likeliest token.", least=1)
