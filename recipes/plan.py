"""The plan of a recipe: every command with what its own --dry-run says of size, memory and time.

    DRY_RUN=1 bash recipes/<recipe>.sh        (or: bash recipes/<recipe>.sh --dry-run)

lib.sh writes down the recipe's steps and calls instead of making them; this file then asks each command, all
in one process. A command whose inputs an earlier one makes cannot say much yet: it is listed as "after" that
one. Whatever else a command has against its words ends the plan with that command's exit code.
"""

from __future__ import annotations

import io
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path

from dretrieve_cli.app import main as dretrieve

MISSING = 3  # the exit code of an input that is not there
WORDS, PIECES = "\x1f", ",=#"


@dataclass
class Plan:
    """What was said so far.

    Attributes:
        made: output of an earlier command to that command's number.
        calls: how many commands there were.
        waiting: how many of them need an earlier one.
        code: of the first command that refuses its words; 0 while there is none.
    """

    made: dict[str, int] = field(default_factory=dict)
    calls: int = 0
    waiting: int = 0
    code: int = 0

    def line(self, kind: str, words: Sequence[str]) -> Iterator[str]:
        """Yield what is to be printed for one line of the recipe's record."""
        if kind == "step":
            yield f"\n{words[0]}"
            return
        self.calls += 1
        shown = ["dretrieve", *words] if kind == "call" else words[1:]
        yield f"  {self.calls:>3}. {shlex.join(shown)}"
        code, said = ask(words) if kind == "call" else (0, [])
        earlier = self.earlier(words)
        if code == MISSING and earlier:
            self.waiting += 1
            yield f"       after {earlier}"
        else:
            yield from (f"       {text}" for text in said)
            self.code = self.code or code
        for output in outputs(words) if kind == "call" else words[:1]:
            self.made.setdefault(output, self.calls)

    def earlier(self, words: Sequence[str]) -> int:
        """Return the number of the last earlier command whose output these words name; 0 if none does."""
        own = set(outputs(words))
        pieces = {piece for word in words for piece in cut(word)} - own
        return max(
            (number for path, number in self.made.items() if any(names(piece, path) for piece in pieces)),
            default=0,
        )


def ask(words: Sequence[str]) -> tuple[int, list[str]]:
    """Return the exit code of the command's --dry-run and the lines that it says."""
    out = io.StringIO()
    with redirect_stdout(out), redirect_stderr(out):
        code = dretrieve([*words, "--dry-run"])
    return code, [line.rstrip() for line in out.getvalue().splitlines() if line.strip()]


def outputs(words: Sequence[str]) -> list[str]:
    """Return what the command makes: the word after --output."""
    return [after for word, after in pairwise(words) if word in ("--output", "-o")]


def cut(word: str) -> list[str]:
    """Return the paths that a word may hold: itself, or the parts of ``name=…,path=…`` and ``FILE#RUN``."""
    for mark in PIECES:
        word = word.replace(mark, "\0")
    return word.split("\0")


def names(piece: str, path: str) -> bool:
    """Return whether a word's piece is that path, something in it, a split of it, or a folder above it."""
    inside = piece.startswith((f"{path}/", f"{path}:")) or (len(piece) > 1 and path.startswith(f"{piece}/"))
    return piece == path or inside or (any(mark in piece for mark in "*?[") and fnmatch(path, piece))


def main(record: Path) -> int:
    """Print the plan of the recorded calls; return the exit code."""
    plan = Plan()
    for line in record.read_text(encoding="utf-8").splitlines():
        kind, *words = line.split(WORDS)[:-1]
        for text in plan.line(kind, words):
            sys.stdout.write(f"{text}\n")
            sys.stdout.flush()
    wait = f"; {plan.waiting} of them wait for an earlier one" if plan.waiting else ""
    sys.stdout.write(f"\n{plan.calls} commands{wait}. Nothing was done.\n")
    return plan.code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
