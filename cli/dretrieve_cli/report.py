"""``dretrieve report``: flags only; the work is `dretrieve.jobs.report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dretrieve_cli.common import ConfigFile, DryRun, Force, Json, Quiet, Verbose, execute

RECIPE = "Recipes"


def report(
    target: Annotated[
        Path | None,
        typer.Argument(
            metavar="[RECIPE|WORK]",
            help="A recipe's folder (with expected.yaml), or a work folder with metrics.",
            show_default=False,
        ),
    ] = None,
    row: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=FILE[#RUN]", help="A row of a plain comparison; repeatable, in order."),
    ] = None,
    title: Annotated[str, typer.Option(help="Of a plain comparison.")] = "",
    form: Annotated[str, typer.Option("--format", help="terminal, markdown, html or latex.")] = "terminal",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", help="A file (.html, .md, .tex), or a folder for all forms and the plots."
        ),
    ] = None,
    profile: Annotated[
        str,
        typer.Option(help="Which of the recipe's profiles; the first by default.", rich_help_panel=RECIPE),
    ] = "",
    work: Annotated[
        Path | None,
        typer.Option(help="Where it ran; work/RECIPE/PROFILE by default.", rich_help_panel=RECIPE),
    ] = None,
    readme: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Write the tables between this file's markers.", rich_help_panel=RECIPE
        ),
    ] = None,
    record: Annotated[
        bool,
        typer.Option("--record", help="Write our values into expected.yaml.", rich_help_panel=RECIPE),
    ] = False,
    hardware: Annotated[
        str, typer.Option(help="What the values were measured on, for --record.", rich_help_panel=RECIPE)
    ] = "",
    verify: Annotated[
        str, typer.Option(metavar="quick|full", help="full hashes every file again.")
    ] = "quick",
    force: Force = False,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
    config: ConfigFile = None,
) -> None:
    """Gather measured numbers: beside a paper's, with verdicts, or systems side by side.

    A recipe's cell is filled only from a file that the recipe's own commands would not make anew: they are
    asked what stands behind it, down to the text. Exit code 5 when a cell fails.

    Examples:
        dretrieve report recipes/dpr --profile mini
        dretrieve report recipes/dpr --profile mini --output work/dpr/report
        dretrieve report --row "BM25=work/bm25.json" --row "dense=work/dense.json" --output work/report.html
        dretrieve report work/quickstart --format markdown
    """
    from dretrieve.errors import UsageError
    from dretrieve.jobs import report as job
    from dretrieve.jobs.report_recipe import RecipeOptions
    from dretrieve.types import Progress
    from dretrieve_cli.plan import ask

    failed = False

    def work_on(progress: Progress) -> job.ReportResult:
        nonlocal failed
        if verify not in ("quick", "full"):
            raise UsageError(f"--verify takes quick or full, not {verify!r}")
        options = RecipeOptions(profile=profile, work=work, readme=readme, record=record, hardware=hardware)
        job_config = job.ReportConfig(
            target=target,
            rows=tuple(row or ()),
            title=title,
            form=form,
            output=output,
            recipe=options,
            verify=verify == "full",
            force=force,
            dry_run=dry_run,
        )
        result = job.run(job_config, progress, ask)
        failed = result.failed
        return result

    execute(work_on, json=json, quiet=quiet, verbose=verbose)
    if failed:
        raise typer.Exit(5)
