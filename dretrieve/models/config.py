"""What a method says about itself without torch: its options and training phases.

The command line builds a method's help from its config dataclass; the card stores the config; both must
work where torch is not imported.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from dretrieve.errors import UsageError


class MethodConfig(Protocol):
    """A frozen dataclass of plain values (str, int, float, bool, tuples of them), made with `option`."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]


def option(default: Any, text: str, *, legal: tuple[object, ...] = ()) -> Any:
    """Return a dataclass field whose help and legal values the command line shows.

    Args:
        default: the field's default, an immutable value.
        text: one line of help.
        legal: the only values allowed; empty when any value of the type is.
    """
    return dataclasses.field(default=default, metadata={"help": text, "legal": legal})


def check_legal(config: MethodConfig) -> None:
    """Refuse a value that its field does not allow; call it in ``__post_init__``.

    Raises:
        UsageError: names the option, the value and the legal ones.
    """
    for field in dataclasses.fields(config):
        legal = field.metadata.get("legal", ())
        value = getattr(config, field.name)
        if legal and value not in legal:
            names = ", ".join(str(item) for item in legal)
            raise UsageError(f"--{field.name.replace('_', '-')} {value} is unknown; choose one of {names}")
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"--{field.name.replace('_', '-')} {value} is no finite number; give one")


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One part of training, run to its end before the next begins.

    Attributes:
        name: ``train`` for most methods; DDR has ``general`` and ``domain``, ReAtt ``warm-up`` and ``joint``.
        text: one line that says what is learned.
        options: training options (`training.options`) whose defaults are others in this phase.
    """

    name: str
    text: str = ""
    options: Mapping[str, str | int | float | bool] = dataclasses.field(default_factory=dict)


ONE_PHASE = (Phase(name="train", text="all parameters"),)
