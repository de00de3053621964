"""What all commands share: option types, and `execute`, which runs a job and turns errors into exit codes.

A command is one file ``cli/dretrieve_cli/<command>.py`` with one function of the command's name::

    from __future__ import annotations

    from pathlib import Path
    from typing import Annotated

    import typer

    from dretrieve_cli.common import ConfigFile, DryRun, Force, Json, Output, Quiet, Threads, Verbose, execute


    def search(
        index: Annotated[Path, typer.Option(help="Index or embeddings.", rich_help_panel="Input")],
        output: Output,
        hits: Annotated[int, typer.Option("--hits", "--depth", min=1, help="Passages per query.")] = 1000,
        force: Force = False, dry_run: DryRun = False, json: Json = False, quiet: Quiet = False,
        verbose: Verbose = False, config: ConfigFile = None, threads: Threads = 0,
    ) -> None:
        '''Find the best passages for every query and write them as a run.

        Examples:
            dretrieve search --index work/index --queries work/pydocs:test --model minilm --output run.trec
        '''
        from dretrieve.jobs import search as job  # heavy imports only here

        job_config = job.SearchConfig(index=index, output=output, hits=hits, force=force, …)
        execute(lambda progress: job.run(job_config, progress), json=json, quiet=quiet, verbose=verbose)

Add a row to ``COMMANDS`` in app.py and it is there. Declare names with dashes; underscores are accepted
everywhere. Further spellings of one option are further names in its ``typer.Option``. ``rich_help_panel``
groups options in the help. The docstring's ``Examples:`` section stands at the top of the help.
Values of ``--config`` and ``--set`` arrive parsed; ``threads`` arrives resolved (0 = what the scheduler
allots) and is already in the environment before numpy or torch load.
"""  # noqa: D214

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn, Protocol

import typer

from dretrieve.errors import ChangedWarning, DretrieveError, visible
from dretrieve.options import parse_settings as parse
from dretrieve_cli.streams import beyond, fail, is_beyond, not_installed, put, refused, unexpected

if TYPE_CHECKING:
    from dretrieve.types import Progress

COMMON = "Common"
THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMBA_NUM_THREADS",
    "RAYON_NUM_THREADS",
)


class Result(Protocol):
    """What a job returns: data for ``--json``, and a text or rich renderable for people."""

    def as_json(self) -> Any:
        """Return what ``json.dumps`` takes."""
        ...

    def render(self) -> Any:
        """Return a string or a rich renderable."""
        ...


def allotted_threads() -> int:
    """Return how many threads this process may use: the scheduler's allotment, else the CPU affinity."""
    for name in ("SLURM_CPUS_PER_TASK", "PBS_NUM_PPN", "NSLOTS", "LSB_DJOB_NUMPROC"):
        if os.environ.get(name, "").isdigit() and int(os.environ[name]) > 0:
            return int(os.environ[name])
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def apply_threads(value: int) -> int:
    """Return the number of threads and put it where the numeric libraries look when they are imported.

    Without ``--threads`` a variable that the user set stays: then its number is taken for OpenMP.
    """
    if value:
        chosen = value
        for name in THREAD_VARIABLES:
            os.environ[name] = str(chosen)
        return chosen
    given = os.environ.get("OMP_NUM_THREADS", "")
    chosen = int(given) if given.isdigit() and int(given) > 0 else allotted_threads()
    for name in THREAD_VARIABLES:
        os.environ.setdefault(name, str(chosen))
    return chosen


Output = Annotated[Path, typer.Option("--output", "-o", help="Where the result goes.")]
Force = Annotated[
    bool, typer.Option("--force", help="Replace a result of other options.", rich_help_panel=COMMON)
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Say what would be done and what it costs.", rich_help_panel=COMMON)
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON.", rich_help_panel=COMMON)]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no notes.", rich_help_panel=COMMON)]
Verbose = Annotated[
    bool,
    typer.Option("--verbose", "-v", help="Show libraries' warnings, and tracebacks.", rich_help_panel=COMMON),
]
Verify = Annotated[
    Literal["quick", "full"],
    typer.Option("--verify", help="full hashes every file again.", rich_help_panel=COMMON),
]
ConfigFile = Annotated[
    list[Path] | None,
    typer.Option("--config", metavar="FILE", help="Options from YAML; flags win.", rich_help_panel=COMMON),
]
Threads = Annotated[
    int,
    typer.Option(
        "--threads",
        min=0,
        callback=apply_threads,
        help="CPU threads; 0 takes what the scheduler allots.",
        rich_help_panel=COMMON,
    ),
]
Device = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda or cuda:N.", rich_help_panel="Compute")
]
Precision = Annotated[
    str, typer.Option("--precision", help="auto, fp32, bf16 or fp16.", rich_help_panel="Compute")
]
ShardOption = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="I/N",
        help="Do part I (from 0) of N only; array/N takes I from the job array.",
        rich_help_panel="Compute",
    ),
]
FORMS_OF_RUNS = "auto, trec, msmarco, tevatron, colbert, dpr, pyserini-json or ranx"
RunFormat = Annotated[
    str, typer.Option("--run-format", metavar="FORM", help=f"What the run is: {FORMS_OF_RUNS}.")
]
RunFormats = Annotated[
    list[str] | None,
    typer.Option(
        "--run-format", metavar="FORM", help=f"What the runs are, once or for each: {FORMS_OF_RUNS}."
    ),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="A choice of the model's method; repeatable."),
]


def parse_settings(words: list[str] | None) -> dict[str, Any]:
    """Return ``--set name=value`` words as a dict; values are read as YAML (numbers, true, lists, text).

    Raises:
        UsageError: a word without ``=``.
    """
    return parse(words or [])


def execute(
    work: Callable[[Progress], Result],
    *,
    json: bool = False,
    quiet: bool = False,
    verbose: bool = False,
    shown: bool = True,
) -> None:
    """Run the job, print its result to stdout; on an error print one line to stderr and exit with its code.

    Args:
        work: takes the progress display, returns the job's result.
        json: print ``result.as_json()``; otherwise ``result.render()``.
        quiet: no progress.
        verbose: show libraries' warnings, and the traceback of an error.
        shown: whether this process prints the result; of several that do one job only one does.

    Raises:
        typer.Exit: with the error's exit code, or with the result's ``exit_code`` where it has one.
    """
    import warnings

    if not verbose and not sys.warnoptions:
        warnings.simplefilter("ignore")
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    warnings.simplefilter("once", ChangedWarning)
    warnings.showwarning = said
    from dretrieve.text.files import forget_streams
    from dretrieve_cli.progress import choose_progress

    progress = choose_progress(quiet)
    try:
        result = work(progress)
    except DretrieveError as error:
        stop(str(error), error.exit_code, verbose)
    except typer.Exit:
        raise
    except KeyboardInterrupt:
        stop("interrupted; run the same command again", 130, verbose)
    except Exception as error:  # the machine's refusal, or a bug of ours: one line, its trace if asked for
        if is_beyond(error):
            stop(beyond(error), 3, verbose)
        if isinstance(error, OSError) and error.strerror:
            stop(refused(error), 3, verbose)
        if isinstance(error, ModuleNotFoundError):
            stop(not_installed(error), 3, verbose)
        stop(unexpected(error), 1, verbose)
    finally:
        progress.close()
        forget_streams()
    if shown:
        show(result, json)
    code = int(getattr(result, "exit_code", 0))
    if code:
        raise typer.Exit(code)


def said(message: Warning | str, category: type[Warning], *place: Any, **named: Any) -> None:
    """Print a warning as one line on stderr, also with ``--quiet``."""
    sys.stderr.write(
        f"dretrieve: {'' if category is ChangedWarning else category.__name__ + ': '}{message}\n"
    )


def stop(sentence: str, code: int, verbose: bool) -> NoReturn:
    """Print the sentence (and, if verbose, the traceback being handled) to stderr and exit."""
    if verbose:
        import traceback

        with suppress(OSError):
            sys.stderr.write(visible(traceback.format_exc()))
    raise typer.Exit(fail(sentence, code))


def show(result: Result, as_json: bool) -> None:
    """Print the result to stdout: JSON, plain text, or a rich renderable (without colour when piped).

    Raises:
        typer.Exit: stdout does not take it.
    """

    def write() -> None:
        if as_json:
            import json

            write_rendered(json.dumps(result.as_json(), indent=1, ensure_ascii=False))
        else:
            write_rendered(result.render())

    code = put(write)
    if code:
        raise typer.Exit(code)


def write_rendered(rendered: Any) -> None:
    """Write a text with its line end, and a rich renderable through a console; no terminal obeys either."""
    if isinstance(rendered, str):
        _note_escapes(rendered)
        sys.stdout.write(visible(rendered) + ("\n" if rendered and not rendered.endswith("\n") else ""))
        return
    from rich.console import Console

    Console(file=sys.stdout, width=None if sys.stdout.isatty() else 160, highlight=False).print(rendered)


def _note_escapes(text: str) -> None:
    """Say on stderr when stdout's encoding lacks characters of the text."""
    encoding = sys.stdout.encoding or "utf-8"
    try:
        text.encode(encoding, "strict" if "utf" not in encoding.lower() else "surrogatepass")
    except UnicodeEncodeError:
        sys.stderr.write(
            f"standard output is {encoding}: what it lacks is written as \\u and four digits; set "
            "PYTHONIOENCODING=utf-8 to get it as it is\n"
        )
