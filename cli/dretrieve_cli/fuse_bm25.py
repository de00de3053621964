"""``dretrieve fuse-bm25``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from dretrieve_cli.common import (
    ConfigFile,
    DryRun,
    Force,
    Json,
    Output,
    Quiet,
    Result,
    RunFormats,
    ShardOption,
    Threads,
    Verbose,
    execute,
)

TUNING = "Tuning"


def fuse_bm25(
    run: Annotated[Path, typer.Option("--run", "--dense-run", help="The dense run.")],
    bm25_run: Annotated[Path, typer.Option("--bm25-run", help="The BM25 run of the same queries.")],
    output: Output,
    run_format: RunFormats = None,
    alpha: Annotated[float, typer.Option("--alpha", help="score = dense + alpha x BM25.")] = 1.0,
    method: Annotated[str, typer.Option("--method", help="linear, or rrf (reciprocal ranks).")] = "linear",
    missing: Annotated[
        str,
        typer.Option(
            "--missing", help="A passage that one list lacks gets its lowest score (min) or 0 (zero)."
        ),
    ] = "min",
    depth: Annotated[int, typer.Option("--depth", min=1, help="Hits of each run looked at.")] = 100,
    hits: Annotated[int, typer.Option("--hits", "--k", min=1, help="Hits written per query.")] = 100,
    weight_on: Annotated[
        str, typer.Option("--weight-on", help="Whose score alpha multiplies: bm25, dense.")
    ] = "bm25",
    rrf_k: Annotated[float, typer.Option("--rrf-k", "--rrf.k", help="1 / (K + rank).")] = 60.0,
    tune: Annotated[
        str | None,
        typer.Option(
            "--tune", metavar="A:B:STEP", help="Try these alphas on the dev sets.", rich_help_panel=TUNING
        ),
    ] = None,
    qrels: Annotated[
        list[str] | None,
        typer.Option(
            "--qrels",
            metavar="DIR:SPLIT",
            help="Dev set with judgements; repeatable.",
            rich_help_panel=TUNING,
        ),
    ] = None,
    answers: Annotated[
        list[str] | None,
        typer.Option(
            "--answers", metavar="DIR:SPLIT", help="Dev set with answers; repeatable.", rich_help_panel=TUNING
        ),
    ] = None,
    corpus: Annotated[
        list[str] | None,
        typer.Option(
            "--corpus", metavar="DIR", help="Passages where --answers has none.", rich_help_panel=TUNING
        ),
    ] = None,
    dev_run: Annotated[
        list[Path] | None,
        typer.Option("--dev-run", help="Dense run of each dev set; else --run.", rich_help_panel=TUNING),
    ] = None,
    dev_bm25_run: Annotated[
        list[Path] | None,
        typer.Option(
            "--dev-bm25-run", help="BM25 run of each dev set; else --bm25-run.", rich_help_panel=TUNING
        ),
    ] = None,
    metric: Annotated[
        str | None,
        typer.Option("--metric", help="nDCG@10 by default; top20 with answers.", rich_help_panel=TUNING),
    ] = None,
    alpha_from: Annotated[
        Path | None,
        typer.Option(
            "--alpha-from", metavar="RUN", help="Take the alpha tuned for that run.", rich_help_panel=TUNING
        ),
    ] = None,
    shard: ShardOption = None,
    force: Force = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    config: ConfigFile = None,
    threads: Threads = 0,
) -> None:
    """Join a dense run with a BM25 run; tune the weight on dev sets.

    With --tune one alpha is chosen for all dev sets together and written, with the curve, into the run's
    manifest. Without --shard, finished parts beside the output are joined.

    Examples:
        dretrieve fuse-bm25 --run dense.trec --bm25-run bm25.trec --alpha 1.1 --output fused.trec
        dretrieve fuse-bm25 --run dev.trec --bm25-run dev-bm25.trec --tune 0.5:2:0.1 --qrels D:dev -o o.trec
        dretrieve fuse-bm25 --run test.trec --bm25-run test-bm25.trec --alpha-from o.trec --output fused.trec
    """
    from dretrieve.jobs import fuse_bm25 as job
    from dretrieve.jobs.fuse_bm25 import DevConfig
    from dretrieve.runs.fuse import FuseOptions
    from dretrieve.store.shards import parse_shard

    rule: dict[str, Any] = {"method": method, "missing": missing, "weight_on": weight_on}  # checked there

    def work(progress: Any) -> Result:
        options = FuseOptions(alpha=alpha, depth=depth, hits=hits, rrf_k=rrf_k, **rule)
        dev = DevConfig(
            qrels=tuple(qrels or ()),
            answers=tuple(answers or ()),
            corpus=tuple(corpus or ()),
            runs=tuple(dev_run or ()),
            bm25_runs=tuple(dev_bm25_run or ()),
            metric=metric,
        )
        job_config = job.FuseConfig(
            run=run,
            bm25_run=bm25_run,
            output=output,
            run_format=tuple(run_format or ()),
            options=options,
            tune=tune,
            dev=dev,
            alpha_from=alpha_from,
            shard=parse_shard(shard) if shard is not None else None,
            threads=threads,
            force=force,
            dry_run=dry_run,
        )
        return job.run(job_config, progress)

    execute(work, json=json, quiet=quiet, verbose=verbose)
