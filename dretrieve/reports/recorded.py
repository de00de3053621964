"""Our own values, written back into expected.yaml: the part below a marker line is a machine's."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from dretrieve.errors import DataError
from dretrieve.reports.expected import RECORDED_DECIMALS, Expected, Recorded
from dretrieve.reports.verdicts import Judged
from dretrieve.store.atomic import replacing

MARKER = "# --- measured by us; written by `dretrieve report --record`, never by hand ---"
Ours = dict[str, dict[str, Recorded]]
Outcomes = dict[str, dict[str, str]]


def with_measured(
    expected: Expected, profile: str, judged: Mapping[str, Judged], hardware: str, commit: str, date: str
) -> Ours:
    """Return all recorded values, those just measured in place of older ones; the others stay.

    A cell without a value (not run, or not up to date) is left alone. ``hardware`` stands where the
    embeddings behind it do not say.
    """
    ours = {name: dict(cells) for name, cells in expected.ours.items()}
    mine = ours.setdefault(profile, {})
    for name, one in judged.items():
        if one.value is None:
            continue
        made_on = next((reading.hardware for reading in one.readings if reading.hardware), "")
        mine[name] = Recorded(
            value=round(one.value, RECORDED_DECIMALS),
            spread=round(one.spread, RECORDED_DECIMALS),
            seeds=one.seeds,
            hardware=hardware or made_on or "CPU",
            commit=commit,
            date=date,
            marks=one.marks,
        )
    return ours


def write_recorded(path: Path, ours: Ours, outcomes: Outcomes) -> None:
    """Replace what stands below the marker (append it where there is none); everything above stays as it is.

    Raises:
        DataError: an ``ours`` stands above the marker, where it would be there twice.
    """
    text = path.read_text(encoding="utf-8")
    above, marker, _ = text.partition(MARKER)
    if not marker and any(line.startswith("ours:") for line in text.splitlines()):
        raise DataError(
            f"{path} holds an 'ours:' without the marker line above it; put this line there: {MARKER}"
        )
    with replacing(path, text=True) as file:
        file.write(f"{above.rstrip()}\n\n{MARKER}\n{recorded_yaml(ours, outcomes)}")


def recorded_yaml(ours: Ours, outcomes: Outcomes) -> str:
    """Return the block: a line for each claim, and one for each row of all tables."""
    lines = ["ours:"]
    for profile, cells in ours.items():
        lines.append(f"  {profile}:")
        lines += ["    claims:"] if outcomes.get(profile) else []
        lines += [f"      {name}: {_quoted(text)}" for name, text in outcomes.get(profile, {}).items()]
        lines += ["    runs:"] if cells else []
        for made, group in groupby(sorted(cells.items(), key=_made), key=_made):
            hardware, commit, date, seeds = made
            about = f"hardware: {_quoted(hardware)}, commit: {_quoted(commit)}, date: {date}"
            lines += [f"      - about: {{{about}, seeds: {list(seeds)}}}", "        rows:"]
            rows: dict[str, list[str]] = {}
            for name, recorded in group:
                table, _, rest = name.partition(".")
                row, _, column = rest.rpartition(".")  # a row may be called p1.5
                rows.setdefault(row, []).append(f"{table}.{column}: {_entry(recorded)}")
            lines += [f"          {row}: {{{', '.join(entries)}}}" for row, entries in rows.items()]
    return "\n".join(lines) + "\n"


def _made(item: tuple[str, Recorded]) -> tuple[Any, ...]:
    return item[1].hardware, item[1].commit, item[1].date, item[1].seeds


def _entry(recorded: Recorded) -> str:
    spread = f" ± {_number(recorded.spread)}" if recorded.spread else ""
    return " ".join([f"{_number(recorded.value)}{spread}", *recorded.marks])


def _number(value: float) -> str:
    """Return the number as `RECORDED_DECIMALS` have it, never with an exponent: YAML takes 1e-06 for text."""
    if value == int(value):
        return str(int(value))
    return f"{value:.{RECORDED_DECIMALS}f}".rstrip("0")


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
