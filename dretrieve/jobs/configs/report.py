"""What ``report`` is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from dretrieve.jobs.configs.base import Careful, Verifying
from dretrieve.options import option

_recipe = partial(option, panel="Recipes")


@dataclass(frozen=True, kw_only=True)
class RecipeOptions:
    """What only recipes know."""

    profile: str = _recipe("", "Which of the recipe's profiles; the first by default.")
    work: Path | None = _recipe(None, "Where it ran; work/RECIPE/PROFILE by default.")
    readme: Path | None = _recipe(None, "Write the tables between this file's markers.", metavar="FILE")
    record: bool = _recipe(False, "Write our values into expected.yaml.")
    hardware: str = _recipe("", "What the values were measured on, for --record.")


@dataclass(frozen=True, kw_only=True)
class ReportConfig(Careful, Verifying):
    """Beside a paper's numbers, with verdicts, or systems side by side.

    A recipe's cell is filled only from a file that the recipe's own commands would not make anew: they are
    asked what stands behind it, down to the text. Exit code 5 when a cell fails.

    Examples:
        dretrieve report recipes/taser --profile mini
        dretrieve report recipes/taser --profile mini --output work/taser/report
        dretrieve report --row "BM25=work/bm25.json" --row "dense=work/dense.json" --output work/report.html
        dretrieve report work/quickstart --format markdown
    """

    target: Path | None = option(
        None,
        "A recipe's folder (with expected.yaml), or a work folder with metrics.",
        argument=True,
        metavar="[RECIPE|WORK]",
    )
    rows: tuple[str, ...] = option(
        (), "A row of a plain comparison; repeatable, in order.", flag="--row", metavar="NAME=FILE[#RUN]"
    )
    title: str = option("", "Of a plain comparison.")
    form: str = option(
        "terminal", "How it is printed.", legal=("terminal", "markdown", "html", "latex"), flag="--format"
    )
    output: Path | None = option(
        None, "A file (.html, .md, .tex), or a folder for all forms and the plots.", aliases=("-o",)
    )
    recipe: RecipeOptions = field(default_factory=RecipeOptions)
