"""``dretrieve tokens``: exactly what a model sees of a text."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from dretrieve_cli.common import Json, Quiet, Verbose, execute


class SideName(StrEnum):
    """The two sides of a model."""

    query = "query"
    passage = "passage"


def tokens(
    text: Annotated[str, typer.Argument(help="The text.", show_default=False)],
    model: Annotated[
        str,
        typer.Option("--model", "-m", "--model-name-or-path", help="Folder, hub name or minilm."),
    ],
    side: Annotated[SideName, typer.Option(help="Whose template and length.")] = SideName.passage,
    title: Annotated[str, typer.Option(help="A passage's title.")] = "",
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    """Show exactly what is encoded for a text: template, pieces, ids, what is cut off. Loads no weights.

    Examples:
        dretrieve tokens "How does list.sort compare?" --model minilm --side query
        dretrieve tokens "Return the sum." --title math.fsum --model work/model --json
    """
    from dretrieve.jobs import tokens as job

    config = job.TokensConfig(model=model, text=text, title=title, side=side.value)
    execute(lambda progress: job.run(config, progress), json=json, quiet=quiet, verbose=verbose)
