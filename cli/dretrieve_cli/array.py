"""``dretrieve array``: a stage as a Slurm job array."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import fields
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import typer

from dretrieve.jobs.configs.array import ArrayConfig
from dretrieve_cli.command import Seen, command_from
from dretrieve_cli.streams import PROGRAM

# Stages whose every shard has an output of its own: as which, and as what a later command joins them.
OUTPUT_A_SHARD = {"search": ("run.{shard}.trec", "RUN"), "index": ("part.{shard}", "INDEX")}


def build(name: str, purpose: str, words: list[str]) -> Any:
    """Return the command's parser; words that are not ours are the stage's."""
    context = {"ignore_unknown_options": True, "allow_extra_args": True}
    return command_from(name, purpose, ArrayConfig, plan_stage, words, front=Seen, context=context)


def plan_stage(config: ArrayConfig, progress: Any, words: list[str]) -> Any:
    """Check the stage's words with its own parser, then run the job."""
    from dretrieve.jobs import array as job
    from dretrieve_cli.plan import ask

    values = stage_values(config.stage, words, config.shards)
    for line in config.then:
        check_command(tuple(shlex.split(line)))
    # a task's device is that of its machine, and no part of what it makes
    here = [word for name in ("device", "devices") if values.get(name) for word in (f"--{name}", "cpu")]
    resolved = job.Array(
        **{of.name: getattr(config, of.name) for of in fields(config)},
        words=(*words, *job.resolved_precision(values, config.resources.gpus)),
        output=Path(values["output"]),
        program=(sys.executable, "-m", "dretrieve_cli"),
        working_folder=Path.cwd(),
        environment=python_path(),
        rows=job.rows_of(config.stage, values),
        ask=lambda task: ask([*task, *here]),
    )
    return job.run(resolved, progress)


def stage_values(stage: str, words: list[str], shards: int) -> dict[str, Any]:
    """Return the stage's parameters by name after parsing its words with its own parser.

    Raises:
        typer.BadParameter: no such command, or one without ``--shard``.
    """
    if any(word.partition("=")[0] == "--shard" for word in words):
        raise typer.BadParameter("array writes --shard itself; give only --shards N")
    values = check_command((stage, *words, "--shard", f"0/{shards}"), sharded=True)
    if "output" not in values:
        raise typer.BadParameter(f"array needs a stage with --output; {stage} has none")
    if stage in OUTPUT_A_SHARD and "{shard}" not in str(values["output"]):
        part, whole = OUTPUT_A_SHARD[stage]
        raise typer.BadParameter(
            f"each shard of {stage} has an output of its own: put {{shard}} into --output, as in {part}, and "
            f"join them with --then 'merge {{outputs}} --output {whole}'"
        )
    return values


def check_command(words: tuple[str, ...], sharded: bool = False) -> dict[str, Any]:
    """Return a command's parameters by name; its own usage errors are raised as they are.

    Raises:
        typer.BadParameter: there is no such command, or (``sharded``) it cannot be cut into shards.
    """
    from dretrieve_cli.app import COMMANDS, parser_of, unknown_command

    name = words[0].replace("_", "-")
    if name not in COMMANDS or name == "array":
        raise typer.BadParameter(unknown_command(words[0]) if name != "array" else "array cannot run array")
    path = f"{PROGRAM} {name}"
    command = parser_of(name, words[1:])
    if sharded and "shard" not in {param.name for param in command.params}:
        raise typer.BadParameter(f"{name} has no --shard, so it cannot run as an array")
    return dict(command.make_context(path, list(words[1:])).params)


def python_path() -> dict[str, str]:
    """Return ``PYTHONPATH`` for the tasks when the program runs from a checkout that is not installed."""
    folders = []
    for package in ("dretrieve", "dretrieve_cli"):
        spec = find_spec(package)
        origin = Path(str(spec.origin)).resolve().parent.parent if spec else Path.cwd()
        if not origin.is_relative_to(Path(sys.prefix).resolve()):
            folders.append(str(origin))
    given = [os.path.abspath(part) for part in os.environ.get("PYTHONPATH", "").split(os.pathsep) if part]
    together = list(dict.fromkeys([*folders, *given]))
    return {"PYTHONPATH": os.pathsep.join(together)} if together else {}
