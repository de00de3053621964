"""What ``mine-negatives`` is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from dretrieve.jobs.configs.base import ReadingRun, Sharded, Verifying, Writing
from dretrieve.mining.options import MiningOptions
from dretrieve.options import REQUIRED, option


@dataclass(frozen=True, kw_only=True)
class MineNegativesConfig(Writing, ReadingRun, Sharded, Verifying):
    """Positives and copies of their text are always dropped.

    Without --shard, finished parts beside the output are joined.

    Examples:
        dretrieve mine-negatives --data work/squad:train --run work/train.trec --output work/hard.jsonl
        dretrieve mine-negatives --data nq:train --run bm25.trec --drop-answers --output hard.jsonl
    """

    data: str = option(REQUIRED, "Collection and split of the queries.", metavar="DIR:SPLIT")
    run: Path = option(REQUIRED, "Hits of these queries over this collection.")
    mining: MiningOptions = field(default_factory=MiningOptions)
    drop_answers: bool = option(False, "Drop passages that hold an answer.", panel="Filters")
