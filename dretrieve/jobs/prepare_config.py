"""What ``prepare`` is told and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True, kw_only=True, slots=True)
class PrepareResult:
    """What stands in the output now."""

    output: Path
    source: str
    state: str
    counts: dict[str, int] = field(default_factory=dict)
    splits: dict[str, int] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {
            "output": str(self.output),
            "source": self.source,
            "state": self.state,
            "counts": self.counts,
            "splits": self.splits,
            **self.extra,
        }

    def render(self) -> str:
        """Return a few lines for people."""
        lines = [f"{self.source}: {self.state}, {self.output}"]
        if self.splits:
            listed = ", ".join(f"{split} {count:,}" for split, count in self.splits.items())
            lines.append(f"  judged queries  {listed}")
        lines += [f"  {name.replace('_', ' '):<15} {count:,}" for name, count in self.counts.items() if count]
        names = {"sha256": "sha256", "queries_sha256": "sha256 queries", "licence": "licence", "plan": "plan"}
        lines += [
            f"  {label:<15} {self.extra[name]}" for name, label in names.items() if self.extra.get(name)
        ]
        return "\n".join(lines + [f"  note: {note}" for note in self.extra.get("notes", [])])
