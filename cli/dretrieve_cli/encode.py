"""``dretrieve encode``: the texts of a collection become vectors, in shards."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from dretrieve_cli.common import (
    ConfigFile,
    Device,
    DryRun,
    Force,
    Json,
    Output,
    Precision,
    Quiet,
    Settings,
    ShardOption,
    Threads,
    Verbose,
    Verify,
    execute,
    parse_settings,
)


class StoredType(StrEnum):
    """Number types on disk."""

    float16 = "float16"
    float32 = "float32"


def encode(
    model: Annotated[
        str,
        typer.Option(
            "--model",
            "-m",
            "--model-name-or-path",
            "--encoder",
            help="A model's folder, a hub name, or minilm.",
            rich_help_panel="Input",
        ),
    ],
    output: Output,
    corpus: Annotated[
        str | None,
        typer.Option("--corpus", metavar="DIR", help="Encode its passages.", rich_help_panel="Input"),
    ] = None,
    queries: Annotated[
        str | None,
        typer.Option(
            "--queries",
            "--topics",
            metavar="DIR[:split]",
            help="Encode its queries.",
            rich_help_panel="Input",
        ),
    ] = None,
    shard: ShardOption = None,
    device: Device = "auto",
    devices: Annotated[
        str | None,
        typer.Option(help="all, or cuda:0,cuda:1: one process each.", rich_help_panel="Compute"),
    ] = None,
    precision: Precision = "auto",
    dtype: Annotated[
        StoredType, typer.Option(help="Numbers on disk.", rich_help_panel="Compute")
    ] = StoredType.float16,
    set_: Settings = None,
    verify: Verify = "quick",
    threads: Threads = 0,
    force: Force = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    config: ConfigFile = None,
) -> None:
    """Turn the texts of a collection into vectors, in shards.

    Examples:
        dretrieve encode --model minilm --corpus work/pydocs --output work/emb
        dretrieve encode --model minilm --queries work/pydocs:test --output work/queries
        dretrieve encode --model minilm --corpus work/wiki --output work/emb --shard 3/16
    """
    from dretrieve.jobs import encode as job

    job_config = job.EncodeConfig(
        model=model,
        output=output,
        corpus=corpus,
        queries=queries,
        shard=shard,
        device=device,
        devices=devices,
        precision=precision,
        dtype=dtype.value,
        settings=parse_settings(set_),
        verify=verify == "full",
        force=force,
        dry_run=dry_run,
    )
    execute(lambda progress: job.run(job_config, progress), json=json, quiet=quiet, verbose=verbose)
