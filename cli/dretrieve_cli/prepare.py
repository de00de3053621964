"""``dretrieve prepare``: a source of text becomes a collection."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dretrieve_cli.common import ConfigFile, DryRun, Force, Json, Output, Quiet, Verbose, execute


def prepare(
    source: Annotated[
        list[str] | None,
        typer.Argument(
            help="pydocs, beir:NAME, dpr:KEY, entityquestions:SPLIT, hf:NAME, or a file or folder in any "
            "known form (or none, and --corpus, --queries); several collections ([NAME=]DIR …) are joined "
            "over one corpus.",
            show_default=False,
        ),
    ] = None,
    *,
    output: Output,
    corpus: Annotated[
        Path | None,
        typer.Option(help="Passages, beside a source of queries or ids, or alone.", rich_help_panel="Input"),
    ] = None,
    queries: Annotated[
        Path | None,
        typer.Option(help="Queries, beside a source of passages or ids, or alone.", rich_help_panel="Input"),
    ] = None,
    qrels: Annotated[
        list[str] | None,
        typer.Option(metavar="[SPLIT=]FILE", help="Judgements; repeatable.", rich_help_panel="Input"),
    ] = None,
    topic_field: Annotated[
        str | None,
        typer.Option(
            help="Of TREC's topics: title (as is), description, narrative, or title+description.",
            rich_help_panel="Input",
        ),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option(help="Split of training rows and of queries that name none.", rich_help_panel="Input"),
    ] = None,
    mirror: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="Fetch from this base address, or copy from this folder.",
            rich_help_panel="Input",
        ),
    ] = None,
    unchecked: Annotated[
        bool,
        typer.Option(
            "--unchecked",
            help="With --mirror: its files need not be those whose checksums are published.",
            rich_help_panel="Input",
        ),
    ] = False,
    equal: Annotated[
        str,
        typer.Option(
            help="Joined passages are one when exact: title and text are equal; letters: their letters and "
            "digits are.",
            rich_help_panel="Join",
        ),
    ] = "exact",
    entities: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Keep of that joined set the questions about the title of a passage that holds an answer; "
            "repeatable.",
            rich_help_panel="Join",
        ),
    ] = None,
    force: Force = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    config: ConfigFile = None,
) -> None:
    """Turn a source of text into a collection: passages, queries, judgements.

    Examples:
        dretrieve prepare pydocs --output work/pydocs
        dretrieve prepare beir:scifact --output work/scifact
        dretrieve prepare collection.tsv --queries dev.tsv --qrels dev=qrels.dev.tsv --output work/marco
        dretrieve prepare nq-train.json.gz --split train --output work/nq
        dretrieve prepare entityquestions:test --output work/eq
        dretrieve prepare nq=work/nq eq=work/eq --equal letters --entities eq --output work/joined
    """
    from dretrieve.jobs import prepare as job
    from dretrieve.text.join import JoinOptions

    words = source or [str(path) for path in (corpus, queries) if path][:1]
    if not words:
        raise typer.BadParameter("name a SOURCE, or what it holds: --corpus FILE, --queries FILE")
    job_config = job.PrepareConfig(
        source=words[0],
        output=output,
        others=tuple(words[1:]),
        join=JoinOptions(equal=equal, entities=tuple(entities or ())),
        corpus=corpus,
        queries=queries,
        qrels=tuple(qrels or ()),
        split=split,
        topic_field=topic_field,
        mirror=mirror,
        unchecked=unchecked,
        force=force,
        dry_run=dry_run,
    )
    execute(lambda progress: job.run(job_config, progress), json=json, quiet=quiet, verbose=verbose)
