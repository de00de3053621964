"""``dretrieve validate``: do these fit together."""

from __future__ import annotations

from typing import Annotated

import typer

from dretrieve_cli.common import Json, Quiet, RunFormat, Verbose, Verify, execute


def validate(
    paths: Annotated[
        list[str],
        typer.Argument(
            help="Collections (DIR[:split]), judgements, runs, examples, embeddings, indexes, models.",
            show_default=False,
        ),
    ],
    verify: Verify = "quick",
    run_format: RunFormat = "auto",
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Check that artefacts are whole and fit together; if a score is zero, say why.

    Exit code 3 when something is missing, 4 for bad input, 5 for what does not belong together.

    Examples:
        dretrieve validate work/pydocs:test work/run.trec
        dretrieve validate work/pydocs work/embeddings work/index work/run.trec
    """
    from dretrieve.jobs import validate as job

    job_config = job.ValidateConfig(paths=tuple(paths), full=verify == "full", run_format=run_format)
    execute(lambda progress: job.run(job_config, progress), json=json, quiet=quiet, verbose=verbose)
