"""Where things are kept that can be made again, what files were at first use, readings that are shared."""

from __future__ import annotations

import json
import os
import warnings
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from hashlib import sha256
from pathlib import Path
from typing import Any, TypeVar

from dretrieve.errors import DretrieveError, SpokenWarning, VerificationError
from dretrieve.store.atomic import make_folder, write_json

Read = TypeVar("Read")
_readings: ContextVar[dict[Any, Any] | None] = ContextVar("readings", default=None)


@contextmanager
def reading_once() -> Iterator[None]:
    """Share what `read_once` reads, while it does not change: a report asks about hundreds of trainings."""
    token = _readings.set({})
    try:
        yield
    finally:
        _readings.reset(token)


def read_once(name: str, files: Iterable[Path], read: Callable[[], Read]) -> Read:
    """Return what ``read`` returns; inside `reading_once`, of unchanged files, what it returned before.

    By the files' sizes and times a change shows.
    """
    readings = _readings.get()
    if readings is None:
        return read()
    states = [(file, file.stat()) for file in files]
    key = name, *((str(file), state.st_size, state.st_mtime_ns) for file, state in states)
    if key not in readings:
        readings[key] = read()
    found: Read = readings[key]
    return found


def cache_folder() -> Path:
    """Return ``$DRETRIEVE_CACHE``, or ``~/.cache/dretrieve``; it need not exist."""
    return Path(os.environ.get("DRETRIEVE_CACHE") or Path.home() / ".cache" / "dretrieve")


def remember(files: Mapping[Path, str], *, said: bool = True) -> None:
    """Compare files that were made elsewhere with what they were when they were used before.

    Their makers left no checksums, so those of the first use are kept in the cache, by folder. A file with
    the size and time of before must have its bytes; one that was written since counts as new, and is said.
    With ``said`` a warning names files that were written since.

    Raises:
        VerificationError: bytes changed though nobody wrote the file.
    """
    folders: dict[Path, dict[str, str]] = defaultdict(dict)
    for file in filter(Path.is_file, files):  # no pipe
        folders[file.resolve().parent][file.resolve().name] = files[file]
    for folder, digests in folders.items():
        record = cache_folder() / "first-use" / f"{sha256(os.fsencode(folder)).hexdigest()[:16]}.json"
        known = _known(record)
        for name, digest in digests.items():
            status = (folder / name).stat()
            entry: list[int | str] = [status.st_size, status.st_mtime_ns, digest]
            before = known.get(name, entry)
            if before[2] != digest and before[:2] == entry[:2]:
                raise VerificationError(
                    f"{folder / name} has other bytes than at its first use here, though size and time are "
                    f"the same: it is damaged; fetch it again (or, if it is right, remove {record})"
                )
            if before[2] != digest and said:
                warnings.warn(
                    f"{folder / name} is not the file that was used here before: it was written since; what "
                    "was made with it then does not fit it any more",
                    SpokenWarning,
                    stacklevel=2,
                )
            known[name] = entry
        if known != _known(record):
            with suppress(DretrieveError, OSError):  # a cache that cannot be written remembers nothing
                make_folder(record.parent)
                write_json(record, {"folder": str(folder), "files": known})


def _known(record: Path) -> dict[str, list[int | str]]:
    try:
        return dict(json.loads(record.read_bytes())["files"])
    except (OSError, ValueError, KeyError, TypeError):
        return {}
