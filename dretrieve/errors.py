"""The exceptions of dretrieve: one class per exit code, one clear sentence each.

A message says what was expected, what came, where (file and line), and how to fix it. Nothing else
in the library raises on a user's mistake; `assert` guards our own invariants.
"""

from __future__ import annotations

from pathlib import Path


class DretrieveError(Exception):
    """A failure that the user can act on. Exit code 1."""

    exit_code = 1


class UsageError(DretrieveError):
    """Options that do not fit together or name something unknown. Exit code 2."""

    exit_code = 2


class PreconditionError(DretrieveError):
    """Something needed is not there yet: memory, disk, an extra, a missing shard, a GPU. Exit code 3."""

    exit_code = 3


class DataError(DretrieveError):
    """Input that breaks its format; names the file and, where there is one, the line. Exit code 4."""

    exit_code = 4

    @classmethod
    def at(cls, path: str | Path, line: int | None, message: str) -> DataError:
        """Return the error with its place in front: ``corpus.jsonl.gz, line 7: …``."""
        place = f"{path}, line {line}" if line is not None else f"{path}"
        return cls(f"{place}: {message}")


class VerificationError(DretrieveError):
    """Artefacts that do not belong together, or whose bytes are not those written. Exit code 5."""

    exit_code = 5


class Interrupted(DretrieveError):
    """A signal or a time limit stopped the stage at a safe point; the same command goes on. Exit code 75."""

    exit_code = 75
