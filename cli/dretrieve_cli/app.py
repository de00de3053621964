"""The front door: which commands there are, what a word on the command line means, which code comes back."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from dretrieve import __version__
from dretrieve_cli.streams import PROGRAM, fail, failure, no_room, open_streams, say, trace

# command -> (group, one line); all that ``dretrieve --help`` needs. Each is made from the config of its job.
COMMANDS: dict[str, tuple[str, str]] = {
    "prepare": ("Data", "Turn a source of text into a collection: passages, queries, judgements."),
    "encode": ("Retrieve", "Turn the texts of a collection into vectors, in shards."),
    "index": ("Retrieve", "Make vectors or words searchable: flat, approximate, of tokens, BM25."),
    "search": ("Retrieve", "Find the best passages for every query and write them as a run."),
    "merge": ("Retrieve", "Join the parts of a sharded search or index."),
    "fuse-bm25": ("Retrieve", "Join a dense run with a BM25 run; tune the weight on dev sets."),
    "read": ("Retrieve", "Answer questions out of the passages that a run found for them."),
    "ask": ("Retrieve", "Answer one question out of an index, and show where the answer looked."),
    "evaluate": ("Measure", "Score runs against judgements or answers, with significance."),
    "report": ("Measure", "Gather results into one table, with plots and verdicts."),
    "train": ("Learn", "Train a retriever by one of the methods (--help lists them)."),
    "adapt": ("Learn", "Choose an aligner's alignment of tokens by a few labelled queries."),
    "mine-negatives": ("Learn", "Take hard negatives from a run for the next round of training."),
    "convert": ("Learn", "Turn a checkpoint of other people's code into a model."),
    "modules": ("Learn", "List, export, add and remove the domains of a ddr model."),
    "tokens": ("Look", "Show exactly what is encoded for a text."),
    "explain": ("Look", "Say how a model reads texts: experts, domains, tokens, heads."),
    "inspect": ("Look", "Say what a file or folder is and what it was made from."),
    "validate": ("Look", "Check that artefacts are whole and fit together."),
    "array": ("Operate", "Run a stage as a Slurm job array: plan, submit, re-queue what is missing."),
    "doctor": ("Operate", "Say whether this machine is able, and cure what is not."),
}

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
    """Parse ``words`` with the command's options, run it; return its exit code."""
    path = f"{PROGRAM} {name}"

    def work() -> int:
        parser = parser_of(name, words)
        try:
            context = parser.make_context(path, list(words))
        except OSError as error:
            if error.errno and error.filename is None:  # the page of --help finds no room
                return no_room(error)
            raise
        with context:
            return int(parser.invoke(context))

    return guarded(work, path, verbose=bool({"--verbose", "-v"} & set(words)))


def guarded(work: Callable[[], int], path: str = PROGRAM, *, verbose: bool = False) -> int:
    """Do the work and return its exit code; an error is one line on stderr (``verbose``: after its trace)."""
    import typer

    from dretrieve_cli.parsing import explain_usage_error

    try:
        return work()
    except typer.Exit as stop:
        return int(stop.exit_code)
    except KeyboardInterrupt:
        return fail("interrupted; run the same command again", 130)
    except Exception as error:  # whatever it is, one line says it
        if isinstance(error, typer.BadParameter.__bases__[0]):  # all mistakes in the flags
            return fail(explain_usage_error(error, path), 2)
        if verbose:
            trace()
        return fail(*failure(error))


def parser_of(name: str, words: Sequence[str]) -> Any:
    """Return the command's parser, made from the config of the job of that name.

    Raises:
        UsageError: the words ask for options that nothing has.
    """
    from dretrieve_cli.command import command_from, run_job

    file, path, purpose = name.replace("-", "_"), f"{PROGRAM} {name}", COMMANDS[name][1]
    if name == "array":
        return import_module("dretrieve_cli.array").build(path, purpose, words)
    config = "".join(part.title() for part in name.split("-")) + "Config"
    kind = getattr(import_module(f"dretrieve.jobs.configs.{file}"), config)
    work = import_module("dretrieve_cli.plan").report if name == "report" else run_job
    return command_from(path, purpose, kind, work, words)


def unknown_command(word: str) -> str:
    """Return the sentence about a command that does not exist."""
    from difflib import get_close_matches

    from dretrieve_cli.renames import COMMAND_RENAMES

    if word.startswith("-"):
        return f"the command comes first: {PROGRAM} COMMAND {word} …; see {PROGRAM} --help"
    known = COMMAND_RENAMES.get(word.replace("_", "-"))
    near = get_close_matches(word.replace("_", "-"), COMMANDS, n=1)
    hint = f" {known}" if known else f" did you mean {near[0]}?" if near else ""
    return f"there is no command {word!r};{hint} {PROGRAM} --help lists the commands"


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
