"""``dretrieve train METHOD``: the options are those of every training, and METHOD's own.

Both come from dataclasses that import no torch, so the help is complete and quick, and a new method needs
nothing here.
"""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Callable, Iterator
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
    Threads,
    Verbose,
    execute,
)

KINDS = {"str": str, "int": int, "float": float, "bool": bool, "tuple[str, ...]": list[str]}
HELP = """Train a retriever: METHOD on a backbone, with questions and the passages that answer them.

Methods: {methods}. An interrupted training goes on when the same command is given again.

Examples:
{examples}
    torchrun --nproc-per-node 8 -m dretrieve_cli train {name} --backbone bert --data nq:train --output model
"""


def build(words: list[str]) -> Callable[..., None]:
    """Return the command for the METHOD among the words; without one, the help lists the methods.

    Raises:
        typer.BadParameter: no such method.
    """
    from dretrieve.errors import UsageError
    from dretrieve.models.registry import find, methods
    from dretrieve.training.options import TrainOptions

    name = words[0] if words and not words[0].startswith("-") else ""
    try:
        own = list(_own_fields(find(name).config())) if name else []
    except UsageError as error:
        raise typer.BadParameter(str(error)) from error

    def train(**values: Any) -> None:
        _run(values, [field.name for field in own])

    general = list(_own_fields(TrainOptions))
    parameters = [
        *_inputs(),
        *(_parameter(field, f"Method {name}") for field in own),
        *(_parameter(field, "Options") for field in general),
        *_common(),
    ]
    known = "; ".join(f"{key} ({entry.text})" for key, entry in methods().items())
    train.__doc__ = HELP.format(methods=known, examples=_examples(name), name=name or "dpr")
    train.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads it
    train.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return train


def _examples(name: str) -> str:
    """Return the lines of examples: the METHOD's, or one for each; a method without its own gets shared's."""
    from dretrieve.models.registry import METHODS, find

    chosen = {name: find(name)} if name else METHODS
    return "\n".join(f"    dretrieve train {method} {entry.example}" for method, entry in chosen.items())


def _own_fields(config: type) -> Iterator[dataclasses.Field[Any]]:
    yield from dataclasses.fields(config)


def _parameter(field: dataclasses.Field[Any], fallback: str) -> inspect.Parameter:
    """Return the command line's option for a field of a config dataclass."""
    kind = KINDS[field.type if isinstance(field.type, str) else field.type.__name__]
    known = field.metadata["option"]
    text = known.text + (f" One of {', '.join(map(str, known.legal))}." if known.legal else "")
    names = [f"--{field.name.replace('_', '-')}", *known.aliases]
    if kind is bool and field.default is True:
        names = [f"{names[0]}/--no-{names[0][2:]}"]
    option = typer.Option(*names, help=text, rich_help_panel=known.panel or fallback)
    return _keyword(field.name, Annotated[kind, option], [] if field.default == () else field.default)


def _keyword(name: str, annotation: Any, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _inputs() -> list[inspect.Parameter]:
    backbone = typer.Option(
        "--backbone",
        "--model",
        "--model-name-or-path",
        help="What it stands on: minilm, a model's folder, a name of the hub.",
    )
    data = typer.Option(
        "--data",
        metavar="DIR:SPLIT | EX.jsonl | KEY=VALUE,…",
        help="Questions and passages; repeat for several sets. Keys: name, path, split, weight, corpus, "
        "sample, phase.",
    )
    method = typer.Argument(metavar="METHOD", help="What to train.", show_default=False)
    return [
        _keyword("method", Annotated[str, method]),
        _keyword("backbone", Annotated[str, backbone]),
        _keyword("data", Annotated[list[str], data]),
        _keyword("output", Output),
    ]


def _common() -> list[inspect.Parameter]:
    return [
        _keyword("force", Force, False),
        _keyword("dry_run", DryRun, False),
        _keyword("json", Json, False),
        _keyword("quiet", Quiet, False),
        _keyword("verbose", Verbose, False),
        _keyword("config", ConfigFile, None),
        _keyword("threads", Threads, 0),
    ]


def _run(values: dict[str, Any], own: list[str]) -> None:
    """Run the job with the values of the command line."""

    def work(progress: Any) -> Any:
        from dretrieve.jobs import train as job
        from dretrieve.models.registry import find
        from dretrieve.training.options import TrainOptions

        names = [field.name for field in dataclasses.fields(TrainOptions)]
        phases = tuple(values["phase"])
        config = job.TrainConfig(
            method=values["method"].replace("-", "_"),
            method_config=find(values["method"]).config()(**{name: values[name] for name in own}),
            backbone=values["backbone"],
            data=tuple(values["data"]),
            output=Path(values["output"]),
            options=TrainOptions(**{name: values[name] for name in names if name != "phase"}, phase=phases),
            force=values["force"],
            dry_run=values["dry_run"],
        )
        return job.run(config, progress)

    alone = os.environ.get("WORLD_SIZE", "1") == "1"
    first = alone or os.environ.get("RANK", "0") == "0"  # torchrun's variables
    execute(work, json=values["json"], quiet=values["quiet"], verbose=values["verbose"], shown=first)
