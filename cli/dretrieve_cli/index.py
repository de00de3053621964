"""The command ``index``."""

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
    Threads,
    Verbose,
    Verify,
    execute,
    parse_settings,
)

if TYPE_CHECKING:
    from dretrieve.types import Progress

WORDS = "Words"
TYPES = "flat (exact), bm25 (words), and the approximate hnsw, ivf, ivfpq"


def index(
    output: Output,
    embeddings: Annotated[
        Path | None,
        typer.Option(
            "--embeddings",
            "--input",
            "--passage-reps",
            help="Embeddings of passages, read in place.",
            rich_help_panel="Input",
        ),
    ] = None,
    corpus: Annotated[
        str | None, typer.Option(help="Collection, for --type bm25.", rich_help_panel="Input")
    ] = None,
    type: Annotated[str, typer.Option("--type", help=f"{TYPES}.")] = "flat",
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="NAME=VALUE", help="An option of the type (k1, m, …); repeatable."),
    ] = None,
    k1: Annotated[
        float | None, typer.Option(help="BM25: saturation of repeated words.  [0.9]", rich_help_panel=WORDS)
    ] = None,
    b: Annotated[
        float | None, typer.Option(help="BM25: weight of the length.  [0.4]", rich_help_panel=WORDS)
    ] = None,
    backend: Annotated[
        str | None, typer.Option(help="BM25: embedded or lucene.  [embedded]", rich_help_panel=WORDS)
    ] = None,
    verify: Verify = "quick",
    force: Force = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    config: ConfigFile = None,
    threads: Threads = 0,
) -> None:
    """Make vectors or words searchable.

    A flat index reads the embeddings where they stand and is exact; embeddings can also be searched without
    one.

    Examples:
        dretrieve index --embeddings work/embeddings --type flat --output work/index
        dretrieve index --corpus work/pydocs --type bm25 --output work/bm25
    """
    from dretrieve.jobs import index as job

    words = {name: value for name, value in (("k1", k1), ("b", b), ("backend", backend)) if value is not None}

    def work(progress: Progress) -> Result:
        job_config = job.IndexConfig(
            output=output,
            type=type,
            embeddings=embeddings,
            corpus=corpus,
            settings={**parse_settings(set_), **words},
            threads=threads,
            verify=verify == "full",
            force=force,
            dry_run=dry_run,
        )
        return job.run(job_config, progress)

    execute(work, json=json, quiet=quiet, verbose=verbose)
