"""What a method says about itself without torch: its options and training phases.

The command line builds a method's help from its config dataclass; the card stores the config; both must
work where torch is not imported.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol


class MethodConfig(Protocol):
    """A frozen dataclass of plain values (str, int, float, bool), each made by `dretrieve.options.option`."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One part of training, run to its end before the next begins.

    Attributes:
        options: training options (`training.options`) whose defaults are others in this phase.
    """

    name: str
    options: Mapping[str, str | int | float | bool] = dataclasses.field(default_factory=dict)


ONE_PHASE = (Phase(name="train"),)
