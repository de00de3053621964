"""What a method says about itself without torch: its options, training phases and inference choices.

The command line builds a method's help from its config dataclass; the card stores the config; both must
work where torch is not imported.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from dretrieve.errors import UsageError

if TYPE_CHECKING:  # numpy stands behind it, and the command line's help needs none
    from dretrieve.types import Side


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
    """

    name: str
    text: str = ""


ONE_PHASE = (Phase(name="train", text="all parameters"),)


@dataclass(frozen=True, slots=True, kw_only=True)
class InferenceChoice:
    """A choice left open after training (routing, mode, pruning), given as ``--set name=value``.

    Attributes:
        name: the name in ``--set`` and in the card's ``inference``.
        default: the value when nothing is said.
        legal: the values allowed; empty when any value of the default's type is.
        sides: the sides whose vectors depend on it, and whose fingerprints it enters.
        text: one line of help.
    """

    name: str
    default: str | int | float | bool
    legal: tuple[str | int | float | bool, ...] = ()
    sides: tuple[Side, ...] = ("query", "passage")
    text: str = ""

    def parse(self, value: str) -> str | int | float | bool:
        """Return the value in the default's type.

        Raises:
            UsageError: it is of another type or not among the legal ones.
        """
        kind = type(self.default)
        try:
            if kind is bool:
                parsed: str | int | float | bool = {"true": True, "false": False}[value.lower()]
            else:
                parsed = kind(value)
        except (KeyError, ValueError):
            raise UsageError(
                f"--set {self.name}={value}: a value of type {kind.__name__} is needed"
            ) from None
        if self.legal and parsed not in self.legal:
            names = ", ".join(str(item) for item in self.legal)
            raise UsageError(f"--set {self.name}={value} is unknown; choose one of {names}")
        return parsed


def parse_choices(
    method: str, choices: tuple[InferenceChoice, ...], settings: Mapping[str, str]
) -> dict[str, str | int | float | bool]:
    """Return the ``--set`` pairs parsed.

    Raises:
        UsageError: a name that the method does not have.
    """
    by_name = {choice.name: choice for choice in choices}
    for name in settings:
        if name not in by_name:
            known = ", ".join(sorted(by_name)) or "none: this method leaves nothing open"
            raise UsageError(f"--set {name}=…: {method} has no such choice; it has {known}")
    return {name: by_name[name].parse(value) for name, value in settings.items()}
