"""Showing a run to people: some questions with the passages that answer them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any

from dretrieve.errors import PreconditionError, visible
from dretrieve.store.embeddings import Embeddings, EmbeddingShard
from dretrieve.store.text_store import TextStore
from dretrieve.text.collection import Collection
from dretrieve.types import Run

PASSAGES = 3
CHARACTERS = 300


@dataclass(frozen=True, slots=True)
class Hit:
    """One passage as it is shown."""

    rank: int
    score: float
    id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class Example:
    """One question with its best passages."""

    query_id: str
    text: str
    hits: tuple[Hit, ...]


def examples(
    run: Run, count: int, passages: TextStore, queries: str | None, topic_field: str | None
) -> tuple[Example, ...]:
    """Return questions spread evenly over the run, with their best passages."""
    asked = Collection.open(queries, "queries", topic_field).queries().queries if queries is not None else []
    texts = {query.id: query.text for query in asked}
    count = min(count, len(run))
    chosen = [row * len(run) // count for row in range(count)]
    return tuple(_example(run, row, texts, passages) for row in chosen)


def _example(run: Run, query: int, texts: Mapping[str, str], passages: TextStore) -> Example:
    query_id = run.query_ids[query]
    hits = []
    for rank, (passage_id, score) in enumerate(islice(run.hits(query), PASSAGES), 1):
        record = passages.find(passage_id)
        title, text = (record.title, record.text) if record is not None else ("", "(not in this collection)")
        hits.append(Hit(rank, score, passage_id, title, shortened(text)))
    return Example(query_id, texts.get(query_id, "(text not at hand; give --queries)"), tuple(hits))


def shortened(text: str) -> str:
    """Return the text on one line, cut at a word when it is long."""
    line = " ".join(text.split())
    return line if len(line) <= CHARACTERS else line[:CHARACTERS].rsplit(" ", 1)[0] + " …"


def passage_texts(embeddings: Embeddings) -> TextStore:
    """Return the texts that were encoded.

    Raises:
        PreconditionError: they are not where they were.
    """
    spec = recorded_collection(embeddings.shards[0])
    if spec is None:
        raise PreconditionError(
            f"--show needs the passages' texts, and the collection that {embeddings.folder} names is not "
            "there; say where it is with --corpus DIR"
        )
    return Collection.open(spec, "corpus").corpus()


def recorded_collections(embeddings: Embeddings) -> list[str]:
    """Return the collections of all shards that are still there."""
    found = map(recorded_collection, embeddings.shards)
    return list(dict.fromkeys(spec for spec in found if spec is not None))


def recorded_collection(entry: EmbeddingShard) -> str | None:
    """Return the collection as ``DIR`` or ``DIR:split`` as the shard names it, None where it is gone."""
    name, split = (entry.manifest.extra.get(key) for key in ("collection", "split"))
    if not isinstance(name, str) or not (entry.folder / name).exists():
        return None
    return f"{entry.folder / name}:{split}" if split else str(entry.folder / name)


def render_examples(shown: tuple[Example, ...], line: str) -> Any:
    """Return panels for a terminal, plain lines for anything else; ``line`` stands last."""
    if not sys.stdout.isatty():
        return "\n".join([*(_plain(example) for example in shown), line])
    from rich.console import Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    panels = []
    for example in shown:
        body = Table.grid(padding=(0, 1))
        for _ in range(3):
            body.add_column()
        for hit in example.hits:
            passage = Text.assemble(
                (visible(shortened(hit.title or hit.id)), "bold"), "\n", visible(hit.text)
            )
            body.add_row(Text(str(hit.rank), "cyan"), Text(f"{hit.score:.4f}", "cyan"), passage)
        panels.append(
            Panel(body, title=Text(visible(shortened(example.text)), style="bold green"), title_align="left")
        )
    return Group(*panels, Text(visible(line)))


def _plain(example: Example) -> str:
    lines = [f"? {shortened(example.text)}"]
    for hit in example.hits:
        lines += [f"  {hit.rank}. {hit.score:.4f}  {shortened(hit.title or hit.id)}", f"     {hit.text}"]
    return "\n".join(lines) + "\n"
