"""The command ``search``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

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
    Result,
    ShardOption,
    Threads,
    Verbose,
    Verify,
    execute,
    parse_settings,
)

if TYPE_CHECKING:
    from dretrieve.types import Progress

INPUT = "Input"


def search(
    index: Annotated[
        Path,
        typer.Option(
            "--index", "--passage-reps", help="An index, or embeddings as they are.", rich_help_panel=INPUT
        ),
    ],
    output: Output,
    queries: Annotated[
        str | None,
        typer.Option("--queries", "--topics", help="DIR:split, the questions.", rich_help_panel=INPUT),
    ] = None,
    topic_field: Annotated[
        str | None,
        typer.Option(
            help="Of TREC's topics: title (as is), description, narrative, or title+description.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", "--model-name-or-path", help="Encodes --queries.", rich_help_panel=INPUT),
    ] = None,
    query_embeddings: Annotated[
        Path | None,
        typer.Option(
            "--query-embeddings",
            "--query-reps",
            help="Queries encoded before, instead of --queries and --model.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    hits: Annotated[int, typer.Option("--hits", "--depth", min=1, help="Passages per query.")] = 1000,
    show: Annotated[int, typer.Option(min=0, help="Show so many questions with their passages.")] = 0,
    corpus: Annotated[
        str | None, typer.Option(help="Where --show finds the texts, if not where they were encoded.")
    ] = None,
    output_format: Annotated[
        Literal["trec", "msmarco", "tevatron"], typer.Option(help="Lines of the run; .gz and .zst compress.")
    ] = "trec",
    shard: ShardOption = None,
    set_: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="NAME=VALUE",
            help="A choice of the model, or of an approximate index (probes, ef_search); repeatable.",
        ),
    ] = None,
    k1: Annotated[float | None, typer.Option(help="BM25: other than the index was built with.")] = None,
    b: Annotated[float | None, typer.Option(help="BM25: likewise.")] = None,
    verify: Verify = "quick",
    device: Device = "auto",
    precision: Precision = "auto",
    force: Force = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    config: ConfigFile = None,
    threads: Threads = 0,
) -> None:
    """Find the best passages for every query and write them as a run.

    Scores and order do not depend on shards, threads or interruptions. With --shard I/N the passages are cut
    into N parts; merge joins the partial runs.

    Examples:
        dretrieve search --index work/index --queries work/pydocs:test --model minilm --output work/run.trec
        dretrieve search --index EMB --query-embeddings QEMB --shard 0/4 --output part-0.trec
    """
    from dretrieve.jobs import search as job
    from dretrieve.store.shards import parse_shard

    words = {name: value for name, value in (("k1", k1), ("b", b)) if value is not None}

    def work(progress: Progress) -> Result:
        job_config = job.SearchConfig(
            index=index,
            output=output,
            queries=queries,
            topic_field=topic_field,
            model=model,
            query_embeddings=query_embeddings,
            hits=hits,
            show=show,
            corpus=corpus,
            shard=parse_shard(shard) if shard else None,
            form=output_format,
            settings={**parse_settings(set_), **words},
            device=device,
            precision=precision,
            threads=threads,
            verify=verify == "full",
            force=force,
            dry_run=dry_run,
        )
        return job.run(job_config, progress)

    execute(work, json=json, quiet=quiet, verbose=verbose)
