"""A paper's claims on our numbers, the same table in every form; what is undecided says what it lacks."""

from __future__ import annotations

from collections.abc import Mapping

from dretrieve.reports.claims import Finding
from dretrieve.reports.evaluation import p_text
from dretrieve.reports.expected import Expected
from dretrieve.reports.tables import Cell, Table, number

HEADS = ("claim", "difference", "95 % interval", "p", "detectable", "seeds needed", "outcome")
ABOUT = (
    "p: paired randomisation test over queries (t-test against a margin), Holm-corrected over all claims of "
    "this page, so it may leave undecided what the interval of one claim alone would not. Detectable: the "
    "smallest difference that so many queries show in four of five experiments. Seeds needed: so many would "
    "show the difference seen above the spread between seeds."
)
UNKNOWN = "unknown"


def claim_table(expected: Expected, findings: Mapping[str, Finding]) -> Table:
    """Return one line for each claim, with what an undecided one lacks."""
    rows: list[list[Cell]] = []
    notes: dict[str, list[str]] = {}
    for finding in findings.values():
        says, decimals = finding.claim.says, _decimals(expected, finding)
        bounded = finding.claim.relation in ("at-most", "at-least")
        difference = number(finding.difference, decimals, signed=not bounded)
        p = "" if finding.p is None else p_text(finding.p)
        lacks = (
            (_detectable(finding, decimals), _seeds(finding)) if finding.outcome == "UNDECIDED" else ("", "")
        )
        rows.append([says, difference, _interval(finding, decimals), p, *lacks, finding.outcome])
        for text in (*finding.notes, *_why_unknown(finding)):
            notes.setdefault(text, []).append(says)
    about = [ABOUT, *(f"{'; '.join(claims)}: {text}" for text, claims in notes.items())]
    return Table(columns=HEADS, rows=rows, notes=about, right=frozenset(range(1, len(HEADS) - 1)))


def outcome_text(expected: Expected, finding: Finding) -> str:
    """Return the outcome in one cell: the word, and behind an undecided one the rest of its line."""
    if finding.outcome != "UNDECIDED":
        return finding.outcome
    decimals = _decimals(expected, finding)
    parts = [
        number(finding.difference, decimals, signed=True),
        _interval(finding, decimals),
        f"detectable {_detectable(finding, decimals)}",
        f"seeds needed {_seeds(finding)}",
    ]
    return f"{finding.outcome}: {'; '.join(parts)}"


def _decimals(expected: Expected, finding: Finding) -> int:
    return expected.tables[finding.claim.left.split(".")[0]].decimals + 1


def _interval(finding: Finding, decimals: int) -> str:
    if finding.low is None or finding.high is None:
        return ""
    return f"{finding.low:+.{decimals}f} to {finding.high:+.{decimals}f}"


def _detectable(finding: Finding, decimals: int) -> str:
    """Return the smallest detectable difference; where no query differs there is none to name."""
    return number(finding.detectable, decimals) or UNKNOWN


def _seeds(finding: Finding) -> str:
    return UNKNOWN if finding.seeds_needed is None else f"{finding.seeds_needed:,}"


def _why_unknown(finding: Finding) -> list[str]:
    """Return why the seeds needed are not known, where they ought to be."""
    if finding.outcome != "UNDECIDED" or finding.seeds_needed is not None:
        return []
    if finding.seeds < 2:
        return [
            "one seed was run, so how far seeds spread is not known, nor how many would show the difference"
        ]
    return ["the seeds' differences cancel out: no number of seeds would show the difference seen"]
