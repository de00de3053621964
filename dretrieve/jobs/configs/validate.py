"""What ``validate`` is told."""

from __future__ import annotations

from dataclasses import dataclass

from dretrieve.jobs.configs.base import ReadingRun, Verifying
from dretrieve.options import REQUIRED, option


@dataclass(frozen=True, kw_only=True)
class ValidateConfig(Verifying, ReadingRun):
    """If a score is zero, it says why.

    Exit code 3 when something is missing, 4 for bad input, 5 for what does not belong together.

    Examples:
        dretrieve validate work/pydocs:test work/run.trec
        dretrieve validate work/pydocs work/embeddings work/index work/run.trec
    """

    paths: tuple[str, ...] = option(
        REQUIRED,
        "Collections (DIR[:split]), judgements, runs, answers, examples, embeddings, indexes, models.",
        argument=True,
    )
