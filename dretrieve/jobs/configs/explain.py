"""What ``explain`` is told."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dretrieve.errors import UsageError
from dretrieve.jobs.configs.base import MODEL, QUERIES, Careful, Choosing, Computing, Verifying, given
from dretrieve.options import REQUIRED, option

_picture = partial(option, panel="Picture")


@dataclass(frozen=True, kw_only=True)
class ExplainConfig(Careful, Computing, Choosing, Verifying):
    """For taser: which expert reads which tokens, queries beside passages.

    For sb-moe: which expert texts go to, and a query with its best passages, before and after the experts.

    For ddr: which domains' prefixes queries read, one by one and by collection.

    For reatt, and a T5 that nothing trained: how each head's relevance goes with the judgements, over the
    first 100 hits of a run.

    For colbert and aligner: which query token met which passage token with which product, of judged pairs by
    kind of token, and one by one of queries with named passages, with a run's best, or with their relevant
    ones; of a run the share of tokens that any query retrieves. For aligner also each token's salience, the
    three most salient query tokens with what they are aligned with, and the best passage tokens by rank.

    Examples:
        dretrieve explain --model work/taser --corpus work/squad --queries work/squad:dev
        dretrieve explain --model work/taser --corpus work/squad --limit 200 --output work/routing
        dretrieve explain --model work/sb-moe --corpus work/scifact --queries work/scifact:test --limit 0
        dretrieve explain --model work/ddr --corpus work/nq --queries work/nq:test --set routing=soft
        dretrieve explain --model t5 --corpus work/nq --queries work/nq:test --run work/bm25.trec
        dretrieve explain --model work/colbert --corpus work/nq --queries work/nq:test --run work/run.trec
        dretrieve explain --model M --corpus nq --queries nq:test --query q7 --query q9 --set alignment=top4
    """

    model: str = given(REQUIRED, "A model's folder.", aliases=("-m", *MODEL))
    corpus: tuple[str, ...] = given(REQUIRED, "Its passages are read; repeatable.", metavar="DIR")
    queries: tuple[str, ...] = given(
        (),
        "Its queries are read, and its judgements; once for each --corpus.",
        metavar="DIR[:split]",
        aliases=QUERIES,
    )
    limit: int = given(1000, "Texts of each side of a collection, drawn by the seed; 0 all.", least=0)
    seed: int = given(42, "Of the drawing.")
    query: tuple[str, ...] = _picture(
        (),
        "Draw the query of this id with its 1,000 best of the passages read; else the first that has a "
        "relevant one. Of ddr, colbert and aligner: show this query; of these two repeatable.",
        metavar="ID",
    )
    run: Path | None = _picture(
        None,
        "A run of the model's: its hits are the best passages, of all that it searched. For heads: any run.",
    )
    hits: int | None = _picture(
        None,
        "Of colbert and aligner: show so many of the run's, or of the relevant passages; else 3.",
        least=1,
    )
    passage: tuple[str, ...] = _picture(
        (), "Of colbert and aligner: show the query with the passage of this id; repeatable.", metavar="ID"
    )
    tsne: bool = _picture(False, "Draw it by t-SNE too (needs scikit-learn).")
    output: Path | None = option(
        None, "Also write explain.html, explain.json and the figures.", metavar="FOLDER", aliases=("-o",)
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hits is not None and self.passage and self.run is None:
            raise UsageError(
                "--hits counts a --run's, and --passage names what is shown; leave one of them out"
            )
