"""``dretrieve inspect``: what is this file or folder."""

from __future__ import annotations

from typing import Annotated

import typer

from dretrieve_cli.common import Json, Quiet, RunFormat, Verbose, Verify, execute


def inspect(
    path: Annotated[str, typer.Argument(help="A file or folder of any kind.", show_default=False)],
    verify: Verify = "quick",
    run_format: RunFormat = "auto",
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Say what a file or folder is, what is in it and what it was made from.

    Every artefact of dretrieve, every known form of other tools. The exit code is not 0 when it is unusable.

    Examples:
        dretrieve inspect work/index
        dretrieve inspect psgs_w100.tsv.gz
    """
    from dretrieve.jobs import inspect as job

    job_config = job.InspectConfig(path=path, verify=verify == "full", run_format=run_format)
    execute(lambda progress: job.run(job_config, progress), json=json, quiet=quiet, verbose=verbose)
