"""``dretrieve doctor``: is this machine able."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dretrieve_cli.common import Json, Quiet, Threads, Verbose, execute


def doctor(
    folder: Annotated[
        Path, typer.Option(exists=True, file_okay=False, help="Whose disk to look at.")
    ] = Path(),
    threads: Threads = 0,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Say whether this machine is able, and cure what is not.

    Exit code 3 when something required is missing.

    Examples:
        dretrieve doctor
        dretrieve doctor --json
    """
    from dretrieve.jobs import doctor as job

    execute(
        lambda progress: job.run(job.DoctorConfig(folder=folder)), json=json, quiet=quiet, verbose=verbose
    )
