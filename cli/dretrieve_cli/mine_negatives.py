"""``dretrieve mine-negatives``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from dretrieve_cli.common import (
    ConfigFile,
    DryRun,
    Force,
    Json,
    Output,
    Quiet,
    RunFormat,
    ShardOption,
    Threads,
    Verbose,
    execute,
)

if TYPE_CHECKING:
    from dretrieve.mining.negatives import Sampling

FILTERS = "Filters"


def mine_negatives(
    data: Annotated[
        str, typer.Option("--data", metavar="DIR:SPLIT", help="Collection and split of the queries.")
    ],
    run: Annotated[Path, typer.Option("--run", help="Hits of these queries over this collection.")],
    output: Output,
    run_format: RunFormat = "auto",
    num_negatives: Annotated[
        int, typer.Option("--num-negatives", "--n-sample", min=1, help="At most so many a query.")
    ] = 8,
    depth: Annotated[
        int, typer.Option("--depth", "--hits", min=1, help="Last rank looked at.", rich_help_panel=FILTERS)
    ] = 100,
    first_rank: Annotated[
        int, typer.Option("--first-rank", min=1, help="First rank looked at.", rich_help_panel=FILTERS)
    ] = 1,
    drop_answers: Annotated[
        bool,
        typer.Option("--drop-answers", help="Drop passages that hold an answer.", rich_help_panel=FILTERS),
    ] = False,
    margin: Annotated[
        float | None,
        typer.Option("--margin", help="Keep scores below the positive's by this.", rich_help_panel=FILTERS),
    ] = None,
    relative_margin: Annotated[
        float | None,
        typer.Option(
            "--relative-margin",
            help="Keep scores below the positive's by this share.",
            rich_help_panel=FILTERS,
        ),
    ] = None,
    sampling: Annotated[str, typer.Option("--sampling", help="random or top, of what stays.")] = "random",
    seed: Annotated[int, typer.Option("--seed", help="Of the sampling, folded with the query's id.")] = 42,
    shard: ShardOption = None,
    force: Force = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    config: ConfigFile = None,
    threads: Threads = 0,
) -> None:
    """Take hard negatives from a run for the next round of training.

    Positives and copies of their text are always dropped. Without --shard, finished parts beside the output
    are joined.

    Examples:
        dretrieve mine-negatives --data work/squad:train --run work/train.trec --output work/hard.jsonl
        dretrieve mine-negatives --data nq:train --run bm25.trec --drop-answers --output hard.jsonl
    """
    from dretrieve.jobs import mine_negatives as job
    from dretrieve.mining.negatives import MiningOptions
    from dretrieve.store.shards import parse_shard

    mining = MiningOptions(
        first_rank=first_rank,
        depth=depth,
        num_negatives=num_negatives,
        margin=margin,
        relative_margin=relative_margin,
        sampling=cast("Sampling", sampling),  # checked by the job's config
        seed=seed,
    )
    execute(
        lambda progress: job.run(
            job.MineNegativesConfig(
                data=data,
                run=run,
                output=output,
                run_format=run_format,
                mining=mining,
                drop_answers=drop_answers,
                shard=parse_shard(shard) if shard is not None else None,
                force=force,
                dry_run=dry_run,
            ),
            progress,
        ),
        json=json,
        quiet=quiet,
        verbose=verbose,
    )
