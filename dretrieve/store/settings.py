"""What ``--set name=value`` may say: each owner (method, kind of index) declares a dataclass of choices."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, TypeVar, get_type_hints

from dretrieve.errors import UsageError

Kind = TypeVar("Kind")
WORDS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


@dataclasses.dataclass(frozen=True, slots=True)
class NoChoices:
    """Of an owner that leaves nothing open."""


def choice(
    default: Any,
    *,
    legal: tuple[object, ...] = (),
    least: float | None = None,
    most: float | None = None,
    sides: tuple[str, ...] = ("query", "passage"),
) -> Any:
    """Return a dataclass field that ``--set`` may give.

    Args:
        default: its value when nothing is said.
        legal: the only values; empty when any of the type is one.
        least: the smallest number.
        most: the largest number.
        sides: of a method's choice, the sides whose vectors it changes.
    """
    about = {"legal": legal, "least": least, "most": most, "sides": sides}
    return dataclasses.field(default=default, metadata=about)


def read_settings(kind: type[Kind], given: Mapping[str, Any], owner: str) -> Kind:
    """Return the choices that were given over the defaults of their dataclass.

    Args:
        kind: the dataclass; its fields are int, float, bool or str, each perhaps None.
        given: name to value, as YAML reads it.
        owner: who takes them, for the message.

    Raises:
        UsageError: a name that the owner does not have, a value of another type or out of bounds; says
            what is legal.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]  # a dataclass
    hints = get_type_hints(kind)
    expected = {name: _expected(hints[name], field) for name, field in fields.items()}
    values = {}
    for name, value in given.items():
        if name not in fields:
            legal = ", ".join(f"{each} ({words})" for each, words in expected.items()) or "no settings"
            raise UsageError(f"--set {name}: {owner} takes {legal}")
        values[name] = _checked(value, hints[name], fields[name])
        if values[name] is None:
            raise UsageError(f"--set {name}={value}: expected {expected[name]}")
    return kind(**values)


def _types(hint: Any) -> tuple[type, ...]:
    return tuple(part for part in WORDS if part is hint or part in getattr(hint, "__args__", ()))


def _expected(hint: Any, field: dataclasses.Field[Any]) -> str:
    about = field.metadata
    if about.get("legal"):
        return " or ".join(str(value) for value in about["legal"])
    words = WORDS[_types(hint)[0]]
    if about.get("least") is not None:
        words += f" from {about['least']:,}"
    return words + (f" to {about['most']:,}" if about.get("most") is not None else "")


def _checked(value: Any, hint: Any, field: dataclasses.Field[Any]) -> Any:
    """Return the value in the field's type, None if it is not legal."""
    about, types = field.metadata, _types(hint)
    if float in types and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 53:
        value = float(value)
    if type(value) not in types or (about.get("legal") and value not in about["legal"]):
        return None
    if isinstance(value, float) and not math.isfinite(value):
        return None
    below = about.get("least") is not None and value < about["least"]
    above = about.get("most") is not None and value > about["most"]
    return None if below or above else value
