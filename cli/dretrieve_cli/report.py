"""``dretrieve report``: the job, with the commands' own ``--dry-run`` to ask what is up to date."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dretrieve.jobs.configs.report import ReportConfig
from dretrieve_cli.command import command_from


def build(path: str, purpose: str, words: Sequence[str]) -> Any:
    """Return the command's parser."""
    return command_from(path, purpose, ReportConfig, report, words)


def report(config: ReportConfig, progress: Any, words: list[str]) -> Any:
    """Run the job."""
    from dretrieve.jobs import report as job
    from dretrieve.text.cache import reading_once
    from dretrieve_cli.plan import ask

    with reading_once():
        return job.run(config, progress, ask)
