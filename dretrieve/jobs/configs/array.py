"""What ``array`` is told."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from dretrieve.errors import UsageError
from dretrieve.jobs.configs.base import COMMON, Config
from dretrieve.options import REQUIRED, check, option

_queue = partial(option, panel="Queue")
_task = partial(option, panel="Resources of one task")


@dataclass(frozen=True, kw_only=True, slots=True)
class Resources:
    """What one task asks of the cluster; none of it can change a byte of the result.

    A task is told a minute and a half before its time ends.
    """

    time: str | None = _task(None, "Limit, as 2:00:00.")
    partition: str | None = _task(None, "Partition.")
    account: str | None = _task(None, "Account.")
    memory: str | None = _task(None, "As 16G.", aliases=("--mem",))
    cpus: int | None = _task(None, "Cores, also the threads.", least=1, aliases=("--cpus-per-task",))
    gpus: int | None = _task(None, "GPUs.", least=1)
    at_once: int | None = _task(None, "Most tasks running at a time.", least=1)
    more: tuple[str, ...] = _task((), "Further sbatch options, quoted as for a shell.", flag="--sbatch")
    setup: tuple[str, ...] = _task((), "A shell line before the command (module load python).")

    def __post_init__(self) -> None:
        check(self)

    def options(self) -> list[str]:
        """Return the ``sbatch`` options.

        Raises:
            UsageError: a quote of a further option is not closed.
        """
        named = {
            "time": self.time,
            "partition": self.partition,
            "account": self.account,
            "mem": self.memory,
            "cpus-per-task": self.cpus,
            "gres": f"gpu:{self.gpus}" if self.gpus else None,
        }
        given = [f"--{name}={value}" for name, value in named.items() if value is not None]
        try:
            return given + [word for words in self.more for word in shlex.split(words)]
        except ValueError as error:
            raise UsageError(f"--sbatch {' '.join(self.more)!r} cannot be read as words: {error}") from error


@dataclass(frozen=True, kw_only=True)
class ArrayConfig(Config):
    r"""The options that are not listed below are the stage's own and are checked before anything is written.

    Examples:
        dretrieve array encode --model minilm --corpus work/wiki --output work/emb --shards 16 --submit
        dretrieve array encode --model minilm --corpus work/wiki --output work/emb --shards 16 --requeue
        dretrieve array search --index EMB --query-embeddings Q --output run.{shard}.trec --shards 8 \
            --after EMB.array --then 'merge {outputs} --output run.trec' --submit
        dretrieve array index --embeddings EMB --type token --set centroids=centroids --output part.{shard} \
            --shards 8 --then 'merge {outputs} --output index' --submit
    """

    stage: str = option(REQUIRED, "The command to shard: encode, search, mine-negatives …", argument=True)
    shards: int = option(REQUIRED, "Number of tasks.", least=1)
    plan: Path | None = option(None, "Plan folder; default: OUTPUT.array.")
    submit: bool = _queue(False, "Hand it to Slurm.")
    requeue: bool = _queue(False, "Submit exactly what is missing.")
    after: tuple[str, ...] = _queue((), "Job number or plan folder that must end well before.")
    then: tuple[str, ...] = _queue((), "Command to run when all ended well: 'merge {outputs} --output RUN'.")
    replan: bool = _queue(False, "Replace a plan of other options.")
    resources: Resources = field(default_factory=Resources)
    dry_run: bool = option(False, "Say what would be done and what it costs.", panel=COMMON)
