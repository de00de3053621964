"""Files appear whole or not at all: written beside their place, fsynced, renamed.

A reader never meets half a file, and two writers of the same bytes may race without harm.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from dretrieve.errors import DretrieveError, PreconditionError

TEMPORARY_MARK = ".tmp-"


def explain_os_error(error: OSError, path: Path) -> DretrieveError:
    """Return the one-sentence error for a failed write at ``path`` (full disk, read-only, no permission)."""
    reasons = {
        errno.ENOSPC: "the disk is full; free space or choose another --output, then run the command again",
        errno.EDQUOT: "the disk quota is used up; free space or choose another --output, then run again",
        errno.EROFS: "the file system is read-only; choose another --output",
        errno.EACCES: "permission denied; choose an --output that you may write",
        errno.EPERM: "permission denied; choose an --output that you may write",
        errno.ENOTDIR: "a parent of this path is a file; choose another --output",
        errno.EISDIR: "a folder stands where a file is to be written; choose another --output",
        errno.EFBIG: "the file would be larger than the allowed size (ulimit -f)",
    }
    number = error.errno or 0
    if not number and "requested and" in str(error):
        number = errno.ENOSPC  # numpy's words for a short write; it drops the number
    reason = reasons.get(number, error.strerror or str(error))
    return PreconditionError(f"cannot write {path}: {reason}")


@contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn an `OSError` of the block into one sentence about ``path``."""
    try:
        yield
    except OSError as error:
        raise explain_os_error(error, path) from error


def make_folder(path: Path) -> Path:
    """Create the folder and its parents; raise `PreconditionError` when that is impossible."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise PreconditionError(
            f"cannot write {path}: a file stands where a folder is to be made; choose another --output"
        ) from error
    except OSError as error:
        raise explain_os_error(error, path) from error
    return path


def temporary_beside(path: Path) -> Path:
    """Return a fresh hidden name in the same folder, so that the rename stays on one file system."""
    return path.with_name(f".{path.name}{TEMPORARY_MARK}{os.getpid()}-{secrets.token_hex(4)}")


def sync_folder(path: Path) -> None:
    """Make the renames inside the folder durable."""
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
    make_folder(path.parent)
    temporary = temporary_beside(path)
    try:
        with explained(path):
            mode, options = ("w", {"encoding": "utf-8", "newline": "\n"}) if text else ("wb", {})
            with open(temporary, mode, **options) as file:  # type: ignore[call-overload]  # mode decides
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            sync_folder(path.parent)
    finally:
        with suppress(OSError):  # a read-only file system refuses even what is not there
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` atomically."""
    with replacing(path) as file:
        file.write(data)


def write_json(path: Path, value: object) -> None:
    """Write ``value`` atomically as readable JSON with sorted keys; NaN and infinity are refused."""
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    write_bytes(path, text.encode() + b"\n")
