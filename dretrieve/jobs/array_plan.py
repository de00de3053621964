"""The plan of a job array: what is run, the shard map, the scripts. For `array`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dretrieve.errors import PreconditionError, VerificationError
from dretrieve.jobs.slurm import SHARD, Resources, Script, task_numbers
from dretrieve.store.shards import shard_rows, shard_stem
from dretrieve.store.stage import Stage
from dretrieve.types import Texts

VERSION = 1
PLAN = "plan.json"
OUTPUTS = "{outputs}"


@dataclass(frozen=True, kw_only=True, slots=True)
class ArrayConfig:
    """What `run` needs.

    Attributes:
        stage: the command (``encode``).
        words: its options as typed, with the precision resolved, without ``--shard``.
        output: the stage's ``--output``; with ``{shard}`` in it where each shard is a file of its own.
        shards: number of tasks.
        folder: where the plan goes.
        program: the words that start dretrieve (``python -m dretrieve_cli``).
        working_folder: where relative paths of ``words`` start.
        environment: variables that the tasks need (``PYTHONPATH`` of a checkout).
        rows: rows of the collection side that is cut, and its sha256; None where a run is cut instead.
        then: commands to run once all tasks ended well, one after the other; the word ``{outputs}`` becomes
            the outputs of all shards.
        after: job numbers, or plan folders of other arrays, that must have ended well before.
        resources: what a task asks of the cluster.
        submit: hand the array to Slurm.
        requeue: submit only the shards that are neither finished nor queued.
        force: replace a plan of other options.
        dry_run: write nothing, submit nothing.
    """

    stage: str
    words: tuple[str, ...]
    output: Path
    shards: int
    folder: Path
    program: tuple[str, ...]
    working_folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    rows: tuple[int, str] | None = None
    then: tuple[tuple[str, ...], ...] = ()
    after: tuple[str, ...] = ()
    resources: Resources = field(default_factory=Resources)
    submit: bool = False
    requeue: bool = False
    force: bool = False
    dry_run: bool = False


def write_plan(config: ArrayConfig) -> None:
    """Write ``plan.json`` with its manifest, or find it up to date.

    Raises:
        PreconditionError: the folder holds the plan of other options.
        VerificationError: the plan was changed by hand.
    """
    stage = Stage(
        config.folder,
        "folder",
        "array",
        version=VERSION,
        options={
            "stage": config.stage,
            "words": list(config.words),
            "shards": config.shards,
            "then": [list(words) for words in config.then],
            "folder": str(config.working_folder),
        },
        inputs={} if config.rows is None else {"texts": config.rows[1]},
        force=config.force,
    )
    try:
        if stage.up_to_date():
            return
    except (PreconditionError, VerificationError) as error:
        cure = str(error).replace("--force", "--replan").replace("--output", "--plan")
        raise type(error)(cure) from error
    with stage.write(PLAN, text=True) as file:
        json.dump(plan_of(config), file, indent=1, sort_keys=True)
        file.write("\n")
    stage.commit(counts={"shards": config.shards})


def plan_of(config: ArrayConfig) -> dict[str, Any]:
    """Return the plan: the command and, by shard, what it does and where its result will stand."""
    tasks = []
    for index in range(config.shards):
        task: dict[str, Any] = {
            "index": index,
            "shard": f"{index}/{config.shards}",
            "stem": shard_stem(index, config.shards),
        }
        if config.rows is not None:
            shard = shard_rows(config.rows[0], index, config.shards)
            task |= {"start": shard.start, "stop": shard.stop}
        tasks.append(task)
    return {
        "command": [config.stage, *config.words, "--shard", f"array/{config.shards}"],
        "folder": str(config.working_folder),
        "output": str(config.output),
        "rows": config.rows[0] if config.rows is not None else None,
        "tasks": tasks,
        "then": [list(words) for words in config.then],
    }


def make_scripts(config: ArrayConfig) -> dict[Path, Script]:
    """Return the array's script and those of the commands after it, by file."""
    folder = config.folder.resolve()
    logs = Path(str(folder / "logs").replace("%", "%%"))
    everything = task_numbers(range(config.shards), config.resources.at_once)
    scripts = {
        folder / "array.sh": Script(
            name=f"dretrieve-{config.stage}",
            command=(*config.program, config.stage, *config.words, "--shard", f"array/{config.shards}"),
            folder=config.working_folder,
            log=logs / "%A_%a.log",
            environment=config.environment,
            resources=config.resources,
            array=everything,
            shards=config.shards,
            note="One task by hand: SLURM_ARRAY_TASK_ID=0 bash " + shlex.quote(str(folder / "array.sh")),
        )
    }
    outputs = [str(shard_output(config.output, index, config.shards)) for index in range(config.shards)]
    for number, words in enumerate(config.then):
        given = [part for word in words for part in (outputs if word == OUTPUTS else [word])]
        scripts[folder / f"then-{number}.sh"] = Script(
            name=f"dretrieve-{words[0]}",
            command=(*config.program, *given),
            folder=config.working_folder,
            log=logs / "%j.log",
            environment=config.environment,
            resources=config.resources,
        )
    return scripts


def shard_output(output: Path, index: int, count: int) -> Path:
    """Return where a shard's result goes: the output itself, or with its ``{shard}`` filled in."""
    return Path(str(output).replace(SHARD, shard_stem(index, count)))


def rows_of(stage: str, values: Mapping[str, Any]) -> tuple[int, str] | None:
    """Return rows and sha256 of the texts that ``encode`` cuts; None for stages that cut something else.

    The text store is made here, once, if it is not there yet, so that no task has to.

    Args:
        stage: the command.
        values: its parameters by name; ``corpus`` or ``queries`` names a collection.
    """
    from dretrieve.text.collection import Collection
    from dretrieve.text.corpus_spec import parse_corpus

    if stage != "encode":
        return None
    corpus, queries = values.get("corpus"), values.get("queries")
    if corpus:
        texts: Texts = Collection.open(parse_corpus(corpus), "corpus").corpus()
    else:
        texts = Collection.open(str(queries), "queries").queries()
    return len(texts), texts.sha256


def resolved_precision(values: Mapping[str, Any], gpus: int | None) -> tuple[str, ...]:
    """Return ``--precision X`` for a stage whose precision is ``auto``, so that no task decides for itself.

    Args:
        values: the stage's parameters by name.
        gpus: GPUs per task: then the tasks' device is a GPU, whatever this machine has.
    """
    if values.get("precision") != "auto":
        return ()
    from dretrieve.encoding.numerics import resolve_precision

    device = "cuda" if gpus else str(values.get("device", "auto"))
    return ("--precision", resolve_precision("auto", device))
