"""What killed processes left: temporary files that nobody will rename any more."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterable
from pathlib import Path

from dretrieve.store.atomic import TEMPORARY_MARK

QUIET_SECONDS = 600  # a process on another host of a shared disk writes more often than that


def left_by_killed(folder: Path) -> list[Path]:
    """Return temporary files and folders below ``folder`` whose process is gone and that nobody writes to.

    The process is looked for on this machine only; what another one writes on a shared disk is told by its
    times.
    """
    return [path for path in folder.glob(f"**/.*{TEMPORARY_MARK}*") if _is_left(path)]


def remove_left(folder: Path, names: Iterable[str]) -> None:
    """Remove what killed writers of those files of ``folder`` left beside them; never raises."""
    beginnings = tuple(f".{name}{TEMPORARY_MARK}" for name in names)
    try:
        found = [Path(entry.path) for entry in os.scandir(folder) if entry.name.startswith(beginnings)]
    except OSError:
        return
    for path in filter(_is_left, found):
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def _is_left(path: Path) -> bool:
    process = path.name.rpartition(TEMPORARY_MARK)[2].partition("-")[0]
    return process.isdigit() and not _runs(int(process)) and _quiet_seconds(path) > QUIET_SECONDS


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _quiet_seconds(path: Path) -> float:
    try:
        return time.time() - max(inner.stat().st_mtime for inner in (path, *path.rglob("*")))
    except OSError:  # just renamed into place
        return 0.0
