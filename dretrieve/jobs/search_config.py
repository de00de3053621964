"""What a search is told and what it answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from shlex import quote
from typing import Any

from dretrieve.errors import UsageError
from dretrieve.jobs.search_show import Example, render_examples
from dretrieve.runs.write import WRITTEN_FORMS


@dataclass(frozen=True, kw_only=True, slots=True)
class SearchConfig:
    """What to search, with what.

    Attributes:
        index: an index folder, or embeddings.
        output: the run.
        queries: ``DIR:split``: encoded here by ``model``, or searched as words.
        topic_field: what of TREC's topics is searched: title, description, narrative, or several by ``+``.
        model: for ``queries`` over vectors.
        query_embeddings: queries encoded before, instead of ``queries`` and ``model``.
        hits: passages per query, at least 1.
        show: so many questions are shown with their passages.
        corpus: the collection whose passages are shown, if it is not where the embeddings say.
        shard: (index, count), a part of the passages; `merge` joins the partial runs.
        form: of the run, a name of ``WRITTEN_FORMS``.
        settings: inference choices of the model, or the index's own search options.
        device: ``auto``, ``cpu``, ``cuda`` …
        precision: of the encoder.
        threads: at least 1.
        verify: hash every file of the inputs again.
        force: replace a result of other options.
        dry_run: only say what would be done.
    """

    index: Path
    output: Path
    queries: str | None = None
    topic_field: str | None = None
    model: str | None = None
    query_embeddings: Path | None = None
    hits: int = 1000
    show: int = 0
    corpus: str | None = None
    shard: tuple[int, int] | None = None
    form: str = "trec"
    settings: Mapping[str, Any] = field(default_factory=dict)
    device: str = "auto"
    precision: str = "auto"
    threads: int = 1
    verify: bool = False
    force: bool = False
    dry_run: bool = False

    def __post_init__(self) -> None:
        if self.hits < 1:
            raise UsageError(f"--hits is {self.hits}; it must be at least 1")
        if self.topic_field and self.queries is None:
            raise UsageError("--topic-field goes with --queries: encoded queries have their text already")
        if self.form not in WRITTEN_FORMS:
            raise UsageError(
                f"--output-format {self.form!r} is unknown; there are {', '.join(WRITTEN_FORMS)}"
            )
        if self.shard is not None and self.form != "trec":
            raise UsageError(
                "a partial run must keep its scores to be merged; write --output-format trec with --shard"
            )
        if (self.queries is None) == (self.query_embeddings is None):
            raise UsageError("give either --queries DIR:split (with --model) or --query-embeddings EMB")


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
