"""Files appear whole or not at all: written beside their place, fsynced, renamed.

A reader never meets half a file, and two writers of the same bytes may race without harm. What a killed
writer of the same file left is removed by the next one (`dretrieve.store.leftovers`).
"""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from dretrieve.errors import DretrieveError, PreconditionError
from dretrieve.store.leftovers import TEMPORARY_MARK, remove_leftovers, this_process

_OTHER = "choose another --output"
# What a writer can meet, and its cure; "" where the system's own words say it.
_REASONS = {
    errno.ENOSPC: f"the disk is full; free space or {_OTHER}, then run the command again",
    errno.EDQUOT: f"the disk quota is used up; free space or {_OTHER}, then run again",
    errno.EROFS: f"the file system is read-only; {_OTHER}",
    errno.EACCES: "permission denied; choose an --output that you may write",
    errno.EPERM: "permission denied; choose an --output that you may write",
    errno.EFBIG: "the file would be larger than the allowed size (ulimit -f)",
    errno.EIO: f"the disk reports an input/output error; check it, or {_OTHER}",
    errno.ENOTDIR: f"a parent of this path is a file; {_OTHER}",
    errno.EISDIR: f"a folder stands where a file is to be written; {_OTHER}",
    errno.EEXIST: f"a file stands where a folder is to be made; {_OTHER}",
    errno.ENOENT: "",
}
_RUST_ERROR = re.compile(r"\(os error (\d+)\)")  # of safetensors, tokenizers
_SHORT_WRITES = ("PytorchStreamWriter failed writing", "unexpected pos", "requested and")  # no errno in them


class WriteError(PreconditionError):
    """The machine refused a write, whatever the command was. Exit code 3."""


def explain_os_error(error: Exception, path: Path) -> WriteError:
    """Return the one-sentence error for a failed write at ``path`` (full disk, read-only, no permission)."""
    own_words = getattr(error, "strerror", None) or " ".join(str(error).split())[:200]
    return WriteError(f"cannot write {path}: {_REASONS.get(_errno_of(error) or 0) or own_words}")


def _errno_of(error: Exception) -> int | None:
    """Return the errno that an error carries or says in words, 0 for an `OSError` without, else None."""
    if isinstance(error, OSError) and error.errno:
        return error.errno
    text = str(error)
    if found := _RUST_ERROR.search(text):
        return int(found[1])
    said = [number for number in _REASONS if os.strerror(number) in text]  # C's: faiss, torch
    if not said and any(words in text for words in _SHORT_WRITES):
        return errno.ENOSPC
    return said[0] if said else (0 if isinstance(error, OSError) else None)


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an `OSError` of the block, or what a library's writer makes of one, into a sentence on ``path``.

    The one wrapper of all writers: files of our own, numpy, faiss, torch, safetensors, tokenizers.
    """
    try:
        yield
    except DretrieveError:
        raise
    except Exception as error:  # each library wraps the system's error in one of its own
        if _errno_of(error) is None:
            raise
        raise explain_os_error(error, path) from error


def make_folder(path: Path) -> Path:
    """Create the folder and its parents; raise `PreconditionError` when that is impossible."""
    with explained(path):
        path.mkdir(parents=True, exist_ok=True)
    return path


def temporary_beside(path: Path) -> Path:
    """Return a fresh hidden name in the same folder, so that the rename stays on one file system."""
    return path.with_name(f".{path.name}{TEMPORARY_MARK}{this_process()}-{secrets.token_hex(2)}")


@contextmanager
def folder_beside(place: Path, about: Path | None = None) -> Iterator[Path]:
    """Yield an empty folder beside ``place``, to be renamed to it; what is left of it goes at the end.

    ``about`` is what is written, for the message.

    Raises:
        PreconditionError: the disk refused a write of the block.
    """
    make_folder(place.parent)
    remove_leftovers(place.parent, [place.name])
    temporary = temporary_beside(place)
    try:
        with explained(about or place):
            temporary.mkdir()
            yield temporary
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@contextmanager
def scratch_file(folder: Path) -> Iterator[IO[bytes]]:
    """Yield a file to write and read in that folder; it has no name there and ends with the process."""
    remove_leftovers(folder, ["scratch"])
    temporary = temporary_beside(folder / "scratch")
    try:
        file = open(temporary, "w+b")
    finally:
        temporary.unlink(missing_ok=True)
    with file:
        yield file


def sync(path: Path) -> None:
    """Make the file's bytes durable; of a folder, the renames inside it."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def replacing(path: Path, *, text: bool = False) -> Iterator[IO[Any]]:
    """Yield an open file that takes the place of ``path`` when the block ends well.

    On any exception the temporary file is removed and ``path`` is what it was before.

    Raises:
        PreconditionError: the place cannot be written (full, read-only, not permitted).
    """
    mode, options = ("w", {"encoding": "utf-8", "newline": "\n"}) if text else ("wb", {})
    with _placed(path) as temporary:
        with open(temporary, mode, **options) as file:  # type: ignore[call-overload]  # mode decides
            yield file
            file.flush()
            os.fsync(file.fileno())


@contextmanager
def _placed(path: Path) -> Iterator[Path]:
    """Yield a name beside ``path``; what the block writes there takes its place, or goes where it fails."""
    make_folder(path.parent)
    remove_leftovers(path.parent, [path.name])
    temporary = temporary_beside(path)
    try:
        with explained(path):
            yield temporary
            os.replace(temporary, path)
            sync(path.parent)
    finally:  # of two links to one file a rename leaves both
        with suppress(OSError):  # a read-only file system refuses even what is not there
            temporary.unlink(missing_ok=True)


@contextmanager
def filling(folder: Path) -> Iterator[Path]:
    """Yield an empty folder for a library that names its files itself; they move to ``folder`` at the end.

    What such a library leaves when it is killed stands inside and goes with it. The files are readable as
    the umask says, whatever the library thinks.

    Raises:
        PreconditionError: the place cannot be written (full, read-only, not permitted).
    """
    with folder_beside(folder / "files", about=folder) as temporary:
        yield temporary
        mode = temporary.stat().st_mode & 0o666
        for path in sorted(path for path in temporary.rglob("*") if path.is_file()):
            path.chmod(mode)
            sync(path)
            place = folder / path.relative_to(temporary)
            make_folder(place.parent)
            os.replace(path, place)
        sync(folder)


def same_file(source: Path, path: Path) -> None:
    """Make ``path`` a hard link to the file ``source``; where the file system has none across, a copy of it.

    Raises:
        PreconditionError: the place cannot be written.
    """
    with _placed(path) as temporary:
        try:
            os.link(source.resolve(), temporary)
        except OSError:
            shutil.copyfile(source, temporary)
            sync(temporary)


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` atomically."""
    with replacing(path) as file:
        file.write(data)


def write_json(path: Path, value: object) -> None:
    """Write ``value`` atomically as readable JSON with sorted keys; NaN and infinity are refused."""
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_bytes(path, text.encode() + b"\n")
