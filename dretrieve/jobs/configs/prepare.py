"""What ``prepare`` is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dretrieve.errors import UsageError
from dretrieve.jobs.configs.base import ReadingTopics, Writing, given
from dretrieve.options import option
from dretrieve.text.join_options import JoinOptions


@dataclass(frozen=True, kw_only=True)
class PrepareConfig(Writing, ReadingTopics):
    """A collection made of the same source with the same options is up to date.

    Examples:
        dretrieve prepare pydocs --output work/pydocs
        dretrieve prepare beir:scifact --output work/scifact
        dretrieve prepare collection.tsv --queries dev.tsv --qrels dev=qrels.dev.tsv --output work/marco
        dretrieve prepare nq-train.json.gz --split train --output work/nq
        dretrieve prepare entityquestions:test --output work/eq
        dretrieve prepare curatedtrec-test.qa.csv --split test --regex --output work/trec
        dretrieve prepare mdb:political_science --output work/ps
        dretrieve prepare cloze:work/scifact --number 20000 --output work/scifact-cloze
        dretrieve prepare nq=work/nq eq=work/eq --equal letters --entities eq --output work/joined
    """

    source: str = option(
        "",
        "pydocs, beir:NAME, dpr:KEY, entityquestions:SPLIT, mdb:NAME, hf:NAME[/CONFIGURATION][:SPLIT], or a "
        "file or folder in any known form (or none, and --corpus, --queries); several collections "
        "([NAME=]DIR …) are joined over one corpus; cloze:DIR and spans:DIR make questions "
        "out of passages alone (a masked entity, T5's dropped spans).",
        argument=True,
        repeated=True,
        parse=tuple,
    )
    others: tuple[str, ...] = ()
    join: JoinOptions = field(default_factory=JoinOptions)
    corpus: Path | None = given(None, "Passages, beside a source of queries or ids, or alone.")
    queries: Path | None = given(None, "Queries, beside a source of passages or ids, or alone.")
    qrels: tuple[str, ...] = given(
        (), "Judgements; repeatable; a file without SPLIT is of test.", metavar="[SPLIT=]FILE"
    )
    split: str | None = given(None, "Split of training rows and of queries that name none.")
    regex: bool = given(False, "The answers are regular expressions (CuratedTREC's).")
    mirror: str | None = given(None, "Fetch from this base address, or copy from this folder.", metavar="URL")
    number: int | None = given(None, "How many questions cloze: or spans: makes.", least=1)
    unchecked: bool = given(
        False, "With --mirror: its files need not be those whose checksums are published."
    )

    @classmethod
    def from_words(cls, given: dict[str, Any]) -> PrepareConfig:
        """Return the config; the words are a source and others, and without one what it is to hold is it.

        Raises:
            UsageError: there is none at all.
        """
        named = [str(given[name]) for name in ("corpus", "queries") if given.get(name)]
        sources = given.get("source") or named[:1]
        if not sources:
            raise UsageError("name a SOURCE, or what it holds: --corpus FILE, --queries FILE")
        return cls(**given | {"source": sources[0], "others": tuple(sources[1:])})
