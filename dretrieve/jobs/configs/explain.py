"""What ``explain`` is told."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dretrieve.jobs.configs.base import MODEL, QUERIES, Careful, Choosing, Computing, Verifying
from dretrieve.options import REQUIRED, option

INPUT = "Input"


@dataclass(frozen=True, kw_only=True)
class ExplainConfig(Careful, Computing, Choosing, Verifying):
    """For taser: queries beside passages.

    Examples:
        dretrieve explain --model work/taser --corpus work/squad --queries work/squad:dev
        dretrieve explain --model work/taser --corpus work/squad --limit 200 --output work/routing
    """

    model: str = option(REQUIRED, "A model's folder.", panel=INPUT, aliases=("-m", *MODEL))
    corpus: str = option(REQUIRED, "Its passages are read.", panel=INPUT, metavar="DIR")
    queries: str | None = option(
        None, "Its queries are read.", panel=INPUT, metavar="DIR[:split]", aliases=QUERIES
    )
    limit: int = option(1000, "Texts of each side, drawn by the seed; 0 all.", panel=INPUT, least=0)
    seed: int = option(42, "Of the drawing.", panel=INPUT)
    output: Path | None = option(
        None, "Also write explain.html and explain.json.", metavar="FOLDER", aliases=("-o",)
    )
