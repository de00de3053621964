"""A command made from its job's config: options and help from the fields, the job's result to stdout.

A new command is a config in ``dretrieve/jobs/configs/``, a job with ``run(config, progress)`` and a line of
the table in app.py. Fields of the config that are dataclasses themselves give their options too.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, get_args, get_origin

import typer
from typer.main import get_command

from dretrieve.errors import UsageError
from dretrieve.options import Option, flag_of, legal_values, option, option_of, types_of
from dretrieve_cli.common import COMMON, Result, apply_threads, execute
from dretrieve_cli.parsing import Command

Kinds = Mapping[str, type]  # of a config's field that is a dataclass, which one it is
NONE: Kinds = MappingProxyType({})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Front:
    """What every command takes for itself: not the job's."""

    json: bool = option(False, "Print the result as JSON.", panel=COMMON)
    quiet: bool = option(False, "No progress, no notes.", panel=COMMON, aliases=("-q",))
    verbose: bool = option(False, "Show libraries' warnings, and tracebacks.", panel=COMMON, aliases=("-v",))
    config: tuple[Path, ...] = option((), "Options from YAML; flags win.", panel=COMMON, metavar="FILE")
    threads: int = option(0, "CPU threads; 0 takes what the scheduler allots.", panel=COMMON, least=0)


def command_from(path: str, purpose: str, kind: type, work: Callable[..., Result], **more: Any) -> Any:
    """Return the parser of a command.

    Args:
        path: the command with the program's name.
        purpose: the first line of its help; the config's own text follows.
        kind: the config's dataclass.
        work: takes the config and the progress, returns the result.
        more: ``kinds`` for the config's fields that are dataclasses; ``shown``, whether this process prints;
            ``text`` for the help instead of the config's; ``context`` for the parser.
    """
    kinds: Kinds = more.get("kinds", NONE)

    def call(context: typer.Context, **values: Any) -> None:
        front = make(Front, values)
        values["threads"] = apply_threads(front.threads)

        def job(progress: Any) -> Result:
            given = {"words": list(context.args)} if more.get("context") else {}
            return work(make(kind, values, kinds), progress, **given)

        execute(job, json=front.json, quiet=front.quiet, verbose=front.verbose, shown=more.get("shown", True))

    keyword = inspect.Parameter("context", inspect.Parameter.KEYWORD_ONLY, annotation=typer.Context)
    parameters = [keyword, *parameters_of(kind, kinds), *parameters_of(Front)]
    call.__doc__ = f"{purpose}\n\n{more.get('text', inspect.getdoc(kind))}"
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads it
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    settings = {"help_option_names": ["-h", "--help"], **more.get("context", {})}
    app = typer.Typer(
        add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False, context_settings=settings
    )
    app.command(name=path, cls=Command)(call)
    return get_command(app)


def run_job(name: str) -> Callable[..., Result]:
    """Return what imports the job of that name and runs it."""

    def work(config: Any, progress: Any) -> Result:
        result: Result = import_module(f"dretrieve.jobs.{name}").run(config, progress)
        return result

    return work


def parameters_of(kind: type, kinds: Kinds = NONE) -> Iterator[inspect.Parameter]:
    """Yield the command line's parameters: what is required first, what the config's bases have last."""
    hints, own = types_of(kind), vars(kind).get("__annotations__", {})

    def place(field: dataclasses.Field[Any]) -> tuple[bool, bool]:
        required = field.default is field.default_factory is dataclasses.MISSING
        return not required, field.name not in own

    for field in sorted(dataclasses.fields(kind), key=place):
        known, inner = option_of(field), kinds.get(field.name, hints[field.name])
        if dataclasses.is_dataclass(inner):
            yield from parameters_of(inner)  # type: ignore[arg-type]  # a class
        elif known is not None:
            yield _parameter(field, known, hints[field.name])
            for name, (type_, text) in known.shorthands.items():
                yield _keyword(name, type_ | None, typer.Option(f"--{name}", help=text), None)


def make(kind: type, values: Mapping[str, Any], kinds: Kinds = NONE) -> Any:
    """Return the config of what the command line gave.

    Raises:
        UsageError: a value that is not legal.
    """
    hints, given = types_of(kind), {}
    for field in dataclasses.fields(kind):
        known, inner = option_of(field), kinds.get(field.name, hints[field.name])
        if dataclasses.is_dataclass(inner):
            given[field.name] = make(inner, values)  # type: ignore[arg-type]  # a class
            continue
        value = values.get(field.name)
        if value is not None:
            given[field.name] = _read(value, field, known, hints[field.name])
        shorts = {
            name: values[name] for name in (known.shorthands if known else ()) if values[name] is not None
        }
        if shorts:
            given[field.name] = given.get(field.name, {}) | shorts
    return kind(**given)


def _read(value: Any, field: dataclasses.Field[Any], known: Option | None, hint: Any) -> Any:
    """Return a field's value of the words that the command line gave."""
    if known is not None and known.words:
        if value not in known.words:
            raise UsageError(f"{flag_of(field)} {value}: expected {' or '.join(known.words)}")
        return known.words[value]
    if known is not None and known.parse is not None:
        return known.parse(value)
    return tuple(value) if get_origin(hint) is tuple else value


def _parameter(field: dataclasses.Field[Any], known: Option, hint: Any) -> inspect.Parameter:
    legal = list(known.words) or [str(value) for value in legal_values(hint, known)]
    metavar = known.metavar or (f"<{'|'.join(legal)}>" if legal else None)
    shared: dict[str, Any] = {"help": known.text, "metavar": metavar, "hidden": known.hidden}
    shared |= {"rich_help_panel": known.panel or None, "min": known.least, "max": known.most}
    default = field.default
    if default is dataclasses.MISSING:
        default = ... if field.default_factory is dataclasses.MISSING else None
    if known.words:
        default = next(word for word, value in known.words.items() if value == default)
    if default == ():
        default = None
    type_ = _typed(hint, known)
    if known.argument:
        return _keyword(field.name, type_, typer.Argument(show_default=False, **shared), default)
    flag = flag_of(field)
    names = [f"{flag}/--no-{flag[2:]}" if default is True else flag, *known.aliases]
    return _keyword(field.name, type_, typer.Option(*names, **shared), default)


def _typed(hint: Any, known: Option) -> Any:
    """Return the type that typer reads: of a part of a union, of a repeated option's list."""
    if known.parse is not None:
        return list[str] | None if known.repeated else str | None
    parts = [part for part in get_args(hint) if part is not type(None)]
    if get_origin(hint) is tuple:
        return list[parts[0]] | None  # type: ignore[valid-type]  # of the field
    if known.words or legal_values(hint, known):
        return str
    return hint


def _keyword(name: str, type_: Any, about: Any, default: Any) -> inspect.Parameter:
    given = inspect.Parameter.empty if default is ... else default
    return inspect.Parameter(
        name, inspect.Parameter.KEYWORD_ONLY, default=given, annotation=Annotated[type_, about]
    )
