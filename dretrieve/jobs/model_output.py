"""A model's folder, for the stages that write one: its files, and who may write there."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from dretrieve.errors import PreconditionError
from dretrieve.store.atomic import make_folder
from dretrieve.store.manifest import read_manifest
from dretrieve.store.stage import Stage

RECORDS = ("manifest.json", "provenance.json", "state.json")


def listed(stage: Stage) -> list[Path]:
    """Return the files of the finished result that stands in the output, whatever made it."""
    if not stage.manifest_file.exists():
        return []
    return [stage.output / name for name in read_manifest(stage.manifest_file).files]


def model_files(folder: Path, skipped: Collection[str] = ()) -> list[str]:
    """Return the names of what stands in a model's folder but records, hidden files and ``skipped`` parts."""
    names = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())
    return [
        str(name)
        for name in names
        if name.parts[0] not in skipped and name.name not in RECORDS and not name.name.startswith(".")
    ]


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep other trainings out of the folder for the block.

    The lock is the kernel's (flock on the folder itself): it leaves no file, and ends with its process,
    however it ends. It holds among the processes of one machine; two machines that share a disk see each
    other's only where the file system carries such locks, and most network file systems do not for folders.

    Raises:
        PreconditionError: another process is in the folder.
    """
    handle = os.open(make_folder(folder), os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PreconditionError(
                f"another training is at work in {folder}; wait until it ends, or choose another --output"
            ) from None
        except OSError:  # a file system without locks
            pass
        yield
    finally:
        os.close(handle)
