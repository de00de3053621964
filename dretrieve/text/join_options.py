"""How collections are joined, as a user says it; free of numpy."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Literal

from dretrieve.options import check, option

_join = partial(option, panel="Join")


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinOptions:
    """Letters join one passage that was cut into words in two ways."""

    equal: Literal["exact", "letters"] = _join(
        "exact",
        "Joined passages are one when exact: title and text are equal; letters: their letters and digits "
        "are.",
    )
    entities: tuple[str, ...] = _join(
        (),
        "Keep of that joined set the questions about the title of a passage that holds an answer; "
        "repeatable.",
        metavar="NAME",
    )

    def __post_init__(self) -> None:
        check(self)
