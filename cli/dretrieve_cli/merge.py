"""The command ``merge``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dretrieve_cli.common import (
    ConfigFile,
    DryRun,
    Force,
    Json,
    Output,
    Quiet,
    Result,
    RunFormat,
    Verbose,
    Verify,
    execute,
)

if TYPE_CHECKING:
    from dretrieve.types import Progress


def merge(
    partials: Annotated[list[Path], typer.Argument(metavar="PARTIAL…", help="Runs of search --shard I/N.")],
    output: Output,
    run_format: RunFormat = "trec",
    verify: Verify = "quick",
    force: Force = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    config: ConfigFile = None,
) -> None:
    """Join the partial runs of a sharded search: the bytes of the run that one process writes.

    Gaps, overlaps and parts of different searches are refused.

    Examples:
        dretrieve merge part-0.trec part-1.trec part-2.trec part-3.trec --output run.trec
        dretrieve merge work/run.shard-*.trec --output work/run.trec
    """
    from dretrieve.jobs import merge as job

    def work(progress: Progress) -> Result:
        job_config = job.MergeConfig(
            partials=partials,
            output=output,
            run_format=run_format,
            verify=verify == "full",
            force=force,
            dry_run=dry_run,
        )
        return job.run(job_config, progress)

    execute(work, json=json, quiet=quiet, verbose=verbose)
