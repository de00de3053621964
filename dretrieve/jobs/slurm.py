"""Slurm as far as `array` needs it: the script of a job array, submitting, and what is still queued."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from dretrieve.errors import DretrieveError, PreconditionError, UsageError
from dretrieve.jobs.configs.array import Resources

SIGNAL_SECONDS = 90
SHARD = "{shard}"
PLAIN = re.compile(r"[\w@%+=:,./\[\]*-]+")  # what stands in a line of Slurm's without quotes


@dataclass(frozen=True, kw_only=True, slots=True)
class Script:
    """One batch script.

    Attributes:
        log: Slurm's file name pattern for the output.
        array: task numbers (``0-3``) of a job array, or None for a single job.
        shards: number of shards of an array; ``{shard}`` in a word of its command becomes
            ``shard-00003-of-00016``.
    """

    name: str
    command: Sequence[str]
    folder: Path
    log: Path
    environment: Mapping[str, str]
    resources: Resources
    array: str | None = None
    shards: int = 1
    note: str = ""

    def text(self) -> str:
        """Return the script.

        Raises:
            UsageError: an option or a path of Slurm's holds a line break or another control character.
        """
        options = [f"--job-name={self.name}", f"--output={self.log}", f"--signal=B:USR1@{SIGNAL_SECONDS}"]
        if self.array is not None:
            options.append(f"--array={self.array}")
        lines = ["#!/bin/bash", *map(directive, [*options, *self.resources.options()])]
        lines += [f"# {self.note}"] if self.note else []
        lines += ["set -eu", f"cd {shlex.quote(str(self.folder))}"]
        lines += [f"export {name}={shlex.quote(value)}" for name, value in sorted(self.environment.items())]
        lines += self.resources.setup
        if any(SHARD in word for word in self.command):
            pattern = f"shard-%05d-of-{self.shards:05d}"
            lines.append(f'shard=$(printf {pattern} "$SLURM_ARRAY_TASK_ID")')
        words = " ".join(quoted(word) for word in self.command)
        return "\n".join([*lines, f"exec {words}", ""])


def directive(option: str) -> str:
    """Return the ``#SBATCH`` line of one option: one line, one word, as Slurm reads it.

    Slurm knows double quotes and backslashes; outside of quotes a blank ends the word even after a backslash,
    and ``#`` begins a comment.

    Raises:
        UsageError: it holds a line break or another control character, for which there is no spelling.
    """
    name, equals, value = option.partition("=")
    if not option.isprintable():
        raise UsageError(
            f"{name} {value[:200]!r} holds a line break or a control character, and a Slurm script has no "
            "spelling for it; choose another value (for --output another --plan, where the logs go)"
        )
    if not equals or not PLAIN.fullmatch(name):
        name, equals, value = "", "", option
    if not PLAIN.fullmatch(value):
        value = '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"#SBATCH {name}{equals}{value}"


def quoted(word: str) -> str:
    """Return the word for a shell, with the variable ``shard`` where it says ``{shard}``."""
    return '"$shard"'.join(shlex.quote(part) if part else "" for part in word.split(SHARD)) or "''"


def task_numbers(numbers: Sequence[int], at_once: int | None) -> str:
    """Return Slurm's spelling of task numbers: ``0-3,7`` and, with a limit, ``%2`` behind it."""
    parts: list[list[int]] = []
    for number in sorted(numbers):
        if parts and parts[-1][-1] == number - 1:
            parts[-1] = [parts[-1][0], number]
        else:
            parts.append([number])
    spelled = ",".join("-".join(map(str, part)) for part in parts)
    return spelled + (f"%{at_once}" if at_once else "")


def most_tasks() -> int | None:
    """Return the cluster's ``MaxArraySize`` (an array's numbers lie below it), None where nobody says it."""
    if shutil.which("scontrol") is None:
        return None
    done = subprocess.run(["scontrol", "show", "config"], capture_output=True, text=True, check=False)
    found = re.search(r"^MaxArraySize\s*=\s*(\d+)", done.stdout, re.MULTILINE)
    return int(found[1]) if found else None


def submit(script: Path, options: Sequence[str] = (), after: Sequence[str] = ()) -> str:
    """Submit the script and return the job's number.

    ``options`` win over those in the file. When a job of ``after`` cannot end well, Slurm cancels this one.

    Raises:
        PreconditionError: there is no ``sbatch`` here.
        DretrieveError: Slurm refused; its own sentence is in the message.
    """
    if shutil.which("sbatch") is None:
        raise PreconditionError(
            "sbatch is not on this machine, so nothing can be submitted; run the command on a machine of the "
            f"cluster, or run the tasks by hand: SLURM_ARRAY_TASK_ID=0 bash {shlex.quote(str(script))}"
        )
    words = ["sbatch", "--parsable", *options]
    if after:
        words += [f"--dependency=afterok:{':'.join(after)}", "--kill-on-invalid-dep=yes"]
    done = subprocess.run([*words, str(script)], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DretrieveError(f"Slurm refused {script}: {' '.join(done.stderr.split())}")
    return done.stdout.strip().partition(";")[0]


def queued_tasks(jobs: Sequence[str]) -> dict[int, str]:
    """Return the tasks of these job arrays that wait or run, as Slurm calls them (``JOB_TASK``), by number.

    Empty where there is no Slurm.

    Raises:
        DretrieveError: ``squeue`` fails for another reason than that it has forgotten the jobs.
    """
    if not jobs or shutil.which("squeue") is None:
        return {}
    tasks: dict[int, str] = {}
    for job in jobs:
        words = ["squeue", "--noheader", "--array", f"--jobs={job}", "--format=%F_%K"]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode != 0 and "Invalid job id" not in done.stderr:
            raise DretrieveError(f"squeue fails: {' '.join(done.stderr.split())}")
        numbers = {name: name.rpartition("_")[2] for name in done.stdout.split()}
        tasks |= {int(number): name for name, number in numbers.items() if number.isdigit()}
    return tasks
