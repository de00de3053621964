"""``dretrieve convert``: a checkpoint of other people's code becomes a model folder, a run another form."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dretrieve.models.foreign.forms import FORMS
from dretrieve_cli.common import (
    ConfigFile,
    DryRun,
    Force,
    Json,
    Output,
    Quiet,
    Result,
    RunFormat,
    Threads,
    Verbose,
    execute,
)

if TYPE_CHECKING:
    from dretrieve.types import Progress

MODEL, FOLDER, RUN = "Checkpoints", "Folders that do not say it", "Runs"
WRITERS = "; ".join(f"{name}: {form.text}" for name, form in FORMS.items())


def convert(
    source: Annotated[
        Path,
        typer.Argument(
            help="A checkpoint (.bin, .cp, .pt, .safetensors), a Hugging Face folder, or a run.",
            show_default=False,
        ),
    ],
    output: Output,
    form: Annotated[
        str | None,
        typer.Option("--from", metavar="FORM", help=f"Who wrote it. {WRITERS}.", rich_help_panel=MODEL),
    ] = None,
    backbone: Annotated[
        str | None,
        typer.Option(
            "--backbone",
            "-b",
            help="What it was trained from (its sizes and tokenizer): a folder or hub name.",
            rich_help_panel=MODEL,
        ),
    ] = None,
    pooling: Annotated[
        str | None,
        typer.Option(
            help="How token states become one vector: cls, mean, last, max, weightedmean or mean_sqrt_len.",
            rich_help_panel=FOLDER,
        ),
    ] = None,
    normalize: Annotated[
        str | None, typer.Option(help="Whether vectors get length 1: yes or no.", rich_help_panel=FOLDER)
    ] = None,
    query_max_len: Annotated[
        int | None, typer.Option(help="Longest query in tokens.", rich_help_panel=FOLDER)
    ] = None,
    passage_max_len: Annotated[
        int | None, typer.Option(help="Longest passage in tokens.", rich_help_panel=FOLDER)
    ] = None,
    query_template: Annotated[
        str | None, typer.Option(help="Form of a query, for example 'query: {text}'.", rich_help_panel=FOLDER)
    ] = None,
    passage_template: Annotated[
        str | None,
        typer.Option(help="Form of a passage, for example '{title} {text}'.", rich_help_panel=FOLDER),
    ] = None,
    output_format: Annotated[
        str | None,
        typer.Option(
            "--output-format",
            metavar="FORM",
            help="Form to write the run in: trec, msmarco, tevatron, dpr, contriever, pyserini-json or ranx.",
            rich_help_panel=RUN,
        ),
    ] = None,
    run_format: RunFormat = "auto",
    queries: Annotated[
        str | None,
        typer.Option(
            metavar="DIR[:SPLIT]", help="Questions and answers for dpr and its like.", rich_help_panel=RUN
        ),
    ] = None,
    corpus: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Passages, where --queries has none.", rich_help_panel=RUN),
    ] = None,
    force: Force = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    config: ConfigFile = None,
    threads: Threads = 0,
) -> None:
    """Turn a checkpoint of other people's code into a model folder, or a run into another form of run.

    No code inside a checkpoint is run. Every tensor that a vector depends on must be there and fit. A Hugging
    Face folder that names no pooling gets a card that does. Runs are read in every form; MS MARCO's holds
    ranks, from which 1 / rank becomes the score.

    Examples:
        dretrieve convert hf_bert_base.cp --from dpr --backbone google-bert/bert-base-uncased --output dpr
        dretrieve convert pytorch_model.bin --from taser --backbone Luyu/co-condenser-wiki --output taser
        dretrieve convert bert-base --pooling mean --normalize yes --output encoder
        dretrieve convert run.trec --output-format msmarco --output run.tsv
        dretrieve convert run.trec --output-format dpr --queries nq:test --corpus wiki --output nq.json
    """
    from dretrieve.errors import UsageError

    said = {
        "pooling": pooling,
        "normalize": normalize,
        "query_max_len": query_max_len,
        "passage_max_len": passage_max_len,
        "query_template": query_template,
        "passage_template": passage_template,
    }

    def work(progress: Progress) -> Result:
        if output_format is not None:
            from dretrieve.jobs import convert_run

            if form is not None or backbone is not None:
                raise UsageError("--from and --backbone are for checkpoints, --output-format is for runs")
            of_run = convert_run.ConvertRunConfig(
                run=source,
                run_format=run_format,
                output_format=output_format,
                output=output,
                queries=queries,
                corpus=corpus,
                force=force,
                dry_run=dry_run,
            )
            return convert_run.run(of_run, progress)
        from dretrieve.jobs import convert as job

        of_model = job.ConvertConfig(
            checkpoint=source,
            form=form or "",
            backbone=backbone or "",
            said={name: value for name, value in said.items() if value is not None},
            output=output,
            force=force,
            dry_run=dry_run,
        )
        return job.run(of_model, progress)

    execute(work, json=json, quiet=quiet, verbose=verbose)
