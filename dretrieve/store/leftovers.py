"""What killed processes left: temporary files that nobody will rename any more, states that say "running".

A writer puts its `this_process` into both, so that on the same host its end is known at once: by its number,
and by the time it started, since numbers are given again. Of other hosts of a shared disk only times tell.
"""

from __future__ import annotations

import hashlib
import os
import platform
import re
import shutil
import time
from collections.abc import Collection
from contextlib import suppress
from functools import lru_cache
from pathlib import Path

TEMPORARY_MARK = ".tmp-"
# As `dretrieve.store.atomic.temporary_beside` names them, and as releases did that knew no hosts.
_TEMPORARY = re.compile(
    r"\.(?P<name>.+)\.tmp-(?:(?P<process>[0-9a-f]{8}-\d+-\d+)-[0-9a-f]{4}|\d+-[0-9a-f]{8})(?:\.old)?",
    re.DOTALL,
)
QUIET_SECONDS = 600  # a process on another host of a shared disk writes more often than that


def this_process() -> str:
    """Return what names the calling process on all hosts: host, number, start."""
    return f"{_host()}-{os.getpid()}-{_started(os.getpid()) or 0}"


def is_gone(process: str) -> bool:
    """Return whether the process of that `this_process` ran on this host and has ended."""
    host, _, rest = process.partition("-")
    number, _, start = rest.partition("-")
    if host != _host() or not number.isdigit():
        return False
    started = _started(int(number))
    if started is not None:
        return started != start
    with suppress(PermissionError):  # another user's, who may be hidden in /proc
        try:
            os.kill(int(number), 0)
        except ProcessLookupError:
            return True
    return False


def remove_leftovers(folder: Path, names: Collection[str] = (), *, deep: bool = False) -> None:
    """Remove what killed writers left in ``folder``; never raises.

    The folder need not exist; ``names`` are the files that they were to become, empty for all; ``deep`` looks
    into the folders below too.
    """
    pattern = f"**/.*{TEMPORARY_MARK}*" if deep else f".*{TEMPORARY_MARK}*"
    with suppress(OSError):
        for path in list(folder.glob(pattern)):
            if not _is_left(path, names):
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


def _is_left(path: Path, names: Collection[str]) -> bool:
    """Return whether it is a temporary file of ours, for one of ``names`` (if any), that nobody writes to."""
    found = _TEMPORARY.fullmatch(path.name)
    if found is None or (names and found["name"] not in names):
        return False
    process = found["process"] or ""
    return is_gone(process) if process.startswith(f"{_host()}-") else _quiet_seconds(path) > QUIET_SECONDS


@lru_cache(maxsize=1)
def _host() -> str:
    """Return a short name of this boot of this machine, and of the space in which process numbers count."""
    parts = [platform.node()]
    with suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip())
    with suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid"))
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:8]


def _started(process: int) -> str | None:
    """Return the ticks from the boot to its start; "" when it has ended, None where nothing tells."""
    try:
        status = Path(f"/proc/{process}/stat").read_bytes()
    except OSError:
        return None
    fields = status.rpartition(b")")[2].split()  # the program's name may hold blanks and brackets
    return "" if fields[0] in (b"Z", b"X") else fields[19].decode()


def _quiet_seconds(path: Path) -> float:
    try:
        return time.time() - max(inner.stat().st_mtime for inner in (path, *path.rglob("*")))
    except OSError:  # just renamed into place
        return 0.0
