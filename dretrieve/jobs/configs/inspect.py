"""What ``inspect`` is told."""

from __future__ import annotations

from dataclasses import dataclass

from dretrieve.jobs.configs.base import ReadingRun, Verifying
from dretrieve.options import REQUIRED, option


@dataclass(frozen=True, kw_only=True)
class InspectConfig(Verifying, ReadingRun):
    """Every artefact of dretrieve and every known form of other tools.

    The exit code is not 0 when it is unusable.

    Examples:
        dretrieve inspect work/index
        dretrieve inspect psgs_w100.tsv.gz
    """

    path: str = option(REQUIRED, "A file or folder of any kind.", argument=True)
