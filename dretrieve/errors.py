"""The exceptions of dretrieve: one class per exit code, one clear sentence each; how values stand in them.

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


class SpokenWarning(UserWarning):
    """What a user must hear, in a line, also with ``--quiet``: a changed file, a choice that takes hours."""


LONGEST_QUOTE = 200
# What a terminal obeys or a reader cannot see: control characters, line separators, changes of direction.
_CONTROLS = (range(9), range(11, 32), range(127, 160), range(0x2028, 0x202F), range(0x2066, 0x206A))
_VISIBLE = {
    code: f"\\x{code:02x}" if code < 32 else f"\\u{code:04x}" for codes in _CONTROLS for code in codes
}
_VISIBLE[ord("\r")] = "\\r"


def visible(text: str) -> str:
    r"""Return the text with every character that a terminal obeys written out (``\x1b``).

    Line ends and tabs stay, and so does all that scripts need (joiners, marks, no-break blanks). JSON stays
    JSON: it has no control characters of its own, and ``\u`` is how it writes the others.
    """
    return text.translate(_VISIBLE)


def quoted(value: object) -> str:
    """Return a value of the user's for a sentence: in quotes, on one line, at most 200 characters of it."""
    if isinstance(value, str):
        shown, length = repr(value[:LONGEST_QUOTE]), len(value)
    else:
        try:
            shown = visible(repr(value))
        except (RecursionError, ValueError):  # nested too deeply; a number of thousands of digits
            return f"a value of type {type(value).__name__} that is too large to be shown"
        length = len(shown)
        shown = shown[:LONGEST_QUOTE]
    return shown if length <= LONGEST_QUOTE else f"{shown}… ({length:,} characters)"
