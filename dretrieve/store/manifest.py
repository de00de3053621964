"""Manifests: what an artefact is, what it was made from, and the checksums of its files.

``manifest.json`` is deterministic: the same stage, options and inputs give the same bytes.
``provenance.json`` (arguments, host, versions, times, file times) stands beside it and is never hashed.
The manifest is renamed into place last, so its presence *is* the commit.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import dretrieve
from dretrieve.errors import DataError, PreconditionError, VerificationError
from dretrieve.store.atomic import write_json
from dretrieve.store.fingerprint import canonical_json, fingerprint, sha256_bytes, sha256_file

FORMAT = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The hashed description of an artefact.

    Attributes:
        version: the stage's version, raised when the same options would give other bytes.
        files: name to ``{"bytes": …, "sha256": …}``, relative to the manifest's folder.
        extra: whatever else the next stage must know (dim, dtype, sides, shard, relative paths).
    """

    stage: str
    version: int
    options: Mapping[str, Any] = field(default_factory=dict)
    inputs: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    files: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)

    @property
    def fingerprint(self) -> str:
        """What the artefact is a pure function of."""
        return fingerprint(self.stage, self.version, self.options, self.inputs)

    def as_json(self) -> dict[str, Any]:
        """Return the mapping that is written: with the format number, the fingerprint, and a checksum."""
        value: dict[str, Any] = {"format": FORMAT, "fingerprint": self.fingerprint}
        for name in (entry.name for entry in fields(self)):
            given = getattr(self, name)
            value[name] = dict(given) if isinstance(given, Mapping) else given
        return value | {"checksum": sha256_bytes(canonical_json(value))}


def manifest_path(artefact: Path) -> Path:
    """Return where the manifest of a folder (inside) or of a single file (beside) stands."""
    if artefact.is_dir():
        return artefact / "manifest.json"
    return artefact.with_name(artefact.name + ".manifest.json")


def provenance_path(manifest: Path) -> Path:
    """Return where the provenance of that manifest stands."""
    return manifest.with_name(manifest.name.replace("manifest.json", "provenance.json"))


def commit(
    path: Path, manifest: Manifest, names: Iterable[str], details: Mapping[str, Any] | None = None
) -> Manifest:
    """Write the manifest with the sizes and checksums of its files, read back from the disk; return it.

    ``details`` are what may differ between equal runs (times, speeds); with them goes a provenance, which
    says who, where, when, with what, and the file times that make later checks quick. None for none.
    """
    states = {name: (path.parent / name).stat() for name in names}
    files = {
        name: {"bytes": state.st_size, "sha256": sha256_file(path.parent / name)}
        for name, state in states.items()
    }
    manifest = replace(manifest, files=files)
    if details is not None:
        about = {
            "arguments": sys.argv,
            "dretrieve": dretrieve.__version__,
            "python": platform.python_version(),
            "host": platform.node(),
            "machine": platform.machine(),
            "job": {name: os.environ[name] for name in sorted(os.environ) if name.startswith("SLURM_JOB")},
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "files": {name: state.st_mtime_ns for name, state in states.items()},
            "details": dict(details),
        }
        write_json(provenance_path(path), about)
    write_json(path, manifest.as_json())
    return manifest


def read_manifest(path: Path) -> Manifest:
    """Return the manifest at ``path``, as it was written; its files are not looked at.

    Raises:
        PreconditionError: there is none.
        DataError: it is no manifest of ours, or of a later format.
        VerificationError: its checksum is not that of its contents.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise PreconditionError(
            f"{path} does not exist: the stage that makes it has not finished; run that command (again)"
        ) from None
    except (OSError, ValueError) as error:
        raise DataError(f"{path} cannot be read as a manifest: {error}; make the artefact again") from error
    if not isinstance(value, dict) or "stage" not in value or "format" not in value:
        raise DataError(f"{path} is not a manifest of dretrieve")
    if value["format"] != FORMAT:
        raise DataError(
            f"{path} has manifest format {value['format']}, this dretrieve reads format {FORMAT}; "
            "install the release that wrote it or make the artefact again"
        )
    names = [entry.name for entry in fields(Manifest)]
    missing = [name for name in names if name not in value]
    if missing:
        raise DataError(f"{path} lacks {', '.join(missing)}; make the artefact again")
    checksum = sha256_bytes(canonical_json({name: value[name] for name in value if name != "checksum"}))
    if checksum != value.get("checksum"):
        raise VerificationError(
            f"{path} was edited after it was written (its checksum does not fit its contents); "
            "make the artefact again with --force"
        )
    return Manifest(**{name: value[name] for name in names})


def read_verified(path: Path, *, full: bool = False) -> Manifest:
    """Return the manifest at ``path`` whose files are those that were written.

    Raises:
        PreconditionError: there is none, or a file is missing.
        DataError: it is no manifest of ours.
        VerificationError: it was edited, or a file was truncated, grown or changed.
    """
    manifest = read_manifest(path)
    verify_files(path, manifest, full=full)
    return manifest


def is_spent(file: Path) -> bool:
    """Return whether a file was let go when all was made of it (recipes/lib.sh): ``FILE.spent`` says so."""
    return not file.exists() and file.with_name(file.name + ".spent").exists()


def verify_files(
    path: Path, manifest: Manifest, *, full: bool = False, only: Collection[str] | None = None
) -> None:
    """Check that the files are those that were written; `read_verified` says what is raised.

    Size always; the checksum when ``full``, or when a file's time is not the one in the provenance. Of a file
    that was let go (`is_spent`) nothing is checked.
    A single file that was renamed with its manifest is checked under its present name.
    """
    try:
        times = json.loads(provenance_path(path).read_bytes()).get("files", {})
    except (OSError, ValueError, AttributeError):
        times = {}
    present = path.name.removesuffix(".manifest.json")
    renamed = len(manifest.files) == 1 and present != path.name
    for listed, entry in manifest.files.items():
        name = present if renamed else listed
        if only is not None and name not in only:
            continue
        file = path.parent / name
        try:
            state = file.stat()
        except OSError:
            if is_spent(file):
                continue
            raise PreconditionError(
                f"{file} is missing though {path.name} lists it; make the artefact again with --force"
            ) from None
        if state.st_size != entry["bytes"]:
            raise VerificationError(
                f"{file} has {state.st_size:,} bytes, {path.name} says {entry['bytes']:,}: the file was "
                "truncated or changed; make the artefact again with --force"
            )
        if (full or times.get(name) != state.st_mtime_ns) and sha256_file(file) != entry["sha256"]:
            raise VerificationError(
                f"{file} does not have the checksum that {path.name} records: its bytes were changed; "
                "make the artefact again with --force"
            )
