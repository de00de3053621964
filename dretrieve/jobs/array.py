"""``array``: a stage as a Slurm job array. Plan once, submit, re-queue exactly the shards that are missing.

The plan folder holds ``plan.json`` (what is run, the resolved precision, the shard map; hashed),
``array.sh`` and ``then-0.sh`` … (the scripts, made from the plan and the resources asked for), ``logs/``
and ``submissions.json`` (job numbers). Which shards are finished is read from the output's manifests alone:
a task that died, was cancelled or never started looks the same, and so does one whose inputs changed since.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from glob import escape
from pathlib import Path
from typing import Any

from dretrieve.errors import PreconditionError, UsageError, VerificationError
from dretrieve.jobs.configs.array import ArrayConfig
from dretrieve.jobs.slurm import SHARD, Script, most_tasks, queued_tasks, submit, task_numbers
from dretrieve.reports.plan import Answer, Ask
from dretrieve.store.atomic import make_folder, write_bytes, write_json
from dretrieve.store.manifest import manifest_path, read_manifest, verify_files
from dretrieve.store.parts import whole_of
from dretrieve.store.shards import shard_rows, shard_stem
from dretrieve.store.stage import Stage, replaces_stale
from dretrieve.types import SILENT, Progress, Texts

VERSION = 1
PLAN, SUBMISSIONS = "plan.json", "submissions.json"
OUTPUTS = "{outputs}"
USUAL_TASKS = 1001  # Slurm's MaxArraySize where nobody sets it


@dataclass(frozen=True, kw_only=True)
class Array(ArrayConfig):
    """An array whose command is resolved.

    Attributes:
        words: the stage's options as typed, with the precision resolved, without ``--shard``.
        output: the stage's ``--output``; with ``{shard}`` in it where each shard has one of its own.
        program: the words that start dretrieve (``python -m dretrieve_cli``).
        working_folder: where relative paths of ``words`` start.
        environment: variables that the tasks need (``PYTHONPATH`` of a checkout).
        rows: rows of the collection side that is cut, and its sha256; None where a run is cut instead.
        ask: asks a task whether its shard is up to date.
    """

    words: tuple[str, ...]
    output: Path
    program: tuple[str, ...]
    working_folder: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    rows: tuple[int, str] | None = None
    ask: Ask = lambda words: Answer(state="up to date")

    @property
    def folder(self) -> Path:
        """Where the plan goes."""
        name = self.output.name.replace(f".{SHARD}", "").replace(SHARD, "")
        return self.plan or self.output.with_name(f"{name}.array")

    @property
    def following(self) -> list[list[str]]:
        """The words of the commands to run once all tasks ended well, one after the other."""
        return [shlex.split(line) for line in self.then]

    @property
    def command(self) -> list[str]:
        """The words of one task."""
        return [self.stage, *self.words, "--shard", f"array/{self.shards}"]


@dataclass(frozen=True, slots=True)
class ArrayResult:
    """The state of the array.

    Attributes:
        finished: shards whose manifests stand.
        queued: shards that Slurm holds.
        missing: shards that are neither.
        submitted: job numbers by script name, empty when nothing was submitted.
    """

    config: Array
    script: Path
    text: str
    finished: list[int]
    queued: list[int]
    missing: list[int]
    submitted: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """Return the state as JSON data."""
        return {
            "stage": self.config.stage,
            "plan": str(self.config.folder),
            "script": str(self.script),
            "shards": self.config.shards,
            "finished": self.finished,
            "queued": self.queued,
            "missing": self.missing,
            "submitted": self.submitted,
            "dry_run": self.config.dry_run,
        }

    def render(self) -> str:
        """Return the state, and the next command, as text."""
        which = f" ({task_numbers(self.missing, None)})" if self.missing else ""
        counts = f"{len(self.finished)} finished, {len(self.queued)} queued, {len(self.missing)} missing"
        lines = [f"{self.config.stage} in {self.config.shards} shards: {counts}{which}"]
        if self.config.dry_run:
            return "\n".join([*lines, "", f"{self.script} would be:", "", self.text])
        lines += [f"plan    {self.config.folder / PLAN}", f"script  {self.script}"]
        lines += [f"job     {job} ({name})" for name, job in self.submitted.items()]
        if self.submitted:
            lines.append("next    the same command with --requeue submits what is missing by then")
        elif self.missing:
            lines.append(
                f"next    the same command with --submit, or: sbatch {shlex.quote(str(self.script))}"
            )
        return "\n".join(lines)


def run(config: Array, progress: Progress = SILENT) -> ArrayResult:
    """Write the plan and the scripts; submit all, or what is missing; return the state.

    Raises:
        UsageError: more shards than an array of this cluster holds; a value that no line of a script can
            hold.
        PreconditionError: the folder holds the plan of other options; the array was submitted before;
            ``requeue`` without a plan; no ``sbatch`` here.
        VerificationError: a finished shard has changed bytes, or was made of something else.
        DretrieveError: Slurm refused.
    """
    _check_count(config.shards, progress)
    submissions = read_submissions(config.folder)
    if config.requeue and not (config.folder / PLAN).exists():
        raise PreconditionError(f"{config.folder} holds no plan to re-queue; run with --submit first")
    texts = {path: script.text() for path, script in make_scripts(config).items()}
    if not config.dry_run:
        write_plan(config)
    every = range(config.shards)
    answers: dict[str, Answer] = {}
    finished = [index for index in every if shard_finished(config, index, answers)]
    if cannot := [answer.text for answer in answers.values() if answer.state == "refused"]:
        progress.note(f"what is finished may be of other options, for no task can tell: {cannot[0]}")
    tasks = queued_tasks([entry["array"] for entry in submissions])
    waiting = {index: task for index, task in tasks.items() if index not in finished}
    queued, missing = sorted(waiting), sorted(set(every) - set(finished) - set(waiting))
    submitted: dict[str, str] = {}
    if not config.dry_run:
        make_folder(config.folder / "logs")
        for path, text in texts.items():
            write_bytes(path, text.encode())
        if config.submit or config.requeue:
            try:
                submit_missing(config, list(texts), missing, waiting, submitted)
            finally:  # an array that Slurm took is known also where what follows was refused
                if submitted:
                    known = read_submissions(config.folder)  # anew: another process may have submitted, too
                    write_json(config.folder / SUBMISSIONS, [*known, submitted])
        if submitted:
            queued, missing = sorted({*queued, *missing}), []
    path, text = next(iter(texts.items()))
    return ArrayResult(config, path, text, finished, queued, missing, submitted)


def _check_count(shards: int, progress: Progress) -> None:
    most = most_tasks()
    if most is not None and shards > most:
        raise UsageError(
            f"--shards {shards}: arrays here have at most {most:,} tasks (Slurm's MaxArraySize); "
            f"give --shards {most} or fewer: a task that meets its time limit is continued by --requeue"
        )
    if most is None and shards > USUAL_TASKS:
        progress.note(
            f"an array of Slurm has at most {USUAL_TASKS:,} tasks unless its MaxArraySize says more"
        )


def submit_missing(
    config: Array,
    scripts: list[Path],
    missing: list[int],
    queued: Mapping[int, str],
    submitted: dict[str, str],
) -> None:
    """Submit the missing shards and what follows them.

    What follows waits for the new array and for the older tasks that still wait or run: not for their whole
    array, which cannot end well any more when a task of it failed. ``submitted`` gets each job's number, by
    script name, as soon as Slurm gives it; ``queued`` are Slurm's names of older tasks.

    Raises:
        PreconditionError: ``--submit`` while tasks of an earlier submission are queued.
        DretrieveError: Slurm refused one of them.
    """
    if queued and not config.requeue:
        raise PreconditionError(
            f"tasks {task_numbers(list(queued), None)} of this array are queued already; wait, or use "
            "--requeue to submit the missing ones only"
        )
    if not missing:
        return
    array, *following = scripts
    numbers = task_numbers(missing, config.resources.at_once)
    submitted["array"] = submit(array, [f"--array={numbers}"], after=jobs_before(config.after))
    before = [submitted["array"], *queued.values()]
    for script in following:
        submitted[script.stem] = submit(script, after=before)
        before = [submitted[script.stem]]


def jobs_before(after: tuple[str, ...]) -> list[str]:
    """Return the jobs and tasks that are to end well before.

    Those are the numbers given; of a plan folder the jobs of its last submission, and the tasks of earlier
    ones that still wait or run.

    Raises:
        PreconditionError: a word is neither a number nor a plan folder with a submission.
        DretrieveError: ``squeue`` fails.
    """
    jobs: list[str] = []
    for word in after:
        if word.isdigit():
            jobs.append(word)
            continue
        *earlier, last = read_submissions(Path(word)) or [{}]
        if not last:
            raise PreconditionError(
                f"--after {word}: give a job number, or the plan folder of an array that was submitted"
            )
        jobs += [*queued_tasks([entry["array"] for entry in earlier]).values(), *last.values()]
    return jobs


def read_submissions(folder: Path) -> list[dict[str, str]]:
    """Return the submissions of a plan folder, oldest first: script name to job number."""
    try:
        return list(json.loads((folder / SUBMISSIONS).read_bytes()))
    except FileNotFoundError:
        return []


def shard_finished(config: Array, index: int, answers: dict[str, Answer]) -> bool:
    """Return whether the shard's manifest stands, in the output folder or beside the output file, intact.

    One that the task would make anew does not count where stale results are made again
    (`dretrieve.store.stage`). One whose task cannot tell (an earlier job makes what it reads) does.
    ``answers`` takes what tasks said, by what their shards are parts of.

    Raises:
        VerificationError: it stands, but a file that it lists is not the one that was written, or the task
            would make something else.
    """
    output, count = config.output, config.shards
    own = shard_output(output, index, count)
    if own != output:
        places = [place for place in (manifest_path(own),) if place.exists()]
    else:
        ending = f"{shard_stem(index, count)}*manifest.json"
        places = [*output.glob(ending), *output.parent.glob(f"{escape(output.name)}.{ending}")]
    for path in places:
        try:
            manifest = read_manifest(path)
        except PreconditionError:  # a task has just removed it, to make it again
            return False
        whole = whole_of(manifest).fingerprint
        answer = answers[whole] = answers.get(whole) or config.ask(task_words(config, index))
        changed, texts = answer.changed, config.rows[1] if config.rows is not None else None
        if answer.state == "refused" and texts not in (None, manifest.inputs.get("collection", texts)):
            changed = ("input collection",)
        if changed and not replaces_stale():
            raise VerificationError(
                f"{path} was made otherwise than this array would make it ({', '.join(changed)}); choose "
                "another --output, or remove the shards that stand there"
            )
        if changed:
            return False
        verify_files(path, manifest)
        # another process is at it, or what the task reads does not fit together
        if answer.state in ("to do", "interrupted") or answer.code == VerificationError.exit_code:
            return False
    return bool(places)


def task_words(config: Array, index: int) -> list[str]:
    """Return the words of a task as it is asked what it would make."""
    words = (word for word in config.words if word != "--force")
    filled = (word.replace(SHARD, shard_stem(index, config.shards)) for word in words)
    return [config.stage, *filled, "--shard", f"{index}/{config.shards}"]


def write_plan(config: Array) -> None:
    """Write ``plan.json`` with its manifest, or find it up to date.

    Raises:
        PreconditionError: the folder holds the plan of other options.
        VerificationError: the plan was changed by hand.
    """
    options = {
        "stage": config.stage,
        "words": list(config.words),
        "shards": config.shards,
        "then": config.following,
        "folder": str(config.working_folder),
    }
    inputs = {} if config.rows is None else {"texts": config.rows[1]}
    stage = Stage(config.folder, "folder", "array", VERSION, options, inputs, config.replan)
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


def plan_of(config: Array) -> dict[str, Any]:
    """Return the plan: the command and, by shard, what it does and where its result will stand."""
    tasks = []
    for index in range(config.shards):
        stem = shard_stem(index, config.shards)
        tasks.append({"index": index, "shard": f"{index}/{config.shards}", "stem": stem})
        if config.rows is not None:
            shard = shard_rows(config.rows[0], index, config.shards)
            tasks[-1] |= {"start": shard.start, "stop": shard.stop}
    return {
        "command": config.command,
        "folder": str(config.working_folder),
        "output": str(config.output),
        "rows": config.rows[0] if config.rows is not None else None,
        "tasks": tasks,
        "then": config.following,
    }


def make_scripts(config: Array) -> dict[Path, Script]:
    """Return the array's script and those of the commands after it, by file."""
    folder = config.folder.resolve()
    logs = Path(str(folder / "logs").replace("%", "%%"))
    array = Script(
        name=f"dretrieve-{config.stage}",
        command=(*config.program, *config.command),
        folder=config.working_folder,
        log=logs / "%A_%a.log",
        environment=config.environment,
        resources=config.resources,
        array=task_numbers(range(config.shards), config.resources.at_once),
        shards=config.shards,
        note="One task by hand: SLURM_ARRAY_TASK_ID=0 bash " + shlex.quote(str(folder / "array.sh")),
    )
    scripts = {folder / "array.sh": array}
    outputs = [str(shard_output(config.output, index, config.shards)) for index in range(config.shards)]
    for number, words in enumerate(config.following):
        given = [part for word in words for part in (outputs if word == OUTPUTS else [word])]
        command, log = (*config.program, *given), logs / "%j.log"
        scripts[folder / f"then-{number}.sh"] = replace(
            array, name=f"dretrieve-{words[0]}", command=command, log=log, array=None, note=""
        )
    return scripts


def shard_output(output: Path, index: int, count: int) -> Path:
    """Return where a shard's result goes: the output itself, or with its ``{shard}`` filled in."""
    return Path(str(output).replace(SHARD, shard_stem(index, count)))


def rows_of(stage: str, values: Mapping[str, Any]) -> tuple[int, str] | None:
    """Return rows and sha256 of the texts that ``encode`` cuts; None for stages that cut something else.

    The text store is made here, once, if it is not there yet, so that no task has to.
    """
    from dretrieve.store.embeddings import Embeddings
    from dretrieve.text.collection import Collection

    if stage != "encode":
        return None
    corpus, queries, embeddings = (values.get(name) for name in ("corpus", "queries", "embeddings"))
    if embeddings:
        given = Embeddings.open(Path(embeddings))
        return given.rows, given.collection_sha256
    if corpus:
        texts: Texts = Collection.open(corpus, "corpus").corpus()
    else:
        texts = Collection.open(str(queries), "queries", values.get("topic_field")).queries()
    return len(texts), texts.sha256


def resolved_precision(values: Mapping[str, Any], gpus: int | None) -> tuple[str, ...]:
    """Return ``--precision X`` for a stage whose precision is ``auto``, so that no task decides for itself.

    With GPUs per task the tasks' device is a GPU, whatever this machine has.
    """
    if values.get("precision") != "auto" or values.get("embeddings"):  # vectors have theirs
        return ()
    from dretrieve.encoding.numerics import resolve_precision

    device = "cuda" if gpus else str(values.get("device", "auto"))
    return ("--precision", resolve_precision("auto", device))
