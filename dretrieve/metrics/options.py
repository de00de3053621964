"""How a run is prepared before it is measured, as a user says it; free of numpy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from dretrieve.options import check, option

_measures = partial(option, panel="Measures")


@dataclass(frozen=True, slots=True, kw_only=True)
class RelevanceOptions:
    """trec_eval's ``-M`` and ``-J``; its ``-c`` is the default, ``retrieved_only`` its absence."""

    depth: int | None = _measures(None, "Only the first hits count.", least=1, aliases=("-M",))
    drop_self: bool = _measures(False, "Drop the hit that is the query itself (BEIR).")
    judged_only: bool = _measures(
        False, "Drop unjudged hits, of the first --depth.", aliases=("--remove-unjudged", "-J")
    )
    retrieved_only: bool = _measures(
        False, "Average over the run's queries; default: all judged, those missing count as 0."
    )

    def __post_init__(self) -> None:
        check(self)
