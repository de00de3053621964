"""Which hits become negatives, as a user says it; free of numpy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

from dretrieve.errors import UsageError
from dretrieve.options import check, option

_filter = partial(option, panel="Filters")


@dataclass(frozen=True, slots=True, kw_only=True)
class MiningOptions:
    """Above 1 the first rank skips likely positives without a label.

    A margin keeps a hit only when its score is at most the positive's minus ``margin``; a relative one, at
    most the positive's minus ``relative_margin`` times its absolute value.
    """

    num_negatives: int = option(8, "At most so many a query.", least=1, aliases=("--n-sample",))
    depth: int = _filter(100, "Last rank looked at.", least=1, aliases=("--hits",))
    first_rank: int = _filter(1, "First rank looked at.", least=1)
    margin: float | None = _filter(
        None, "Keep scores below the positive's by this; where the run lacks it, the last hit's counts."
    )
    relative_margin: float | None = _filter(None, "Keep scores below the positive's by this share.")
    sampling: Literal["random", "top"] = option("random", "From all that stay, or the first of them.")
    seed: int = option(42, "Of the sampling, folded with the query's id.")

    def __post_init__(self) -> None:
        check(self)
        if self.first_rank > self.depth:
            raise UsageError(
                f"the rank window {self.first_rank} to {self.depth} is empty; --first-rank is at most --depth"
            )
