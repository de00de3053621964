"""What a search answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

from dretrieve.jobs.search_show import Example, render_examples


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchResult:
    """What stands in the output now.

    Attributes:
        output: the run.
        state: ``written`` or ``up to date``.
        counts: queries, passages, hits.
        seconds: spent searching.
        examples: the questions to show.
        is_part: whether the run holds the hits of one shard only.
    """

    output: Path
    state: str
    counts: Mapping[str, int]
    seconds: float = 0.0
    examples: tuple[Example, ...] = ()
    is_part: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {
            "output": str(self.output),
            "state": self.state,
            **self.counts,
            "seconds": round(self.seconds, 3),
            "examples": [example.as_json() for example in self.examples],
        }

    def render(self) -> Any:
        """Return a few lines for people, the shown questions first."""
        counts = self.counts
        line = (
            f"{self.output}: {self.state}; {counts['queries']:,} queries, {counts['hits']:,} hits "
            f"from {counts['passages']:,} passages"
        )
        if self.seconds:
            line += f", {self.seconds:.1f} s ({counts['queries'] / max(self.seconds, 1e-9):,.0f} queries/s)"
        if self.state == "written":
            line += f"\nnext: {self._next()}"
        return render_examples(self.examples, line) if self.examples else line

    def _next(self) -> str:
        if self.is_part:
            return "the other parts, then dretrieve merge PART… --output RUN"
        return f"dretrieve evaluate --run {quote(str(self.output))} --qrels DIR:split"
