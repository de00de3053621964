"""``dretrieve evaluate``: flags only; the work is `dretrieve.jobs.evaluate`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dretrieve_cli.common import (
    ConfigFile,
    DryRun,
    Force,
    Json,
    Quiet,
    Result,
    RunFormats,
    Threads,
    Verbose,
    execute,
)

INPUT, MEASURES, SHOWN = "Input", "Measures", "Output"


def evaluate(
    run: Annotated[
        list[Path] | None,
        typer.Option(
            "--run",
            "--runs",
            "--retrieval",
            help="A run in any form (TREC, MS MARCO, DPR JSON …); the first is the baseline.",
            rich_help_panel=INPUT,
        ),
    ] = None,
    run_format: RunFormats = None,
    qrels: Annotated[
        str | None,
        typer.Option(metavar="DIR[:SPLIT]", help="Judgements, or a qrels file.", rich_help_panel=INPUT),
    ] = None,
    answers: Annotated[
        str | None,
        typer.Option(metavar="DIR[:SPLIT]", help="Questions with answers, for top20.", rich_help_panel=INPUT),
    ] = None,
    corpus: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Passages searched (with --answers).", rich_help_panel=INPUT),
    ] = None,
    predictions: Annotated[
        list[Path] | None,
        typer.Option(help="A reader's answers by query id, for EM and F1.", rich_help_panel=INPUT),
    ] = None,
    metrics: Annotated[
        list[str] | None,
        typer.Option(
            "--metrics",
            "--metric",
            "-m",
            help='As ir_measures names them: "nDCG@10 RR@10 R@100 P(rel=2)@5"; trec_eval\'s ndcg_cut.10 too.',
            rich_help_panel=MEASURES,
        ),
    ] = None,
    depth: Annotated[
        int | None,
        typer.Option("--depth", "-M", min=1, help="Only the first hits count.", rich_help_panel=MEASURES),
    ] = None,
    drop_self: Annotated[
        bool,
        typer.Option(
            "--drop-self", help="Drop the hit that is the query itself (BEIR).", rich_help_panel=MEASURES
        ),
    ] = False,
    judged_only: Annotated[
        bool,
        typer.Option(
            "--judged-only",
            "--remove-unjudged",
            "-J",
            help="Drop unjudged hits first.",
            rich_help_panel=MEASURES,
        ),
    ] = False,
    retrieved_only: Annotated[
        bool,
        typer.Option(
            "--retrieved-only",
            help="Average over the run's queries; default: all judged, those missing count as 0.",
            rich_help_panel=MEASURES,
        ),
    ] = False,
    complete: Annotated[
        bool, typer.Option("--complete", "-c", help="The default, as trec_eval -c.", hidden=True)
    ] = False,
    level: Annotated[
        int | None, typer.Option("--level", "-l", help="Explained: write AP(rel=2).", hidden=True)
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            metavar="FIELD", help="Also by this field of the queries: macro, micro.", rich_help_panel=MEASURES
        ),
    ] = None,
    compare: Annotated[
        bool, typer.Option("--compare", help="Test every run against the first.", rich_help_panel=MEASURES)
    ] = False,
    seed: Annotated[int, typer.Option(help="Seed of the randomisation test.", rich_help_panel=MEASURES)] = 0,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="JSON file with means and every query.", rich_help_panel=SHOWN),
    ] = None,
    per_query: Annotated[
        bool, typer.Option("--per-query", help="Show every query too.", rich_help_panel=SHOWN)
    ] = False,
    form: Annotated[
        str, typer.Option("--format", help="terminal, markdown, latex, tsv or json.", rich_help_panel=SHOWN)
    ] = "terminal",
    force: Force = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    config: ConfigFile = None,
    threads: Threads = 0,
) -> None:
    """Score runs against judgements or answers.

    Values are trec_eval's; queries that the run lacks count as 0. Measures of judgements: AP, Bpref, ERR,
    GMAP, IPrec, Judged, nDCG, NumQ, NumRel, NumRelRet, NumRet, P, R, RBP, Rprec, RR, SetAP, SetF, SetP, SetR,
    Success, trec_eval's sets official, set and all_trec; of answers: top1, top20 and so on; of predictions:
    EM, F1.

    Examples:
        dretrieve evaluate --run run.trec --qrels work/pydocs:test --metrics "nDCG@10 R@100"
        dretrieve evaluate --run bm25.trec --run dense.trec --qrels work/pydocs:test --compare
        dretrieve evaluate --run run.trec --answers nq:test --corpus wiki --metrics "top20 top100"
    """
    from dretrieve.errors import UsageError
    from dretrieve.jobs import evaluate as job
    from dretrieve.jobs.evaluate import EvaluateConfig
    from dretrieve.metrics.relevance import RelevanceOptions
    from dretrieve.types import Progress

    def work(progress: Progress) -> Result:
        if complete and retrieved_only:
            raise UsageError("--complete and --retrieved-only exclude each other; leave one out")
        if level is not None:
            raise UsageError(
                f"the lowest relevant grade belongs to the measure, as in ir_measures: write AP(rel={level}) "
                f"or P(rel={level})@10 instead of -l {level}"
            )
        options = RelevanceOptions(
            depth=depth, drop_self=drop_self, judged_only=judged_only, retrieved_only=retrieved_only
        )
        job_config = EvaluateConfig(
            runs=tuple(run or ()),
            run_format=tuple(run_format or ()),
            predictions=tuple(predictions or ()),
            qrels=qrels,
            answers=answers,
            corpus=corpus,
            metrics=" ".join(metrics or ()),
            output=output,
            options=options,
            by=by,
            compare=compare,
            seed=seed,
            per_query=per_query,
            form=form,
            force=force,
            dry_run=dry_run,
        )
        result = job.run(job_config, progress)
        if json or form != "terminal":  # on a terminal they stand below the table
            for note in getattr(result, "all_notes", ()):
                progress.note(note)
        return result

    execute(work, json=json, quiet=quiet, verbose=verbose)
