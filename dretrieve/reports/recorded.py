"""Our own values, written back into expected.yaml: the part below a marker line is a machine's."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dretrieve.errors import DataError
from dretrieve.reports.expected import Expected, Recorded
from dretrieve.reports.verdicts import Judged
from dretrieve.store.atomic import replacing

MARKER = "# --- measured by us; written by `dretrieve report --record`, never by hand ---"
DECIMALS = 6


def with_measured(
    expected: Expected, profile: str, judged: Mapping[str, Judged], hardware: str, commit: str, date: str
) -> dict[str, dict[str, Recorded]]:
    """Return all recorded values, those just measured in place of older ones; the others stay.

    Args:
        expected: what was recorded before.
        profile: under which the new values go.
        judged: cells; one without a value (not run, or of a chain that does not fit) is left alone.
        hardware: where the metrics' own chain does not say.
        commit: of this checkout.
        date: of today.
    """
    ours = {name: dict(cells) for name, cells in expected.ours.items()}
    mine = ours.setdefault(profile, {})
    for name, one in judged.items():
        if one.value is None:
            continue
        made_on = next((reading.hardware for reading in one.readings if reading.hardware), "")
        mine[name] = Recorded(
            value=round(one.value, DECIMALS),
            spread=round(one.spread, DECIMALS),
            seeds=tuple(reading.seed for reading in one.readings),
            hardware=hardware or made_on or "CPU",
            commit=commit,
            date=date,
        )
    return ours


def write_recorded(path: Path, ours: Mapping[str, Mapping[str, Recorded]]) -> None:
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
        file.write(f"{above.rstrip()}\n\n{MARKER}\n{recorded_yaml(ours)}")


def recorded_yaml(ours: Mapping[str, Mapping[str, Recorded]]) -> str:
    """Return the block: one line for each cell."""
    lines = ["ours:"]
    for profile, cells in ours.items():
        lines.append(f"  {profile}:")
        lines += [f"    {name}: {{{_entries(recorded)}}}" for name, recorded in sorted(cells.items())]
    return "\n".join(lines) + "\n"


def _entries(recorded: Recorded) -> str:
    values: dict[str, Any] = {
        "value": _number(recorded.value),
        "spread": _number(recorded.spread),
        "seeds": str(list(recorded.seeds)),
        "hardware": _quoted(recorded.hardware),
        "commit": _quoted(recorded.commit),
        "date": recorded.date,
    }
    return ", ".join(f"{key}: {value}" for key, value in values.items())


def _number(value: float) -> str:
    """Return the number as `DECIMALS` have it, never with an exponent: YAML takes 1e-06 for text."""
    if value == int(value):
        return str(int(value))
    return f"{value:.{DECIMALS}f}".rstrip("0")


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
