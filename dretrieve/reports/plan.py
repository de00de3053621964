"""A recipe's plan: its commands in order, and whether all that stands behind a file is up to date.

The scripts of a recipe are the only description of its rows. Run with ``PLAN=FILE`` they do nothing and
write their commands down (`recipes/lib.sh`), and each command says by ``--dry-run --json`` whether what it
would make stands there (`dretrieve.store.stage.Planned`). A file fills a cell when a command of the plan
makes it, and that command and every earlier one whose output it names, on and on, are up to date. So numbers
of another profile, of older options, or in another's place are refused: their commands would make others.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path

from dretrieve.errors import DretrieveError, PreconditionError
from dretrieve.store.manifest import Manifest, manifest_path, read_manifest, verify_files

SEPARATOR, PIECES = "\x1f", ",=#"
# Variables of lib.sh that choose a part of the work, not another work.
PART = ("SEEDS", "ONLY", "ASKED", "MINUTES", "BEGAN", "REPORT", "README", "DRY_RUN", "DRETRIEVE")
# What a training records of the machine: its numbers may be read on another one.
MACHINE = frozenset(("device", "num_processes"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a command says to ``--dry-run``.

    Attributes:
        state: as `dretrieve.store.stage.Planned` has it; ``refused`` where it ended with an error.
        changed: in what a stale output differs.
        text: the refusal, or what would be done.
    """

    state: str
    changed: tuple[str, ...] = ()
    text: str = ""
    code: int = 0


Ask = Callable[[Sequence[str]], Answer]


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """One command of a recipe.

    Attributes:
        words: without ``dretrieve``, or of another program.
        needs: numbers of the earlier commands whose outputs its words name.
    """

    words: Sequence[str]
    is_ours: bool
    outputs: Sequence[str]
    needs: frozenset[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Artefact:
    """A finished output behind a number."""

    name: str
    path: Path
    manifest: Manifest


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """What stands behind a file: why it may fill no cell, and all from it to the trainings of its models."""

    problems: tuple[str, ...] = ()
    near: tuple[Artefact, ...] = ()


@dataclass(slots=True)
class Plan:
    """Commands by their numbers from 0, and what was asked of them so far.

    Attributes:
        work: below which files are named in messages.
    """

    work: Path = Path()
    ask: Ask = lambda words: Answer(state="to do")
    full: bool = False
    commands: list[Command] = field(default_factory=list)
    _made: dict[str, list[int]] = field(default_factory=dict)
    _filled: dict[str, list[int]] = field(default_factory=dict)
    _answers: dict[tuple[str, ...], str] = field(default_factory=dict)
    _behind: dict[str, Behind] = field(default_factory=dict)

    def enter(self, kind: str, words: Sequence[str]) -> Command:
        """Add and return a recorded command: ``call``, or ``other``, whose first word is its output."""
        is_ours = kind == "call"
        outputs = [after for word, after in pairwise(words) if word in ("--output", "-o")]
        outputs = outputs if is_ours else [words[0]]
        own = set(outputs)
        named = [self.named(piece) for word in words for piece in pieces_of(word) if piece not in own]
        needs = frozenset().union(*named)
        command = Command(
            words=words if is_ours else words[1:], is_ours=is_ours, outputs=outputs, needs=needs
        )
        for output in outputs:
            self._made.setdefault(output, []).append(len(self.commands))
            for folder in parents_of(output):
                self._filled.setdefault(folder, []).append(len(self.commands))
        self.commands.append(command)
        return command

    def named(self, piece: str) -> Iterable[int]:
        """Return the numbers of the commands that made what a piece of a word names.

        A piece names an output, something in it, a split of it, a folder above it, or outputs by a pattern.
        """
        if any(mark in piece for mark in "*?["):
            return [number for path, made in self._made.items() if fnmatch(path, piece) for number in made]
        found = list(self._filled.get(piece, ()))
        for path in (piece, piece.rpartition(":")[0]):
            for place in (path, *parents_of(path)):
                found += self._made.get(place, ())
        return found

    def behind(self, file: Path) -> Behind:
        """Return what stands behind a file of the work folder."""
        if str(file) not in self._behind:
            self._behind[str(file)] = self._found_behind(file)
        return self._behind[str(file)]

    def _found_behind(self, file: Path) -> Behind:
        makers = self._made.get(str(file))
        if not makers:
            return Behind(
                problems=(f"{self._shown(file)} is made by no command of the recipe at this profile",)
            )
        found, todo = set[int](), list(makers)
        while todo:
            number = todo.pop()
            if number not in found:
                found.add(number)
                todo += self.commands[number].needs
        problem = next(filter(None, (self._problem(self.commands[number]) for number in sorted(found))), "")
        if problem:
            return Behind(problems=(problem,))
        return Behind(near=tuple(self._near(makers[-1])))

    def _problem(self, command: Command) -> str:
        """Return why what the command makes may not be built upon; nothing when it may."""
        key = (*command.words, *command.outputs)
        if key not in self._answers:
            self._answers[key] = self._checked(command)
        return self._answers[key]

    def _checked(self, command: Command) -> str:
        files = [Path(output) for output in command.outputs]
        shown = ", ".join(self._shown(file) for file in files)
        if absent := [file for file in files if not file.exists()]:
            return f"{self._shown(absent[0])} is not there, and stands behind it"
        # Another program is asked only where it makes an artefact of its own, not a link to one of ours.
        if not command.is_ours and (files[0].is_symlink() or not manifest_path(files[0]).exists()):
            return ""
        answer = self.ask(command.words) if command.is_ours else _asked(command.words)
        free = MACHINE if "--precision" in command.words else MACHINE | {"precision"}
        elsewhere = answer.state == "stale" and answer.changed and free.issuperset(answer.changed)
        if answer.state == "refused":
            return answer.text
        if answer.state != "up to date" and not elsewhere:
            changed = f" (other: {', '.join(answer.changed)})" if answer.changed else ""
            return f"{shown} is {answer.state}{changed}: the recipe would make it anew"
        try:
            for item in self._artefacts(command) if self.full or elsewhere else ():
                verify_files(item.path, item.manifest, full=self.full)
        except DretrieveError as error:
            return str(error)
        return ""

    def _near(self, number: int) -> Iterable[Artefact]:
        """Yield the artefacts from a command's own to the trainings behind it, not further."""
        seen, todo = set[int](), [number]
        while todo:
            number = todo.pop(0)
            if number in seen:
                continue
            seen.add(number)
            own = list(self._artefacts(self.commands[number]))
            yield from own
            if not any(item.manifest.stage == "train" for item in own):
                todo += sorted(self.commands[number].needs, reverse=True)

    def _artefacts(self, command: Command) -> Iterable[Artefact]:
        for output in map(Path, command.outputs):
            shards = [output / name for name in sorted(output.glob("shard-*.manifest.json"))]
            for path in shards or [manifest_path(output)]:
                if path.exists():
                    yield Artefact(name=self._shown(output), path=path, manifest=read_manifest(path))

    def _shown(self, file: Path) -> str:
        return str(file.relative_to(self.work)) if file.is_relative_to(self.work) else str(file)


def recorded_plan(folder: Path, profile: str, work: Path, ask: Ask, *, full: bool = False) -> Plan:
    """Return the plan of all scripts of a paper's folder.

    Raises:
        PreconditionError: a script refuses its profile or variables, or there is no bash.
    """
    plan = Plan(work=work, ask=ask, full=full)
    kept = {name: value for name, value in os.environ.items() if name not in PART}
    for script in sorted(folder.glob("*.sh")):
        if "\nrecipe " not in script.read_text(encoding="utf-8"):
            continue
        with tempfile.NamedTemporaryFile("r", encoding="utf-8") as record:
            given = {"PROFILE": profile, "WORK": str(work), "PLAN": record.name}
            try:
                words = ["bash", str(script)]
                done = subprocess.run(words, env=kept | given, capture_output=True, text=True, check=False)
            except OSError as error:
                raise PreconditionError(f"{script} cannot be read for its plan: {error}") from None
            if done.returncode:
                said = done.stderr.strip().rpartition("\n")[2]
                raise PreconditionError(f"{script} says nothing of its plan at {profile}: {said}")
            for kind, words in read_record(record.read()):
                if kind != "step":
                    plan.enter(kind, words)
    return plan


def read_record(text: str) -> Iterable[tuple[str, list[str]]]:
    """Yield kind and words of every line that lib.sh wrote: ``call``, ``other``, ``step``."""
    for line in text.splitlines():
        kind, *words = line.split(SEPARATOR)[:-1]
        yield kind, words


def answer_of(value: Mapping[str, object]) -> Answer:
    """Return the answer that a command printed as JSON."""
    changed = value.get("changed")
    return Answer(
        state=str(value.get("state", "to do")),
        changed=tuple(map(str, changed)) if isinstance(changed, list) else (),
        text=str(value.get("plan", "")),
    )


def _asked(words: Sequence[str]) -> Answer:
    """Ask another program that makes an artefact: it answers as dretrieve's commands do."""
    import json

    done = subprocess.run([*words, "--dry-run", "--json"], capture_output=True, text=True, check=False)
    if done.returncode:
        return Answer(state="refused", text=done.stderr.strip().rpartition("\n")[2], code=done.returncode)
    return answer_of(json.loads(done.stdout))


def pieces_of(word: str) -> list[str]:
    """Return the paths that a word may hold: itself, or parts of ``name=…,path=…``, of ``cloze:DIR#RUN``."""
    word = word.removeprefix("cloze:").removeprefix("spans:")
    for mark in PIECES:
        word = word.replace(mark, SEPARATOR)
    return word.split(SEPARATOR)


def parents_of(path: str) -> list[str]:
    """Return the folders above a path, the nearest first, as long as they are named."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(len(parts) - 1, 0, -1) if parts[count - 1]]
