"""A command made from its job's config: options and help from the fields, the job's result to stdout.

A new command is a config in ``dretrieve/jobs/configs/``, a job with ``run(config, progress)`` and a line of
the table in app.py. Fields of the config that are dataclasses themselves give their options too.
"""

from __future__ import annotations

import inspect
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, dataclass, fields, is_dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Protocol, get_args, get_origin

import typer
from typer.main import get_command

from dretrieve.errors import SpokenWarning, UsageError
from dretrieve.jobs.configs.base import COMMON, Config, Inner
from dretrieve.options import Option, flag_of, legal_values, limits, option, option_of, types_of
from dretrieve.threads import allotted_threads
from dretrieve_cli.parsing import Command
from dretrieve_cli.progress import choose_progress
from dretrieve_cli.streams import said, show

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "RAYON_NUM_THREADS",
)


class Result(Protocol):
    """What a job returns: data for ``--json``, and a text or rich renderable for people.

    It may have an ``exit_code``, and ``beside(json)``: notes for stderr.
    """

    def as_json(self) -> Any:
        """Return what ``json.dumps`` takes."""
        ...

    def render(self) -> Any:
        """Return a string or a rich renderable."""
        ...


Work = Callable[[Any, Any, list[str]], Result]  # config, progress, words that are no options


@dataclass(frozen=True, kw_only=True)
class Seen(Config):
    """What every command takes for itself, of what is seen of its work."""

    json: bool = option(False, "Print the result as JSON.", panel=COMMON)
    quiet: bool = option(False, "No progress, no notes.", panel=COMMON, aliases=("-q",))
    verbose: bool = option(False, "Show libraries' warnings, and tracebacks.", panel=COMMON, aliases=("-v",))


@dataclass(frozen=True, kw_only=True)
class Front(Seen):
    """The same of a command that works here (``array`` lets them through to its stage)."""

    config: tuple[Path, ...] = option((), "Options from YAML; flags win.", panel=COMMON, metavar="FILE")
    threads: int = option(0, "CPU threads; 0 takes what the scheduler allots.", panel=COMMON, least=0)


def run_job(config: Config, progress: Any, words: list[str]) -> Result:
    """Import the job that the config is for, named as the config's module is, and run it."""
    name = type(config).__module__.rpartition(".")[2]
    result: Result = import_module(f"dretrieve.jobs.{name}").run(config, progress)
    return result


def command_from(
    path: str,
    purpose: str,
    kind: type[Config],
    work: Work,
    words: Sequence[str],
    *,
    front: type[Seen] = Front,
    context: Mapping[str, Any] | None = None,
) -> Any:
    """Return the parser of a command.

    Args:
        path: the command with the program's name.
        purpose: the first line of its help; the config's own text follows.
        kind: the config's dataclass.
        work: what is to be done with the config.
        words: of the command line; a config's options may depend on them.
        front: what it takes beside the config.
        context: settings of the parser.
    """
    inner = kind.inner(words)
    settings = {"help_option_names": ("-h", "--help"), **(context or {})}
    text = f"{purpose}\n\n{kind.help(words)}"
    inside, told = tuple(inner.items()), tuple(settings.items())
    return _command(path, text, kind, inside, work, front, told)  # type: ignore[arg-type]  # mypy: no class is hashable


@cache  # making one takes longer than most answers of the thousands of commands that a plan asks
def _command(
    path: str,
    text: str,
    kind: type[Config],
    inside: tuple[tuple[str, tuple[type, str]], ...],
    work: Work,
    front: type[Seen],
    settings: tuple[tuple[str, Any], ...],
) -> Any:
    inner = dict(inside)

    def call(context: typer.Context, **values: Any) -> int:
        seen = make(front, values)
        if isinstance(seen, Front):  # what `array` submits is told by its own machine
            values["threads"] = apply_threads(seen.threads)
        return execute(lambda progress: work(make(kind, values, inner), progress, list(context.args)), seen)

    parameters = [
        _keyword("context", typer.Context, None, ...),
        *parameters_of(kind, inner),
        *parameters_of(front),
    ]
    call.__doc__ = text
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]  # typer reads it
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    app = typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings=dict(settings),
    )
    app.command(name=path, cls=Command)(call)
    return get_command(app)


def execute(work: Callable[[Any], Result], seen: Seen | None = None) -> int:
    """Do the work, print its result, return the exit code: the result's own, where it has one.

    Of several processes that torchrun starts only the first prints.
    """
    seen = seen or Seen()
    if not seen.verbose and not sys.warnoptions:
        warnings.simplefilter("ignore")
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    warnings.simplefilter("once", SpokenWarning)
    warnings.showwarning = said
    from dretrieve.text.files import forget_streams

    progress = choose_progress(seen.quiet)
    try:
        result = work(progress)
        for note in result.beside(seen.json) if hasattr(result, "beside") else ():
            progress.note(note)
    finally:
        progress.close()
        forget_streams()
    several = os.environ.get("WORLD_SIZE", "1") != "1"  # torchrun's variables
    code = 0 if several and os.environ.get("RANK", "0") != "0" else show(result, seen.json)
    return code or int(getattr(result, "exit_code", 0))


def apply_threads(value: int) -> int:
    """Return the number of threads and put it where the numeric libraries look when they are imported.

    Without ``--threads`` a variable that the user set stays: then its number is taken for OpenMP.
    """
    chosen = value or allotted_threads()
    for name in THREAD_VARIABLES:
        if value:
            os.environ[name] = str(value)
        else:
            os.environ.setdefault(name, str(chosen))
    # Threads that spin for long while they wait starve whoever runs beside: two programs took five times one.
    # GNU's OpenMP goes round a little, else a thread falls asleep between two small operations.
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    return chosen


def parameters_of(kind: type, inner: Inner | None = None, panel: str = "") -> Iterator[inspect.Parameter]:
    """Yield the command line's parameters: what is required first, what the config's bases have last."""
    hints, own = types_of(kind), vars(kind).get("__annotations__", {})

    def place(field: Field[Any]) -> tuple[bool, bool]:
        return not _is_required(field), field.name not in own

    for field in sorted(fields(kind), key=place):
        known, (part, group) = option_of(field), _part(field, hints, inner)
        if is_dataclass(part):
            yield from parameters_of(part, None, group)  # type: ignore[arg-type]  # a class
        elif known is not None:
            if known.parse is not None or not known.shorthands:
                yield _parameter(field, known, hints[field.name], known.panel or panel)
            for name, (type_, text) in known.shorthands.items():
                spelled = f"--{name.replace('_', '-')}"
                about = typer.Option(spelled, help=text, rich_help_panel=known.panel or None)
                yield _keyword(name, type_ | None, about, None)


def make(kind: type[Any], values: Mapping[str, Any], inner: Inner | None = None) -> Any:
    """Return the config of what the command line gave.

    Raises:
        UsageError: a value that is not legal.
    """
    hints, given = types_of(kind), {}
    for field in fields(kind):
        known, (part, _) = option_of(field), _part(field, hints, inner)
        if is_dataclass(part):
            given[field.name] = make(part, values)  # type: ignore[arg-type]  # a class
            continue
        if (value := values.get(field.name)) is not None:
            given[field.name] = _read(value, field, known, hints[field.name])
        names = known.shorthands if known is not None else ()
        if shorts := {name: values[name] for name in names if values[name] is not None}:
            given[field.name] = given.get(field.name, {}) | shorts
    return kind.from_words(given) if issubclass(kind, Config) else kind(**given)


def _part(field: Field[Any], hints: Mapping[str, Any], inner: Inner | None) -> tuple[Any, str]:
    """Return the dataclass that a field of a config is, and the group of its options."""
    return (inner or {}).get(field.name, (hints[field.name], ""))


def _is_required(field: Field[Any]) -> bool:
    return field.default is MISSING and field.default_factory is MISSING


def _read(value: Any, field: Field[Any], known: Option | None, hint: Any) -> Any:
    """Return a field's value of the words that the command line gave."""
    if known is not None and known.words:
        if value not in known.words:
            raise UsageError(f"{flag_of(field)} {value}: expected {' or '.join(known.words)}")
        return known.words[value]
    if known is not None and known.parse is not None:
        return known.parse(value)
    return tuple(value) if get_origin(hint) is tuple else value


def _parameter(field: Field[Any], known: Option, hint: Any, panel: str) -> inspect.Parameter:
    legal = list(known.words) or [str(value) for value in legal_values(hint, known)]
    metavar = known.metavar or (f"<{'|'.join(legal)}>" if legal else None)
    bounds = limits(known)
    text = f"{known.text.removesuffix('.')} ({bounds})." if bounds not in ("", "from 0") else known.text
    about: dict[str, Any] = {"help": text, "metavar": metavar, "hidden": known.hidden}
    about |= {"rich_help_panel": panel or None}
    default = ... if _is_required(field) else field.default
    if known.words:
        default = next(word for word, value in known.words.items() if value == default)
    if default in ((), MISSING) or known.repeated:
        default = None
    if known.argument:
        return _keyword(field.name, _typed(hint, known), typer.Argument(show_default=False, **about), default)
    flag = flag_of(field)
    names = [f"{flag}/--no-{flag[2:]}" if default is True else flag, *known.aliases]
    return _keyword(field.name, _typed(hint, known), typer.Option(*names, **about), default)


def _typed(hint: Any, known: Option) -> Any:
    """Return the type that typer reads."""
    if known.parse is not None:
        return list[str] | None if known.repeated else str | None
    if get_origin(hint) is tuple:
        return list[get_args(hint)[0]] | None  # type: ignore[misc]  # of the field
    return str if known.words or legal_values(hint, known) else hint


def _keyword(name: str, type_: Any, about: Any, default: Any) -> inspect.Parameter:
    given = inspect.Parameter.empty if default is ... else default
    annotation = type_ if about is None else Annotated[type_, about]
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=given, annotation=annotation)
