"""The state of an unfinished output, beside it: launchers such as torchrun lose exit codes, files do not.

``<output>.state.json`` (or ``state.json`` in a folder) says running, interrupted or failed, with the exit
code and the sentence. It is never hashed and disappears when the manifest commits the output.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dretrieve.errors import DretrieveError, Interrupted, PreconditionError, UsageError
from dretrieve.store.atomic import write_json


def state_path(manifest: Path) -> Path:
    """Return where the state stands that belongs to the manifest's output."""
    return manifest.with_name(manifest.name.replace("manifest.json", "state.json"))


def read_state(manifest: Path) -> dict[str, Any] | None:
    """Return the state beside the manifest's place, or None when there is none (or it is unreadable)."""
    try:
        value = json.loads(state_path(manifest).read_bytes())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


@contextmanager
def recorded_state(manifest: Path, stage: str, fingerprint: str) -> Iterator[None]:
    """Keep the state file true while the block works; a failure is recorded and raised again.

    A command that is refused has done nothing: an output that was interrupted before stays interrupted.
    """
    path, before = state_path(manifest), read_state(manifest) or {}

    def record(state: str, code: int | None = None, message: str | None = None) -> None:
        about = {"stage": stage, "fingerprint": fingerprint}
        write_json(path, {"state": state, "exit_code": code, "message": message, **about})

    record("running")
    try:
        yield
    except Interrupted as error:
        record("interrupted", error.exit_code, str(error))
        raise
    except DretrieveError as error:
        if before.get("state") == "interrupted" and _refuses(error):
            write_json(path, before)
        else:
            record("failed", error.exit_code, str(error))
        raise
    except BaseException as error:  # noted, whatever it is, and raised again
        record("failed", 1, f"{type(error).__name__}: {error}")
        raise


def _refuses(error: DretrieveError) -> bool:
    """Return whether the error says what is wrong with the command, not what went wrong in the work."""
    return isinstance(error, UsageError | PreconditionError) and not isinstance(error.__cause__, OSError)


def clear_state(manifest: Path) -> None:
    """Remove the state: the manifest speaks from now on."""
    state_path(manifest).unlink(missing_ok=True)
