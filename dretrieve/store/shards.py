"""Rows are cut into chunks of 1,024 by global row number; shards are runs of whole chunks.

Because a chunk never depends on the shard that holds it, one shard and sixteen give the same bytes.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass

from dretrieve.errors import PreconditionError, UsageError, VerificationError

CHUNK_ROWS = 1024
# What tells a task its number, and the number of the first; where the user chooses it (Slurm, PBS), as our
# shards are counted. A lower number (LSF's 0) says that the job is no array.
ARRAY_VARIABLES = {
    "SLURM_ARRAY_TASK_ID": 0,
    "PBS_ARRAY_INDEX": 0,
    "PBS_ARRAYID": 0,
    "SGE_TASK_ID": 1,
    "LSB_JOBINDEX": 1,
    "JOB_COMPLETION_INDEX": 0,
    "AWS_BATCH_JOB_ARRAY_INDEX": 0,
    "BATCH_TASK_INDEX": 0,
    "SKYPILOT_JOB_RANK": 0,
    "SKYPILOT_NODE_RANK": 0,
}
# Ranks that stand also where there is one task only, with what counts the tasks.
COUNTED = {"SKYPILOT_JOB_RANK": "SKYPILOT_NUM_JOBS", "SKYPILOT_NODE_RANK": "SKYPILOT_NUM_NODES"}


@dataclass(frozen=True, slots=True, order=True)
class Shard:
    """Rows ``start`` to ``stop`` (exclusive) of ``total``: shard ``index`` (from 0) of ``count``."""

    start: int
    stop: int
    index: int
    count: int
    total: int

    def __len__(self) -> int:
        return self.stop - self.start

    @property
    def stem(self) -> str:
        """The file name's beginning: ``shard-00003-of-00016``."""
        return shard_stem(self.index, self.count)

    def chunks(self, size: int = CHUNK_ROWS) -> list[tuple[int, int]]:
        """Return the chunks as global row ranges, in order; an empty shard has none."""
        return [(row, min(row + size, self.stop)) for row in range(self.start, self.stop, size)]


def shard_stem(index: int, count: int) -> str:
    """Return ``shard-00003-of-00016``."""
    return f"shard-{index:05d}-of-{count:05d}"


def shard_rows(total: int, index: int, count: int, size: int = CHUNK_ROWS) -> Shard:
    """Return shard ``index`` of ``count``: borders on chunk borders, sizes within one chunk of each other.

    With more shards than chunks some shards are empty, which is legal. A chunk has ``size`` rows.

    Raises:
        UsageError: ``count`` below 1 or ``index`` outside ``0 … count - 1``.
    """
    if count < 1 or not 0 <= index < count:
        raise UsageError(
            f"shard {index}/{count} does not exist: shards are numbered from 0, so N shards are "
            f"0/N to {'(N-1)/N' if count < 1 else f'{count - 1}/{count}'}"
        )
    chunks = -(-total // size)
    start, stop = (min(total, chunks * part // count * size) for part in (index, index + 1))
    return Shard(start=start, stop=stop, index=index, count=count, total=total)


def parse_shard(text: str) -> tuple[int, int]:
    """Return ``(index, count)`` of ``3/16`` (from 0), or of ``array/16`` with the array variable's value.

    Raises:
        UsageError: another form, or a shard that does not exist.
        PreconditionError: ``array/N`` outside a job array, or where two variables name different shards.
    """
    match = re.fullmatch(r"(\d{1,9}|array)/(\d{1,9})", text)
    if match is None:
        raise UsageError(f"--shard {text!r} is not I/N (such as 3/16, counted from 0) or array/N")
    count = int(match[2])
    if match[1] != "array":
        shard_rows(0, int(match[1]), count)
        return int(match[1]), count
    tasks = array_tasks()
    if not tasks:
        raise PreconditionError(
            f"--shard {text} takes the shard from the cluster's array variable, and none of "
            f"{', '.join(ARRAY_VARIABLES)} holds a task's number; submit it as a job array or write I/{count}"
        )
    if len(set(tasks.values())) > 1:
        named = ", ".join(f"{name}={os.environ[name]} (shard {index})" for name, index in tasks.items())
        raise PreconditionError(f"--shard {text}: several array variables differ: {named}; write I/{count}")
    name, index = next(iter(tasks.items()))
    first = ARRAY_VARIABLES[name]
    last = os.environ.get("SLURM_ARRAY_TASK_MAX", "") if name.startswith("SLURM") else ""
    highest = int(last) if last.isdecimal() else index + first
    if highest - first >= count:
        raise UsageError(
            f"--shard {text}: {name} goes up to {highest}, but {count} shards are the tasks {first} to "
            f"{count - 1 + first}, so shard {highest - first}/{count} does not exist; submit those tasks"
        )
    return index, count


def array_tasks() -> dict[str, int]:
    """Return the shard (from 0) that each array variable of the environment names; {} outside a job array."""
    found = {}
    for name, first in ARRAY_VARIABLES.items():
        value = os.environ.get(name, "")
        if os.environ.get(COUNTED.get(name, ""), "") != "1" and value.isdecimal() and int(value) >= first:
            found[name] = int(value) - first
    return found


def check_tiling(shards: Iterable[Shard], total: int, where: str) -> None:
    """Check that the shards cover every row exactly once.

    Raises:
        PreconditionError: rows are missing (the sentence names the shards to run).
        VerificationError: shards overlap, or were cut from different totals or counts.
    """
    ordered = sorted(shards)
    counts = {shard.count for shard in ordered}
    if len(counts) > 1:
        raise VerificationError(
            f"{where} mixes shards of different cuts ({', '.join(f'N={n}' for n in sorted(counts))}); "
            "remove those that do not belong and run the missing ones"
        )
    if any(shard.total != total for shard in ordered):
        raise VerificationError(f"{where} mixes shards cut from collections of different sizes")
    count = counts.pop() if counts else 1
    missing = sorted(set(range(count)) - {shard.index for shard in ordered})
    if missing:
        named = ", ".join(f"{index}/{count}" for index in missing[:8]) + (" …" if len(missing) > 8 else "")
        raise PreconditionError(f"{where} lacks {len(missing)} of {count} shards; run --shard {named}")
    position = 0
    for shard in ordered:
        if shard.start != position:
            kind = "overlap" if shard.start < position else "leave a gap"
            raise VerificationError(f"{where}: shards {kind} at row {min(shard.start, position):,}")
        position = shard.stop
    if position != total:
        raise VerificationError(f"{where}: shards end at row {position:,} of {total:,}")
