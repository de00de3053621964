"""``dretrieve explain``: what a model says of how it reads texts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dretrieve_cli.common import (
    ConfigFile,
    Device,
    DryRun,
    Force,
    Json,
    Precision,
    Quiet,
    Settings,
    Threads,
    Verbose,
    execute,
    parse_settings,
)


def explain(
    model: Annotated[
        str,
        typer.Option(
            "--model", "-m", "--model-name-or-path", help="A model's folder.", rich_help_panel="Input"
        ),
    ],
    corpus: Annotated[
        str, typer.Option(metavar="DIR", help="Its passages are read.", rich_help_panel="Input")
    ],
    queries: Annotated[
        str | None,
        typer.Option(
            "--queries",
            "--topics",
            metavar="DIR[:split]",
            help="Its queries are read.",
            rich_help_panel="Input",
        ),
    ] = None,
    limit: Annotated[
        int,
        typer.Option(min=0, help="Texts of each side, drawn by the seed; 0 all.", rich_help_panel="Input"),
    ] = 1000,
    seed: Annotated[int, typer.Option(help="Of the drawing.", rich_help_panel="Input")] = 42,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FOLDER", help="Also write explain.html and explain.json."),
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    set_: Settings = None,
    threads: Threads = 0,
    force: Force = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    config: ConfigFile = None,
) -> None:
    """Say how a model reads texts: for taser, which expert reads which tokens, queries beside passages.

    Examples:
        dretrieve explain --model work/taser --corpus work/squad --queries work/squad:dev
        dretrieve explain --model work/taser --corpus work/squad --limit 200 --output work/routing
    """
    from dretrieve.jobs import explain as job

    job_config = job.ExplainConfig(
        model=model,
        corpus=corpus,
        queries=queries,
        limit=limit,
        seed=seed,
        output=output,
        device=device,
        precision=precision,
        settings=parse_settings(set_),
        force=force,
        dry_run=dry_run,
    )
    execute(lambda progress: job.run(job_config, progress), json=json, quiet=quiet, verbose=verbose)
