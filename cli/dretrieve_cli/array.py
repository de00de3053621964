"""``dretrieve array``: a stage as a Slurm job array."""

from __future__ import annotations

import os
import shlex
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from dretrieve_cli.common import DryRun, Json, Quiet, Verbose, execute

# Words that are not ours belong to the stage; they are checked with its own parser before anything runs.
CONTEXT_SETTINGS = {"ignore_unknown_options": True, "allow_extra_args": True}
RESOURCES = "Resources of one task"
QUEUE = "Queue"
# Stages whose every shard is a file of its own, joined by a later command.
ONE_FILE_A_SHARD = {"search": "merge {outputs} --output RUN"}


def array(
    context: typer.Context,
    stage: Annotated[str, typer.Argument(help="The command to shard: encode, search, mine-negatives …")],
    shards: Annotated[int, typer.Option("--shards", min=1, help="Number of tasks.")],
    plan: Annotated[Path | None, typer.Option(help="Plan folder; default: OUTPUT.array.")] = None,
    submit: Annotated[
        bool, typer.Option("--submit", help="Hand it to Slurm.", rich_help_panel=QUEUE)
    ] = False,
    requeue: Annotated[
        bool, typer.Option("--requeue", help="Submit exactly what is missing.", rich_help_panel=QUEUE)
    ] = False,
    after: Annotated[
        list[str] | None,
        typer.Option(help="Job number or plan folder that must end well before.", rich_help_panel=QUEUE),
    ] = None,
    then: Annotated[
        list[str] | None,
        typer.Option(
            help="Command to run when all ended well: 'merge {outputs} --output RUN'.", rich_help_panel=QUEUE
        ),
    ] = None,
    replan: Annotated[
        bool, typer.Option("--replan", help="Replace a plan of other options.", rich_help_panel=QUEUE)
    ] = False,
    time: Annotated[str | None, typer.Option(help="Limit, as 2:00:00.", rich_help_panel=RESOURCES)] = None,
    partition: Annotated[str | None, typer.Option(help="Partition.", rich_help_panel=RESOURCES)] = None,
    account: Annotated[str | None, typer.Option(help="Account.", rich_help_panel=RESOURCES)] = None,
    memory: Annotated[
        str | None, typer.Option("--memory", "--mem", help="As 16G.", rich_help_panel=RESOURCES)
    ] = None,
    cpus: Annotated[
        int | None, typer.Option("--cpus", "--cpus-per-task", min=1, help="Cores.", rich_help_panel=RESOURCES)
    ] = None,
    gpus: Annotated[int | None, typer.Option(min=1, help="GPUs.", rich_help_panel=RESOURCES)] = None,
    at_once: Annotated[
        int | None, typer.Option(min=1, help="Most tasks running at a time.", rich_help_panel=RESOURCES)
    ] = None,
    sbatch: Annotated[
        list[str] | None,
        typer.Option(help="Further sbatch options, quoted as for a shell.", rich_help_panel=RESOURCES),
    ] = None,
    setup: Annotated[
        list[str] | None, typer.Option(help="A shell line before the command.", rich_help_panel=RESOURCES)
    ] = None,
    dry_run: DryRun = False,
    json: Json = False,
    quiet: Quiet = False,
    verbose: Verbose = False,
) -> None:
    r"""Plan a stage as a Slurm job array, submit it, and re-queue exactly the shards that are missing.

    All options that are not listed below are the stage's own and are checked before anything is written.

    Examples:
        dretrieve array encode --model minilm --corpus work/wiki --output work/emb --shards 16 --submit
        dretrieve array encode --model minilm --corpus work/wiki --output work/emb --shards 16 --requeue
        dretrieve array search --index EMB --query-embeddings Q --output run.{shard}.trec --shards 8 \
            --after EMB.array --then 'merge {outputs} --output run.trec' --submit
    """
    from dretrieve.jobs import array as job
    from dretrieve.jobs.slurm import Resources

    words = list(context.args)
    values = stage_values(stage, words, shards)
    output = Path(values["output"])
    following = tuple(tuple(shlex.split(line)) for line in then or [])
    for command in following:
        check_command(command)

    def work(progress: Any) -> job.ArrayResult:
        config = job.ArrayConfig(
            stage=stage,
            words=(*words, *job.resolved_precision(values, gpus)),
            output=output,
            shards=shards,
            folder=plan
            or output.with_name(output.name.replace(".{shard}", "").replace("{shard}", "") + ".array"),
            program=(sys.executable, "-m", "dretrieve_cli"),
            working_folder=Path.cwd(),
            environment=python_path(),
            rows=job.rows_of(stage, values),
            then=following,
            after=tuple(after or ()),
            resources=Resources(
                time=time,
                partition=partition,
                account=account,
                memory=memory,
                cpus=cpus,
                gpus=gpus,
                at_once=at_once,
                more=tuple(sbatch or ()),
                setup=tuple(setup or ()),
            ),
            submit=submit,
            requeue=requeue,
            force=replan,
            dry_run=dry_run,
        )
        return job.run(config, progress)

    execute(work, json=json, quiet=quiet, verbose=verbose)


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
    if stage in ONE_FILE_A_SHARD and "{shard}" not in str(values["output"]):
        raise typer.BadParameter(
            f"each shard of {stage} is a file of its own: put {{shard}} into --output, as in "
            f"run.{{shard}}.trec, and join them with --then '{ONE_FILE_A_SHARD[stage]}'"
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
    command, rest, path = parser_of(name, list(words[1:]))
    if sharded and "shard" not in {param.name for param in command.params}:
        raise typer.BadParameter(f"{name} has no --shard, so it cannot run as an array")
    return dict(command.make_context(path, rest).params)


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
