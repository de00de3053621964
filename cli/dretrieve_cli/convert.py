"""``dretrieve convert``: a checkpoint of other people's code becomes a model folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dretrieve.models.foreign.forms import FORMS
from dretrieve_cli.common import ConfigFile, DryRun, Force, Json, Output, Quiet, Threads, Verbose, execute

WRITERS = "; ".join(f"{name}: {form.text}" for name, form in FORMS.items())


def convert(
    checkpoint: Annotated[Path, typer.Argument(help="The file (.bin, .cp, .pt, .safetensors).")],
    form: Annotated[str, typer.Option("--from", metavar="FORM", help=f"Who wrote it. {WRITERS}.")],
    backbone: Annotated[
        str,
        typer.Option(
            "--backbone",
            "-b",
            help="What it was trained from (its sizes and tokenizer): a folder or hub name.",
        ),
    ],
    output: Output,
    force: Force = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    config: ConfigFile = None,
    threads: Threads = 0,
) -> None:
    """Turn a checkpoint of other people's code into a model that every command reads.

    No code inside a checkpoint is run. Every tensor that a vector depends on must be there and fit.

    Examples:
        dretrieve convert hf_bert_base.cp --from dpr --backbone google-bert/bert-base-uncased --output dpr
        dretrieve convert pytorch_model.bin --from taser --backbone Luyu/co-condenser-wiki --output taser
    """
    from dretrieve.jobs import convert as job

    job_config = job.ConvertConfig(
        checkpoint=checkpoint, form=form, backbone=backbone, output=output, force=force, dry_run=dry_run
    )
    execute(lambda progress: job.run(job_config, progress), json=json, quiet=quiet, verbose=verbose)
