"""The front door: which commands there are, what a word on the command line means, which code comes back.

The table below is all that ``dretrieve --help`` needs; a command's module is imported when it is called.
A command module holds one function named like the command (see `dretrieve_cli.common`), or

* ``build(arguments) -> function``: the function whose options depend on the first words (``train METHOD``);
* ``COMMANDS``: a dict of sub-command name to function (``modules list``, ``modules add``).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from types import ModuleType
from typing import Any

from dretrieve import __version__
from dretrieve_cli.streams import (
    PROGRAM,
    beyond,
    fail,
    is_beyond,
    no_room,
    open_streams,
    refused,
    say,
    unexpected,
)

# command -> (group, one line). The module is dretrieve_cli.<command with underscores>.
COMMANDS: dict[str, tuple[str, str]] = {
    "prepare": ("Data", "Turn a source of text into a collection: passages, queries, judgements."),
    "encode": ("Retrieve", "Turn the texts of a collection into vectors, in shards."),
    "index": ("Retrieve", "Make vectors or words searchable: flat, approximate, BM25."),
    "search": ("Retrieve", "Find the best passages for every query and write them as a run."),
    "merge": ("Retrieve", "Join the partial runs of a sharded search."),
    "fuse-bm25": ("Retrieve", "Join a dense run with a BM25 run; tune the weight on dev sets."),
    "evaluate": ("Measure", "Score runs against judgements or answers, with significance."),
    "report": ("Measure", "Gather results into one table, with plots and verdicts."),
    "train": ("Learn", "Train a retriever by one of the methods (--help lists them)."),
    "mine-negatives": ("Learn", "Take hard negatives from a run for the next round of training."),
    "convert": ("Learn", "Turn a checkpoint of other people's code into a model."),
    "tokens": ("Look", "Show exactly what is encoded for a text."),
    "explain": ("Look", "Say how a model reads texts: which expert reads which tokens."),
    "inspect": ("Look", "Say what a file or folder is and what it was made from."),
    "validate": ("Look", "Check that artefacts are whole and fit together."),
    "array": ("Operate", "Run a stage as a Slurm job array: plan, submit, re-queue what is missing."),
    "doctor": ("Operate", "Say whether this machine is able, and cure what is not."),
}

FROM_CONFIGS = {"index", "search"}  # those without a module of their own

STAGE_MAP = """\
text --> vectors --> index --> run --> metrics --> table
 prepare  encode      index     search  evaluate    report
             ^                  | fuse-bm25
             | model            v
           train <-- mine-negatives"""

EXAMPLES = """\
  dretrieve prepare pydocs --output work/pydocs
  dretrieve search --index work/index --queries work/pydocs:test --model minilm --output work/run.trec
  dretrieve evaluate --run work/run.trec --qrels work/pydocs:test --metrics "nDCG@10 R@100\""""


def overview() -> str:
    """Return the text of ``dretrieve`` and ``dretrieve --help``: the map, the commands, three examples."""
    lines = [
        "Dense retrieval from raw text to the tables of papers, on one laptop or on a cluster.",
        "",
        *(f"  {line}" for line in STAGE_MAP.splitlines()),
        "",
        f"Usage: {PROGRAM} COMMAND [OPTIONS]      {PROGRAM} COMMAND --help for its options",
        "",
        "Examples:",
        *EXAMPLES.splitlines(),
    ]
    for group in dict.fromkeys(group for group, _ in COMMANDS.values()):
        lines += ["", f"{group}:"]
        lines += [f"  {name:<16}{line}" for name, (kind, line) in COMMANDS.items() if kind == group]
    lines += ["", f"  {PROGRAM} --version [--json]    versions of {PROGRAM} and of what it stands on"]
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line and return its exit code (see `dretrieve.errors`)."""
    open_streams()
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words[:1] == ["help"]:
        words = [*words[1:], "--help"]
    if not words or words[0] in ("-h", "--help"):
        return say(overview())
    if words[0] in ("-V", "--version"):
        return say(version("--json" in words))
    name = words[0].replace("_", "-")
    if name not in COMMANDS:
        return fail(unknown_command(words[0]), 2)
    try:
        return run_command(name, words[1:])
    except KeyboardInterrupt:
        return fail("interrupted", 130)


def run_command(name: str, words: list[str]) -> int:
    """Import the command's module, parse ``words`` with its options, run it; return its exit code."""
    import typer

    from dretrieve.errors import DretrieveError
    from dretrieve_cli.parsing import explain_usage_error

    usage_error: Any = typer.BadParameter.__bases__[0]
    path = f"{PROGRAM} {name}"
    try:
        command, words, path = parser_of(name, words)
        outcome = command.main(words, prog_name=path, standalone_mode=False)
    except typer.Exit as stop:
        return int(stop.exit_code)
    except typer.Abort:
        return fail("interrupted", 130)
    except usage_error as error:
        return fail(explain_usage_error(error, path), 2)
    except DretrieveError as error:
        return fail(str(error), error.exit_code)
    except ModuleNotFoundError as error:
        return fail(
            f"{path} needs {error.name}, which is not installed; {PROGRAM} doctor says how to get it", 3
        )
    except Exception as error:  # the machine's refusal, or a bug of ours: one line, its trace if asked for
        if is_beyond(error) and not {"--verbose", "-v"} & set(words):
            return fail(beyond(error), 3)
        if (
            isinstance(error, OSError) and error.errno and error.filename is None
        ):  # the page of --help finds no room
            return no_room(error)
        if {"--verbose", "-v"} & set(words):
            raise
        if isinstance(error, OSError) and error.strerror:
            return fail(refused(error), 3)
        return fail(unexpected(error), 1)
    return outcome if isinstance(outcome, int) else 0


def parser_of(name: str, words: list[str]) -> tuple[Any, list[str], str]:
    """Return the command's parser, the words left for it, and its full name.

    It is made from the config of the job of that name, or built by the command's own module.

    Raises:
        typer.BadParameter: no such sub-command.
    """
    file, path = name.replace("-", "_"), f"{PROGRAM} {name}"
    if name not in FROM_CONFIGS:
        function, words, path = choose(import_module(f"dretrieve_cli.{file}"), name, words)
        return command_of(function, path), words, path
    from dretrieve_cli.command import command_from, run_job

    config = "".join(part.title() for part in name.split("-")) + "Config"
    kind = getattr(import_module(f"dretrieve.jobs.configs.{file}"), config)
    return command_from(path, COMMANDS[name][1], kind, run_job(file)), words, path


def choose(module: ModuleType, name: str, words: list[str]) -> tuple[Callable[..., Any], list[str], str]:
    """Return the function that the words ask for, the words left for it, and its full name.

    Raises:
        typer.BadParameter: no such sub-command.
    """
    table: dict[str, Callable[..., Any]] | None = getattr(module, "COMMANDS", None)
    if table is None:
        build = getattr(module, "build", None)
        function = build(words) if build is not None else getattr(module, name.replace("-", "_"))
        return function, words, f"{PROGRAM} {name}"
    import typer

    word = words[0].replace("_", "-") if words else "--help"
    if word in ("-h", "--help"):
        lines = [f"  {part:<16}{(inner.__doc__ or '').splitlines()[0]}" for part, inner in table.items()]
        raise typer.Exit(
            say(
                "\n".join(
                    [f"{COMMANDS[name][1]}", "", f"Usage: {PROGRAM} {name} COMMAND [OPTIONS]", "", *lines]
                )
            )
        )
    if word not in table:
        raise typer.BadParameter(
            f"no sub-command {word!r}; there are {', '.join(table)}{did_you_mean(word, table)}"
        )
    return table[word], words[1:], f"{PROGRAM} {name} {word}"


def command_of(function: Callable[..., Any], path: str) -> Any:
    """Return the parser made from the function's annotated parameters.

    A module may hold ``CONTEXT_SETTINGS`` for its parser (``array`` lets words through to the stage).
    """
    import typer
    from typer.main import get_command

    from dretrieve_cli.parsing import Command

    app = typer.Typer(
        add_completion=False,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={
            "help_option_names": ["-h", "--help"],
            **getattr(sys.modules.get(function.__module__), "CONTEXT_SETTINGS", {}),
        },
    )
    app.command(name=path, cls=Command)(function)
    return get_command(app)


def unknown_command(word: str) -> str:
    """Return the sentence about a command that does not exist."""
    from dretrieve_cli.renames import COMMAND_RENAMES

    if word.startswith("-"):
        return f"the command comes first: {PROGRAM} COMMAND {word} …; see {PROGRAM} --help"
    known = COMMAND_RENAMES.get(word.replace("_", "-"))
    hint = f" {known}" if known else did_you_mean(word.replace("_", "-"), COMMANDS)
    return f"there is no command {word!r};{hint or ''} {PROGRAM} --help lists the commands"


def did_you_mean(word: str, known: Sequence[str] | dict[str, Any]) -> str:
    """Return `` did you mean X?`` for the nearest known word, or nothing."""
    from difflib import get_close_matches

    near = get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f" did you mean {near[0]}?" if near else ""


def version(as_json: bool) -> str:
    """Return the versions of dretrieve, Python and, in JSON, of the libraries that decide results."""
    import platform

    if not as_json:
        return f"{PROGRAM} {__version__} (Python {platform.python_version()})"
    import json
    from importlib.metadata import PackageNotFoundError
    from importlib.metadata import version as installed

    found: dict[str, str | None] = {PROGRAM: __version__, "python": platform.python_version()}
    for library in ("torch", "transformers", "numpy", "numba", "faiss-cpu", "faiss-gpu", "datasets"):
        try:
            found[library] = installed(library)
        except PackageNotFoundError:
            found[library] = None
    return json.dumps(found, indent=1)
