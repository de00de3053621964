"""The plan of a recipe, printed: every command with what its own ``--dry-run`` says, and nothing is done.

    python -m dretrieve_cli.plan RECORD

``RECORD`` is what lib.sh wrote down instead of running it. A command whose inputs are not there yet, because
an earlier one makes them, waits for that one.
"""

from __future__ import annotations

import io
import json
import os
import re
import shlex
import sys
from collections.abc import Iterator, Sequence
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

from dretrieve.errors import PreconditionError
from dretrieve.reports.plan import Answer, Plan, answer_of, read_record
from dretrieve.store.stage import STALE
from dretrieve.text.cache import reading_once
from dretrieve_cli.app import main as dretrieve


def ask(words: Sequence[str]) -> Answer:
    """Return what a command answers to ``--dry-run``; nothing is fetched for it."""
    out, errors, before = io.StringIO(), io.StringIO(), dict(os.environ)
    os.environ.setdefault("HF_HUB_OFFLINE", "1")  # read when the hub's library is loaded
    os.environ[STALE] = "replace"  # as in recipes: what other options made is stale, not refused
    try:
        with redirect_stdout(out), redirect_stderr(errors):
            code = dretrieve([*words, "--dry-run", "--json", "--quiet"])
    finally:  # what it set is for none that is started later
        os.environ.clear()
        os.environ.update(before)
    if code:
        said = errors.getvalue().strip().rpartition("\n")[2]
        return Answer(state="refused", text=said.removeprefix("dretrieve: "), code=code)
    return answer_of(json.loads(out.getvalue()))


def report(config: Any, progress: Any, words: list[str]) -> Any:
    """Run the job ``report``, which asks the commands of a recipe what is up to date."""
    from dretrieve.jobs import report as job

    with reading_once():
        return job.run(config, progress, ask)


def lines(record: str) -> Iterator[str | int]:
    """Yield what is to be printed, and last the exit code of the first command that refuses its words."""
    plan, code, waits, waiting = Plan(), 0, False, 0
    before: tuple[Sequence[str], bool] = ((), False)
    for kind, words in read_record(record):
        if kind == "step":
            yield f"\n{words[0]}"
            continue
        command = plan.enter(kind, words)
        number = len(plan.commands)
        shard, whole = without_shard(command.words, command.outputs)
        if shard and (whole, waits) == before:
            yield f"       and {number}. --shard {shard}"
            waiting += waits
            continue
        yield f"  {number:>3}. {shlex.join([*(['dretrieve'] if command.is_ours else []), *command.words])}"
        answer = ask(command.words) if command.is_ours else Answer(state="to do")
        waits = answer.code == PreconditionError.exit_code and bool(command.needs)
        before = (whole, waits)
        waiting += waits
        if waits:
            yield f"       after {max(command.needs) + 1}"
            continue
        code = code or answer.code
        if command.is_ours:
            yield from (f"       {line}" for line in f"{answer.state}: {answer.text}".splitlines())
    wait = f"; {waiting} of them wait for an earlier one" if waiting else ""
    yield f"\n{len(plan.commands)} commands{wait}. Nothing was done."
    yield code


def without_shard(words: Sequence[str], outputs: Sequence[str]) -> tuple[str, Sequence[str]]:
    """Return the word after --shard, and the words without it and without the digits of their outputs."""
    if "--shard" not in words:
        return "", list(words)
    place = words.index("--shard")
    rest = [*words[:place], *words[place + 2 :]]
    return words[place + 1], [re.sub(r"\d+", "#", word) if word in outputs else word for word in rest]


def main(record: Path) -> int:
    """Print the plan of the recorded calls; return the exit code."""
    code = 0
    with reading_once():
        for line in lines(record.read_text(encoding="utf-8")):
            if isinstance(line, int):
                code = line
            else:
                sys.stdout.write(f"{line}\n")
                sys.stdout.flush()
    return code


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
