"""What ``merge`` is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dretrieve.jobs.configs.base import NAMED, Verifying, Writing, form_of_run
from dretrieve.options import REQUIRED, option


@dataclass(frozen=True, kw_only=True)
class MergeConfig(Writing, Verifying):
    """The bytes are those of the run, or index, that one process writes.

    Gaps, overlaps and parts of different searches or indexes are refused.

    Examples:
        dretrieve merge part-0.trec part-1.trec part-2.trec part-3.trec --output run.trec
        dretrieve merge work/run.shard-*.trec --output work/run.trec
        dretrieve merge work/index.part-* --output work/index
    """

    partials: tuple[Path, ...] = option(
        REQUIRED,
        "Runs of search --shard I/N, or folders of index --shard I/N, in any order.",
        argument=True,
        metavar="PARTIAL…",
    )
    run_format: str = form_of_run(
        "trec", f"What they are: {NAMED}; not msmarco, whose ranks say nothing between runs."
    )
