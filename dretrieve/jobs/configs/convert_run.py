"""What ``convert`` is told of a run."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from dretrieve.errors import UsageError
from dretrieve.jobs.configs.base import ReadingRun, ReadingTopics, Verifying, Writing
from dretrieve.options import REQUIRED, check, option

FORMS = ("trec", "msmarco", "tevatron", "dpr", "contriever", "pyserini-json", "ranx")
NEEDS_QUERIES, NEEDS_PASSAGES = ("dpr", "contriever", "pyserini-json"), ("dpr", "contriever")
_run: Any = partial(option, panel="Runs")


@dataclass(frozen=True, kw_only=True)
class InOtherForm(ReadingRun, ReadingTopics, Verifying):
    """How a run is read and written."""

    output_format: str | None = _run(
        None,
        "Form to write the run in: trec, msmarco, tevatron, dpr, contriever, pyserini-json or ranx.",
        metavar="FORM",
        legal=FORMS,
    )
    queries: str | None = _run(None, "Questions and answers for dpr and its like.", metavar="DIR[:SPLIT]")
    corpus: str | None = _run(None, "Passages, where --queries has none.", metavar="DIR")


@dataclass(frozen=True, kw_only=True)
class ConvertRunConfig(Writing, InOtherForm):
    """Which run, in which form, with whose texts."""

    run: Path = option(REQUIRED, "The file.")
    output_format: str = option(REQUIRED, legal=FORMS)

    def __post_init__(self) -> None:
        check(self)
        if self.queries is None and self.output_format in NEEDS_QUERIES:
            raise UsageError(
                f"--output-format {self.output_format} holds the questions' texts and answers; add --queries "
                "DIR:split (and --corpus DIR if it has no passages)"
            )
        if self.output.resolve() == self.run.resolve():
            raise UsageError(f"--output {self.output} is the run itself; choose another name")
