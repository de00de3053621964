"""What ``adapt`` is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dretrieve.errors import UsageError
from dretrieve.jobs.configs.base import choices, given
from dretrieve.jobs.configs.search import AskingConfig
from dretrieve.options import REQUIRED, option

GRID = "k=1,2,4,6,8 p=0.5,1,1.5,2"


@dataclass(frozen=True, kw_only=True)
class AdaptConfig(AskingConfig):
    """Which tokens ALIGNER compares is chosen by a few labelled queries; no weight changes.

    The labelled queries are drawn into folds of --examples. Each fold chooses the alignment that is best for
    it (of equal ones the one with the fewest tokens), which is measured on all queries outside it: so much
    are so few examples worth. The file holds what is best for all labelled queries; search --set
    alignment=FILE searches by it. Each alignment finds what search would find by it with the same --index,
    --set and as many --hits as the measure looks at. One pass serves the whole grid: over all passages where
    the search is exact, as over embeddings, else over those that neighbours, or fast searches by each, find.
    Of several --examples the run `adapted16` of the file is by folds of 16, where 16 is not the first.

    Examples:
        dretrieve adapt --index EMB --queries arguana:test --model M --qrels arguana:test --output adapt.json
        dretrieve adapt --index EMB --query-embeddings QEMB --qrels arguana:test --grid "k=1,4" -o adapt.json
    """

    qrels: str = given(REQUIRED, "Judgements, or a qrels file.", metavar="DIR[:SPLIT]")
    examples: tuple[int, ...] = option((8,), "Labelled queries of a fold; repeatable.", least=1)
    grid: str = option(GRID, "Alignments to choose from: tokens (k), percent (p), da,k=1,eps=0.05.")
    metric: str = option("nDCG@10", "By which the best is chosen.")
    settings: Mapping[str, Any] = choices("A choice of the model or of the index (mode, ask, …); repeatable.")
    drop_self: bool = option(False, "Drop the hit that is the query itself (BEIR).")
    seed: int = option(0, "Of the draw of folds.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.examples or len(set(self.examples)) < len(self.examples):
            raise UsageError("--examples: give each size of folds once, one at least")
        from dretrieve.runs.adapt import ENDING  # numpy stands behind it, and help needs none

        if self.output.suffix != ENDING:
            raise UsageError(
                f"--output {self.output}: by its ending search tells the file from an alignment; let it end "
                f"in {ENDING}"
            )
        if "alignment" in self.settings:
            raise UsageError(
                "--set alignment: the alignments to choose from are those of --grid; give it there"
            )
