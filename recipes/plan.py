"""The plan of a recipe: every command with what its own --dry-run says of size, memory and time.

    DRY_RUN=1 bash recipes/<recipe>.sh        (or: bash recipes/<recipe>.sh --dry-run)

lib.sh writes down the recipe's steps and calls instead of making them; this file then asks each command, all
in one process. A command whose inputs an earlier one makes cannot say much yet: it is listed as "after" that
one. Whatever else a command has against its words ends the plan with that command's exit code.
"""

from __future__ import annotations

import io
import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from fnmatch import fnmatch
from itertools import pairwise
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a plan fetches nothing; read when the hub's library is loaded

from dretrieve_cli.app import main as dretrieve

MISSING = 3  # the exit code of an input that is not there
WORDS, PIECES = "\x1f", ",=#"


@dataclass
class Plan:
    """What was said so far.

    Attributes:
        made: output of an earlier command to that command's number.
        filled: folder above outputs to the number of the last command that made one of them.
        calls: how many commands there were.
        waiting: how many of them need an earlier one.
        code: of the first command that refuses its words; 0 while there is none.
        before: the last command's words without its shard.
        waits: whether that one waits.
    """

    made: dict[str, int] = field(default_factory=dict)
    filled: dict[str, int] = field(default_factory=dict)
    calls: int = 0
    waiting: int = 0
    code: int = 0
    before: Sequence[str] = ()
    waits: bool = False

    def line(self, kind: str, words: Sequence[str]) -> Iterator[str]:
        """Yield what is to be printed for one line of the recipe's record."""
        if kind == "step":
            self.before = ()
            yield f"\n{words[0]}"
            return
        self.calls += 1
        shard, whole = without_shard(words)
        if shard and whole == self.before:
            self.waiting += self.waits
            yield f"       and {self.calls}. --shard {shard}"
            self.enter(outputs(words))
            return
        self.before = whole
        shown = ["dretrieve", *words] if kind == "call" else words[1:]
        yield f"  {self.calls:>3}. {shlex.join(shown)}"
        yield from (f"       {text}" for text in self.answer(kind, words))
        self.enter(outputs(words) if kind == "call" else words[:1])

    def answer(self, kind: str, words: Sequence[str]) -> list[str]:
        """Return what the command's dry run says, or which command it waits for."""
        code, said = ask(words) if kind == "call" else (0, [])
        earlier = self.earlier(words)
        self.waits = code == MISSING and earlier > 0
        if self.waits:
            self.waiting += 1
            return [f"after {earlier}"]
        self.code = self.code or code
        return said

    def enter(self, made: Sequence[str]) -> None:
        """Note what this command makes, and the folders that it thereby fills."""
        for output in made:
            self.made[output] = self.calls
            self.filled |= dict.fromkeys(parents(output), self.calls)

    def earlier(self, words: Sequence[str]) -> int:
        """Return the number of the last earlier command whose output these words name; 0 if none does."""
        own = set(outputs(words))
        return max(
            (self.named(piece) for word in words for piece in cut(word) if piece not in own), default=0
        )

    def named(self, piece: str) -> int:
        """Return the number of the command that made what a piece of a word names; 0 if none did.

        A piece names an output, something in it, a split of it, a folder above it, or outputs by a pattern.
        """
        if any(mark in piece for mark in "*?["):
            return max((number for path, number in self.made.items() if fnmatch(path, piece)), default=0)
        found = [self.filled.get(piece, 0)]
        for path in (piece, piece.rpartition(":")[0]):
            found += [self.made.get(place, 0) for place in (path, *parents(path))]
        return max(found)


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


def parents(path: str) -> list[str]:
    """Return the folders above a path, the nearest first, as long as they are named."""
    parts = path.split("/")
    return ["/".join(parts[:count]) for count in range(len(parts) - 1, 0, -1) if parts[count - 1]]


def without_shard(words: Sequence[str]) -> tuple[str, Sequence[str]]:
    """Return the word after --shard, and the words without it and without the digits of their outputs."""
    if "--shard" not in words:
        return "", words
    place, made = words.index("--shard"), outputs(words)
    rest = [*words[:place], *words[place + 2 :]]
    return words[place + 1], [re.sub(r"\d+", "#", word) if word in made else word for word in rest]


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
