"""What ``prepare`` is told and what it answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dretrieve.text.join import JoinOptions


@dataclass(frozen=True, kw_only=True, slots=True)
class PrepareConfig:
    """What to make a collection from.

    Attributes:
        source: ``pydocs``, ``beir:NAME``, ``dpr:KEY``, ``entityquestions:SPLIT``, ``hf:NAME``, or a local
            path in a known form.
        output: the collection's folder.
        others: with ``source``, as ``[NAME=]DIR`` each: collections to be joined over one corpus.
        join: how they are joined.
        corpus: passages for a source of queries or ids; the source itself, to say what it holds.
        queries: queries for a source of passages or ids; the source itself likewise.
        qrels: ``[SPLIT=]FILE`` words.
        topic_field: what of TREC's topics is kept as a query's text.
        split: the split of training rows, and of queries that name none.
        mirror: another base address for downloads, or a folder that holds the files.
        unchecked: take a mirror's files though they are not those whose checksums are published.
        force: replace a collection made from something else.
        dry_run: only say what would be read and written.
    """

    source: str
    output: Path
    others: tuple[str, ...] = ()
    join: JoinOptions = field(default_factory=JoinOptions)
    corpus: Path | None = None
    queries: Path | None = None
    qrels: tuple[str, ...] = ()
    topic_field: str | None = None
    split: str | None = None
    mirror: str | None = None
    unchecked: bool = False
    force: bool = False
    dry_run: bool = False


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
