"""The life of a stage's output: up to date, refused, written, committed; and how the next stage opens it.

Use::

    stage = Stage(output, kind="file", name="search", version=1, options=…, inputs=…, force=config.force)
    if stage.up_to_date():
        return …
    with stage.write() as file:
        …
    stage.commit(counts=…, extra=…)
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any, Literal

from dretrieve.errors import DretrieveError, PreconditionError, UsageError, VerificationError
from dretrieve.store.atomic import make_folder, replacing
from dretrieve.store.leftovers import remove_leftovers
from dretrieve.store.manifest import (
    Manifest,
    commit,
    manifest_path,
    provenance_path,
    read_manifest,
    read_verified,
    verify_files,
)
from dretrieve.store.state import clear_state, read_state, record_state, recorded_state, state_path

STALE = "DRETRIEVE_STALE"


def replaces_stale() -> bool:
    """Return whether a finished result of other options is made again: ``DRETRIEVE_STALE=replace``.

    By hand it is refused, so that no command destroys what another one made. A recipe owns its whole work
    folder, so `recipes/lib.sh` sets the variable. Unlike ``--force`` it leaves a result of the same options.

    Raises:
        UsageError: it is neither ``replace`` nor ``refuse`` nor empty.
    """
    value = os.environ.get(STALE, "")
    if value not in ("", "refuse", "replace"):
        raise UsageError(f"{STALE}={value!r} is neither 'refuse' nor 'replace'; correct or unset it")
    return value == "replace"


def is_current(file: Path, wanted: Manifest, what: str, *, force: bool = False) -> bool:
    """Return whether a finished output is the wanted one and intact; if not, it may be replaced.

    ``what`` begins the message: "DIR holds …".

    Raises:
        PreconditionError: it is the result of other options, and nothing says to replace it.
        VerificationError: its bytes changed.
    """
    if force:
        return False
    try:
        old = read_manifest(file)
    except PreconditionError:  # there is none, or none any more: another process replaces it
        return False
    if old.fingerprint == wanted.fingerprint:
        verify_files(file, old)
        return True
    if replaces_stale():
        return False
    raise PreconditionError(
        f"{what} of other options ({differences(old, wanted)}); use --force to replace it or choose another "
        "--output"
    )


def differences(old: Manifest, new: Manifest) -> str:
    """Return in a few words in what two manifests of one output differ: stage, options, inputs."""
    shown = [f"{name} {before} -> {after}" for name, before, after in _changes(old, new)]
    return ", ".join(shown) or "nothing that is recorded"


def _changes(old: Manifest, new: Manifest) -> list[tuple[str, str, str]]:
    """Return name, old and new value of everything in which two manifests of one output differ."""
    found = []
    if (old.stage, old.version) != (new.stage, new.version):
        found.append(("stage", f"{old.stage} v{old.version}", f"{new.stage} v{new.version}"))
    for kind, before, after in (("", old.options, new.options), ("input ", old.inputs, new.inputs)):
        for name in sorted(set(before) | set(after)):
            if before.get(name) != after.get(name):
                was, now = (_brief(side[name]) if name in side else "(none)" for side in (before, after))
                found.append((f"{kind}{name}", was, now))
    return found


def _brief(value: Any) -> str:
    """Return a value of a manifest in a few letters: a shard as ``1/4``, a hash by its beginning."""
    if isinstance(value, Mapping) and {"index", "count"} <= value.keys():
        return f"{value['index']}/{value['count']}"
    return str(value)[:24]


Standing = Literal["up to date", "to do", "interrupted", "stale"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Planned:
    """What every command answers to ``--dry-run``.

    Attributes:
        stage: who would make it; empty where nothing would be written.
        fingerprint: that the output would have.
        state: of what stands there: ``stale`` is finished with other options or inputs and would be replaced.
        changed: options and inputs (``input NAME``) in which a stale output differs.
        details: further entries for ``--json``.
    """

    stage: str = ""
    fingerprint: str = ""
    state: Standing = "to do"
    outputs: Sequence[Path] = ()
    changed: Sequence[str] = ()
    text: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {
            "stage": self.stage,
            "fingerprint": self.fingerprint,
            "state": self.state,
            "outputs": [str(path) for path in self.outputs],
            "changed": list(self.changed),
            "plan": self.text,
            **self.details,
        }

    def render(self) -> str:
        """Return the state, and what would be done; of what is no stage that alone."""
        if not self.stage:
            return self.text
        if self.state == "up to date":
            return f"up to date: {', '.join(map(str, self.outputs))}"
        changed = f" ({', '.join(self.changed)})" if self.changed else ""
        return f"{self.state}{changed}: {self.text}"


@dataclass(frozen=True, slots=True)
class Made:
    """What a command that made something answers.

    Attributes:
        state: ``up to date``, or what was done.
        told: what else a line for people says.
        details: further entries for ``--json``.
    """

    output: Path
    state: str
    counts: Mapping[str, int]
    told: str = ""
    details: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {"output": str(self.output), "state": self.state, **self.details, **self.counts}

    def render(self) -> str:
        """Return a line for people."""
        counts = [f"{count:,} {name.replace('_', ' ')}" for name, count in sorted(self.counts.items())]
        return f"{self.output}: {self.state}; {', '.join([self.told] * bool(self.told) + counts)}"


def planned(
    file: Path, wanted: Manifest, output: Path, text: str, details: Mapping[str, Any] | None = None
) -> Planned:
    """Return the answer about an output whose manifest is, or would be, ``file``.

    Raises:
        VerificationError: it stands finished, and its bytes changed.
    """
    state: Standing = "to do"
    changed: list[str] = []
    if file.exists():
        old = read_manifest(file)
        changed = [name for name, _, _ in _changes(old, wanted)]
        state = "stale" if old.fingerprint != wanted.fingerprint else "up to date"
        if state == "up to date":
            verify_files(file, old)
    elif (read_state(file) or {}).get("stage") == wanted.stage:
        state = "interrupted"
    return Planned(
        stage=wanted.stage,
        fingerprint=wanted.fingerprint,
        state=state,
        outputs=[output],
        changed=changed,
        text=text,
        details=details or {},
    )


@dataclass
class Stage:
    """One output of one stage, a folder (manifest inside) or a single file (manifest beside).

    Attributes:
        version: raised when equal options would give other bytes than before.
        force: replace a result of other options instead of refusing.
    """

    output: Path
    kind: Literal["folder", "file"]
    name: str
    version: int = 1
    options: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    force: bool = False

    def __post_init__(self) -> None:
        self._written: list[str] = []
        self.committed = False  # whether this call made the output
        self._started = time.monotonic()

    @property
    def wanted(self) -> Manifest:
        """The manifest of the output, as far as it is known before the work."""
        return Manifest(stage=self.name, version=self.version, options=self.options, inputs=self.inputs)

    @property
    def fingerprint(self) -> str:
        """What the output will be a pure function of."""
        return self.wanted.fingerprint

    @property
    def folder(self) -> Path:
        """Where the files stand."""
        return self.output if self.kind == "folder" else self.output.parent

    @property
    def manifest_file(self) -> Path:
        """Where the manifest stands or will stand."""
        if self.kind == "folder":
            return self.output / "manifest.json"
        return self.output.with_name(self.output.name + ".manifest.json")

    def up_to_date(self, *, look: bool = False) -> bool:
        """Return whether the output stands finished with this very fingerprint and intact files.

        With ``look``, for a dry run, nothing is changed; else a result that is to be replaced loses its
        manifest, and what killed calls left goes.

        Raises:
            PreconditionError: it stands finished with other options or inputs (and neither ``force`` nor
                ``DRETRIEVE_STALE=replace`` says to replace it), or something that is not ours stands there.
        """
        if self.kind == "file" and self.output.is_dir():
            raise PreconditionError(f"{self.output} is a folder; give --output a file name")
        if self.kind == "folder" and self.output.exists() and not self.output.is_dir():
            raise PreconditionError(f"{self.output} is a file; give --output a folder name")
        is_stream = self.kind == "file" and self.output.exists() and not self.output.is_file()
        if str(self.output) == "-" or is_stream:  # a device or a pipe: no file can take its place
            raise PreconditionError(
                f"{self.output} is no file on disk, and a result has its manifest beside it; give --output a "
                "file name"
            )
        # looked at in the order opposite to that in which another process writes them
        stands = self.output.exists()
        ours = self._is_begun()
        finished = self.manifest_file.exists()
        if not look:
            beside = (self.manifest_file, provenance_path(self.manifest_file), state_path(self.manifest_file))
            names = () if self.kind == "folder" else [path.name for path in (self.output, *beside)]
            remove_leftovers(self.folder, names, deep=self.kind == "folder" and (finished or ours))
        if not finished:
            if self.kind == "file" and stands and not (self.force or ours):
                raise PreconditionError(
                    f"{self.output} exists and was not made by dretrieve (it has no manifest); "
                    "use --force to replace it or choose another --output"
                )
            return False
        what = f"{self.output} holds the result"
        current = is_current(self.manifest_file, self.wanted, what, force=self.force)
        if current and not look:
            clear_state(self.manifest_file)
        elif not look:  # noted first, so that a call that is killed here can begin again
            record_state("replacing", self.manifest_file, self.name, self.fingerprint)
            self.manifest_file.unlink(missing_ok=True)
        return current

    def planned(self, text: str, details: Mapping[str, Any] | None = None) -> Planned:
        """Return what a dry run answers; what the command itself would refuse is refused.

        Raises:
            PreconditionError: as `up_to_date`.
        """
        self.up_to_date(look=True)
        found = planned(self.manifest_file, self.wanted, self.output, text, details)
        return replace(found, state="to do") if self.force and found.state == "up to date" else found

    def existing(self) -> Manifest:
        """Return the manifest of the finished output."""
        return read_manifest(self.manifest_file)

    def standing_files(self) -> list[Path]:
        """Return the files of the finished result that stands in the output, whatever made it.

        They are not known where its manifest is broken: `up_to_date` refuses that, or replaces it.
        """
        try:
            return [self.folder / name for name in self.existing().files]
        except DretrieveError:
            return []

    def remove_others(self, files: Sequence[Path]) -> None:
        """Remove those files of what stood in the output that this result does not have."""
        for path in files:
            if path not in [self.folder / name for name in self._written]:
                path.unlink(missing_ok=True)

    def refuse_strangers(self) -> None:
        """Refuse a folder with files that no stage of that name wrote: they would become part of the output.

        Raises:
            PreconditionError: names one of them.
        """
        if self.force or not self.output.is_dir():
            return
        names = sorted(path.name for path in self.output.iterdir() if not path.name.startswith("."))
        if names and not self._is_begun() and not self.manifest_file.exists():  # as in `up_to_date`
            raise PreconditionError(
                f"{self.output} holds {names[0]} and was not made by {self.name}; choose another --output, "
                "or --force to write into it"
            )

    @contextmanager
    def write(self, name: str | None = None, *, text: bool = False) -> Iterator[IO[Any]]:
        """Yield an open file that becomes ``name`` in the folder (or the single file) when the block ends."""
        make_folder(self.folder)
        target = self.folder / name if name is not None else self.output
        with (
            recorded_state(self.manifest_file, self.name, self.fingerprint),
            replacing(target, text=text) as file,
        ):
            yield file
        self.add(target.name if name is None else name)

    def add(self, name: str) -> None:
        """Count a file that was written by other means (a memory map, a library) as part of the output."""
        if name not in self._written:
            self._written.append(name)

    def commit(
        self,
        counts: Mapping[str, int] | None = None,
        extra: Mapping[str, Any] | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> Manifest:
        """Write provenance, then the manifest: from now on the output counts as finished.

        ``extra`` is whatever the next stage must know; hashed with the files, so keep it deterministic.
        ``details``, times, speeds, anything that may differ between equal runs, go to the provenance.
        """
        manifest = replace(self.wanted, counts=counts or {}, extra=extra or {})
        seconds = round(time.monotonic() - self._started, 3)
        about = {"seconds": seconds, **(details or {})}
        manifest = commit(self.manifest_file, manifest, sorted(self._written), about)
        clear_state(self.manifest_file)
        self.committed = True
        return manifest

    def _is_begun(self) -> bool:
        """Return whether the state beside the output says that a call of this stage was at work there."""
        return (read_state(self.manifest_file) or {}).get("stage") == self.name


def open_artefact(path: Path, stages: tuple[str, ...] = (), *, full: bool = False) -> Manifest:
    """Return the manifest of a finished, intact artefact of one of ``stages`` (any, if empty).

    Raises:
        PreconditionError: it does not exist or is not finished.
        VerificationError: it is another kind of artefact, or its bytes changed.
    """
    if not path.exists():
        raise PreconditionError(f"{path} does not exist; make it first or correct the path")
    manifest = read_verified(manifest_path(path), full=full)
    if stages and manifest.stage not in stages:
        raise VerificationError(
            f"{path} was made by the stage '{manifest.stage}', expected one made by {' or '.join(stages)}"
        )
    return manifest
