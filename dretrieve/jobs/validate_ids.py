"""Why no id of one side is known to the other: the usual ways in which two id spaces differ."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

SAMPLE = 500
SHARE = 0.9
UNRELATED = "they come from another collection, or another release of it"


def explain_strangers(strangers: Sequence[str], known: Callable[[str], bool], examples: Sequence[str]) -> str:
    """Return what would make the ids known, in one clause, or a clause that says that nothing simple does.

    Args:
        strangers: ids that are not known, at least one.
        known: whether an id is known.
        examples: some ids that are known, to see their look.
    """
    sample = strangers[:SAMPLE]
    for change, clause in _changes(sample, examples):
        changed = [change(text_id) for text_id in sample]
        if sum(known(text_id) for text_id in changed) >= SHARE * len(sample):
            return f"{clause} ({sample[0]!r} is {changed[0]!r} there)"
    if all(text_id.isdecimal() for text_id in sample) and not any(
        text_id.isdecimal() for text_id in examples
    ):
        return "they look like row numbers; write the collection's ids instead"
    return UNRELATED


def _changes(sample: Sequence[str], examples: Sequence[str]) -> list[tuple[Callable[[str], str], str]]:
    found: list[tuple[Callable[[str], str], str]] = [
        (lambda text_id: text_id.lstrip("0") or "0", "leading zeros were added"),
        (str.lower, "letters were turned to upper case"),
        (str.upper, "letters were turned to lower case"),
        (lambda text_id: text_id.removesuffix(".0"), "ids went through a number type and got '.0'"),
    ]
    widths = {len(text_id) for text_id in examples if text_id.isdecimal()}
    if len(widths) == 1:
        width = widths.pop()
        found.append(
            (lambda text_id: text_id.zfill(width), "leading zeros were lost (ids went through a number type)")
        )
    mine, theirs = _prefix(sample), _prefix(examples)
    if mine:
        found.append((lambda text_id: text_id.removeprefix(mine), f"the prefix {mine!r} was added"))
    if theirs:
        found.append((lambda text_id: theirs + text_id, f"the prefix {theirs!r} is missing"))
    return found


def _prefix(ids: Sequence[str]) -> str:
    """Return the letters that all ids begin with, up to the first digit."""
    if not ids:
        return ""
    lowest, highest = min(ids), max(ids)
    length = next(
        (at for at, letters in enumerate(zip(lowest, highest, strict=False)) if letters[0] != letters[1]),
        len(lowest),
    )
    return re.sub(r"\d.*$", "", lowest[:length])
