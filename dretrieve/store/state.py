"""The state of an unfinished output, beside it, and who may work there.

Launchers such as torchrun lose exit codes, files do not: ``<output>.state.json`` (or ``state.json`` in a
folder) says running, interrupted or failed, with the exit code and the sentence. It is never hashed and
disappears when the manifest commits the output. A "running" whose process has ended is read as "killed". A
call that is refused leaves an interrupted output interrupted, and only notes its own exit code and sentence
under "refused".
"""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dretrieve.errors import DretrieveError, Interrupted, PreconditionError, UsageError
from dretrieve.store.atomic import WriteError, make_folder, write_json
from dretrieve.store.leftovers import is_gone, this_process

PATIENCE = 10.0  # seconds: a process that was killed gives its memory back, and then its lock


def state_path(manifest: Path) -> Path:
    """Return where the state stands that belongs to the manifest's output."""
    return manifest.with_name(manifest.name.replace("manifest.json", "state.json"))


def read_state(manifest: Path) -> dict[str, Any] | None:
    """Return the state beside the manifest's place, or None when there is none (or it is unreadable).

    "running" becomes "killed" where the process has ended on this host.
    """
    try:
        value = json.loads(state_path(manifest).read_bytes())
    except (OSError, ValueError):
        return None
    if not isinstance(value, dict):
        return None
    process = value.pop("process", "")
    if value.get("state") == "running" and is_gone(str(process)):
        message = "its process ended without a word (killed?); run the same command again"
        value |= {"state": "killed", "message": message}
    return value


def record_state(state: str, manifest: Path, stage: str, fingerprint: str) -> None:
    """Note that this process works at the output ("running"), or is about to ("replacing")."""
    about = {"stage": stage, "fingerprint": fingerprint, "process": this_process()}
    write_json(state_path(manifest), {"state": state, "exit_code": None, "message": None, **about})


@contextmanager
def recorded_state(manifest: Path, stage: str, fingerprint: str) -> Iterator[None]:
    """Keep the state file true while the block works; a failure is recorded and raised again."""
    path, before = state_path(manifest), read_state(manifest)
    record_state("running", manifest, stage, fingerprint)
    try:
        yield
    except BaseException as error:  # noted, whatever it is, and raised again
        with suppress(DretrieveError):  # the disk that made the block fail may refuse the note too
            if before is not None and before.get("state") in ("interrupted", "killed") and _is_refusal(error):
                write_json(path, {**before, "refused": _described(error)})
            else:
                state = "interrupted" if isinstance(error, Interrupted) else "failed"
                about = {"stage": stage, "fingerprint": fingerprint}
                write_json(path, {"state": state, **_described(error), **about})
        raise


def _is_refusal(error: BaseException) -> bool:
    """Return whether the call did not fit what stands there, rather than failed at its work."""
    return isinstance(error, UsageError | PreconditionError) and not isinstance(error, WriteError)


def _described(error: BaseException) -> dict[str, Any]:
    if isinstance(error, DretrieveError):
        return {"exit_code": error.exit_code, "message": str(error)}
    return {"exit_code": 1, "message": f"{type(error).__name__}: {error}"}


def clear_state(manifest: Path) -> None:
    """Remove the state: the manifest speaks from now on, also where the file system refuses the removal."""
    with suppress(OSError):
        state_path(manifest).unlink(missing_ok=True)


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """Keep others who call this out of the folder for the block.

    The lock is the kernel's (flock on the folder itself): it leaves no file, and ends with its process,
    however it ends. It holds among the processes of one machine; two machines that share a disk see each
    other's only where the file system carries such locks, and most network file systems do not for folders.

    Raises:
        PreconditionError: another process is in the folder, and is still there after ``PATIENCE``.
    """
    handle = os.open(make_folder(folder), os.O_RDONLY)
    try:
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise PreconditionError(
                        f"another process is at work in {folder}; wait until it ends, or choose another "
                        "--output"
                    ) from None
                time.sleep(0.05)
            except OSError:  # a file system without locks
                break
        yield
    finally:
        os.close(handle)
