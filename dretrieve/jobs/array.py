"""``array``: a stage as a Slurm job array. Plan once, submit, re-queue exactly the shards that are missing.

The plan folder holds ``plan.json`` (what is run, the resolved precision, the shard map; hashed),
``array.sh`` and ``then-0.sh`` … (the scripts, made from the plan and the resources asked for), ``logs/``
and ``submissions.json`` (job numbers). Which shards are finished is read from the output's manifests alone:
a task that died, was cancelled or never started looks the same.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from glob import escape
from pathlib import Path
from shlex import quote
from typing import Any

from dretrieve.errors import PreconditionError, UsageError
from dretrieve.jobs.array_plan import PLAN, ArrayConfig, make_scripts, shard_output, write_plan
from dretrieve.jobs.slurm import most_tasks, queued_tasks, submit, task_numbers
from dretrieve.store.atomic import make_folder, write_bytes, write_json
from dretrieve.store.manifest import manifest_path, read_manifest, verify_files
from dretrieve.store.shards import shard_stem
from dretrieve.types import Progress, Silent

SUBMISSIONS = "submissions.json"
USUAL_TASKS = 1001  # Slurm's MaxArraySize where nobody sets it


@dataclass(frozen=True, kw_only=True, slots=True)
class ArrayResult:
    """The state of the array.

    Attributes:
        plan: the plan folder.
        script: the array's script.
        text: its contents.
        shards: number of shards.
        finished: shards whose manifests stand.
        queued: shards that Slurm holds.
        missing: shards that are neither.
        submitted: job numbers by script name, empty when nothing was submitted.
        stage: the command.
        dry_run: nothing was written.
    """

    plan: Path
    script: Path
    text: str
    shards: int
    finished: list[int]
    queued: list[int]
    missing: list[int]
    submitted: dict[str, str]
    stage: str
    dry_run: bool

    def as_json(self) -> dict[str, Any]:
        """Return the state as JSON data."""
        return {
            "stage": self.stage,
            "plan": str(self.plan),
            "script": str(self.script),
            "shards": self.shards,
            "finished": self.finished,
            "queued": self.queued,
            "missing": self.missing,
            "submitted": self.submitted,
            "dry_run": self.dry_run,
        }

    def render(self) -> str:
        """Return the state, and the next command, as text."""
        lines = [
            f"{self.stage} in {self.shards} shards: {len(self.finished)} finished, {len(self.queued)} queued"
        ]
        lines[0] += f", {len(self.missing)} missing" + (
            f" ({task_numbers(self.missing, None)})" if self.missing else ""
        )
        if self.dry_run:
            return "\n".join([*lines, "", f"{self.script} would be:", "", self.text])
        lines.append(f"plan    {self.plan / PLAN}")
        lines.append(f"script  {self.script}")
        lines += [f"job     {job} ({name})" for name, job in self.submitted.items()]
        if self.submitted:
            lines.append("next    the same command with --requeue submits what is missing by then")
        elif self.missing:
            lines.append(f"next    the same command with --submit, or: sbatch {quote(str(self.script))}")
        return "\n".join(lines)


def run(config: ArrayConfig, progress: Progress = Silent()) -> ArrayResult:  # noqa: B008  # it has no state
    """Write the plan and the scripts; submit all, or what is missing; return the state.

    Raises:
        UsageError: ``shards`` below 1, or more than an array of this cluster holds; a value that no line of
            a script can hold.
        PreconditionError: the folder holds the plan of other options; the array was submitted before;
            ``requeue`` without a plan; no ``sbatch`` here.
        VerificationError: a finished shard has changed bytes.
        DretrieveError: Slurm refused.
    """
    if config.shards < 1:
        raise UsageError(f"--shards must be at least 1, not {config.shards}")
    most = most_tasks()
    if most is not None and config.shards > most:
        raise UsageError(
            f"--shards {config.shards}: arrays here have at most {most:,} tasks (Slurm's MaxArraySize); "
            f"give --shards {most} or fewer: a task that meets its time limit is continued by --requeue"
        )
    if most is None and config.shards > USUAL_TASKS:
        progress.note(
            f"an array of Slurm has at most {USUAL_TASKS:,} tasks unless its MaxArraySize says more"
        )
    submissions = read_submissions(config.folder)
    if config.requeue and not (config.folder / PLAN).exists():
        raise PreconditionError(f"{config.folder} holds no plan to re-queue; run with --submit first")
    texts = {path: script.text() for path, script in make_scripts(config).items()}
    if not config.dry_run:
        write_plan(config)
    finished = [
        index for index in range(config.shards) if shard_finished(config.output, index, config.shards)
    ]
    queued = sorted(queued_tasks([entry["array"] for entry in submissions]) - set(finished))
    missing = sorted(set(range(config.shards)) - set(finished) - set(queued))
    submitted: dict[str, str] = {}
    if not config.dry_run:
        make_folder(config.folder / "logs")
        for path, text in texts.items():
            write_bytes(path, text.encode())
        if config.submit or config.requeue:
            submitted = submit_missing(config, list(texts), missing, queued)
            if submitted:
                write_json(config.folder / SUBMISSIONS, [*submissions, submitted])
                queued, missing = sorted({*queued, *missing}), []
    path, text = next(iter(texts.items()))
    return ArrayResult(
        plan=config.folder,
        script=path,
        text=text,
        shards=config.shards,
        finished=finished,
        queued=queued,
        missing=missing,
        submitted=submitted,
        stage=config.stage,
        dry_run=config.dry_run,
    )


def submit_missing(
    config: ArrayConfig, scripts: list[Path], missing: list[int], queued: list[int]
) -> dict[str, str]:
    """Submit the missing shards and what follows them; return job numbers by script name.

    What follows waits for the new array; while older tasks still run it is left to them and to `--requeue`.

    Raises:
        PreconditionError: ``--submit`` while tasks of an earlier submission are queued.
    """
    if queued and not config.requeue:
        raise PreconditionError(
            f"tasks {task_numbers(queued, None)} of this array are queued already; wait, or use --requeue to "
            "submit the missing ones only"
        )
    if not missing:
        return {}
    array, *following = scripts
    numbers = task_numbers(missing, config.resources.at_once)
    jobs = {"array": submit(array, [f"--array={numbers}"], after=jobs_before(config.after))}
    before = [jobs["array"], *(entry["array"] for entry in read_submissions(config.folder) if queued)]
    for script in following:
        jobs[script.stem] = submit(script, after=before)
        before = [jobs[script.stem]]
    return jobs


def jobs_before(after: tuple[str, ...]) -> list[str]:
    """Return job numbers: those given, and the last submission's of each plan folder given.

    Raises:
        PreconditionError: a word is neither a number nor a plan folder with a submission.
    """
    jobs: list[str] = []
    for word in after:
        if word.isdigit():
            jobs.append(word)
            continue
        submissions = read_submissions(Path(word))
        if not submissions:
            raise PreconditionError(
                f"--after {word}: give a job number, or the plan folder of an array that was submitted"
            )
        jobs += [str(job) for job in submissions[-1].values()]
    return jobs


def read_submissions(folder: Path) -> list[dict[str, str]]:
    """Return the submissions of a plan folder, oldest first: script name to job number."""
    try:
        return list(json.loads((folder / SUBMISSIONS).read_bytes()))
    except FileNotFoundError:
        return []


def shard_finished(output: Path, index: int, count: int) -> bool:
    """Return whether the shard's manifest stands, in the output folder or beside the output file, intact.

    Raises:
        VerificationError: it stands, but a file that it lists is not the one that was written.
    """
    own = shard_output(output, index, count)
    if own != output:
        places = [place for place in (manifest_path(own),) if place.exists()]
    else:
        ending = f"*{shard_stem(index, count)}*manifest.json"
        places = [*output.glob(ending), *output.parent.glob(escape(output.name) + ending)]
    for path in places:
        verify_files(path, read_manifest(path))
    return bool(places)
