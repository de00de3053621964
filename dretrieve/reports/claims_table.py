"""A paper's claims on our numbers, the same table in every form; what is undecided says what it lacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import get_args

from dretrieve.reports.claims import ONE_SEED, Finding
from dretrieve.reports.claims_answers import Outcome
from dretrieve.reports.evaluation import p_text
from dretrieve.reports.expected import BOUNDED, Expected
from dretrieve.reports.strict_yaml import described
from dretrieve.reports.tables import Cell, Table, number

HEADS = ("claim", "difference", "95 % interval", "p", "detectable", "seeds needed", "outcome")
ABOUT = (
    "Difference: over the seeds that both sides were run with, so it may differ from that of two cells "
    "above. p: paired randomisation test over queries (t-test against a margin, of averages, of gains "
    "over different queries, of the ratio of times over rounds), Holm-corrected over all claims of this "
    "page, so it may leave undecided what the interval of one claim alone would not. Detectable: the "
    "smallest distance from what must be refuted (no difference, or the nearer margin) that so many queries "
    "show in four of five experiments. Seeds needed: so many would show the distance seen as often, were "
    "seeds and queries drawn anew; of one seed, so many queries by its models. All at the level of Holm's "
    "first step, 0.05 over the number of tests."
)
UNKNOWN, MORE_QUERIES = "unknown", "more queries"
RATIO_DECIMALS = 3
OF_ONE = " (one seed)"  # behind the word


def claim_table(expected: Expected, findings: Mapping[str, Finding]) -> Table:
    """Return one line for each claim, with what an undecided one lacks."""
    rows: list[list[Cell]] = []
    notes: dict[str, list[str]] = {}
    for finding in findings.values():
        says, decimals = finding.claim.says, _decimals(expected, finding)
        difference = number(finding.difference, decimals, signed=not _is_bounded(finding))
        p = "" if finding.p is None else p_text(finding.p)
        lacks = ("", "")
        if finding.outcome == "UNDECIDED" and not (_is_bounded(finding) or finding.recorded):
            lacks = (_detectable(finding, decimals), _seeds(finding))
        rows.append(
            [says, difference, _interval(finding, decimals), p, *lacks, finding.recorded or finding.outcome]
        )
        for text in finding.notes:
            notes.setdefault(text, []).append(says)
    about = [ABOUT, *(f"{'; '.join(claims)}: {text}" for text, claims in notes.items())]
    return Table(columns=HEADS, rows=rows, notes=about, right=frozenset(range(1, len(HEADS) - 1)))


def outcome_text(expected: Expected, finding: Finding) -> str:
    """Return the outcome in one cell: the word, whether one seed was run, what an undecided one lacks."""
    if finding.recorded:
        return finding.recorded
    word = f"{finding.outcome}{OF_ONE}" if ONE_SEED in finding.notes else finding.outcome
    if finding.outcome != "UNDECIDED":
        return word
    decimals, bounded = _decimals(expected, finding), _is_bounded(finding)
    parts = [number(finding.difference, decimals, signed=not bounded), _interval(finding, decimals)]
    if not bounded:
        parts += [f"detectable {_detectable(finding, decimals)}", f"seeds needed {_seeds(finding)}"]
    return f"{word}: {'; '.join(part for part in parts if part)}"


def outcome_of(text: str) -> Outcome:
    """Return the word that an `outcome_text` begins with.

    Raises:
        ValueError: it begins with none; says which there are.
    """
    words: tuple[Outcome, ...] = get_args(Outcome)
    for word in words:
        if text.partition(":")[0] in (word, f"{word}{OF_ONE}"):
            return word
    raise ValueError(
        f"must be one of {', '.join(words)}, as `report --record` writes it, not {described(text)}"
    )


def with_recorded(findings: Mapping[str, Finding], outcomes: Mapping[str, str]) -> dict[str, Finding]:
    """Return the findings of what was not run, those that were recorded as their texts have them."""
    return {
        name: replace(one, outcome=outcome_of(outcomes[name]), recorded=outcomes[name], notes=())
        if name in outcomes
        else one
        for name, one in findings.items()
    }


def _is_bounded(finding: Finding) -> bool:
    """Return whether the claim is about a number or a ratio, not about a difference."""
    return finding.claim.relation in BOUNDED


def _decimals(expected: Expected, finding: Finding) -> int:
    """Return the table's decimals and one more; a ratio has no unit of a table."""
    if finding.claim.right and _is_bounded(finding):
        return RATIO_DECIMALS
    return expected.tables[finding.claim.left.split(".")[0]].decimals + 1


def _interval(finding: Finding, decimals: int) -> str:
    if finding.low is None or finding.high is None:
        return ""
    signed = not _is_bounded(finding)
    ends = (number(end, decimals, signed=signed) for end in (finding.low, finding.high))
    return " to ".join(ends)


def _detectable(finding: Finding, decimals: int) -> str:
    """Return the smallest detectable difference; where no query differs there is none to name."""
    return number(finding.detectable, decimals) or UNKNOWN


def _seeds(finding: Finding) -> str:
    if finding.queries_needed:
        return MORE_QUERIES
    if finding.queries is not None:
        return f"{UNKNOWN}, or {MORE_QUERIES}: {finding.queries:,}"
    return UNKNOWN if finding.seeds_needed is None else f"{finding.seeds_needed:,}"
