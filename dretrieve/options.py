"""An option: one field of a config dataclass that carries its help, its legal values and its spellings.

From such dataclasses come a command's options and help, ``--config``, ``--set`` and what is said of a wrong
value; so a config is the only place that describes an option. Free of torch and numpy.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from dretrieve.errors import UsageError, quoted

Kind = TypeVar("Kind")
REQUIRED: Any = dataclasses.MISSING
NUMBERS = {int: "a whole number", float: "a number", bool: "true or false", str: "a text"}


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """What is known of one option beside its name, type and default (which are the field's).

    Attributes:
        legal: the only values; empty when any of the type is one (a ``Literal`` type says it too).
        above: every number is larger.
        below: every number is smaller.
        flag: its first spelling, if it is not the field's name with dashes.
        argument: it is given by its position.
        repeated: it may be given several times (as every tuple may that has no ``parse``).
        parse: from the word of the command line, or the list of words of a repeated option, to the value.
        words: what the command line writes for each value, where that is not the value itself.
        shorthands: of a mapping, flags that set one of its names: name to type and help.
        sides: of a method's choice, the sides whose vectors it changes.
        free: it cannot change a byte of the result.
    """

    text: str = ""
    legal: tuple[object, ...] = ()
    least: float | None = None
    most: float | None = None
    above: float | None = None
    below: float | None = None
    panel: str = ""
    flag: str = ""
    aliases: tuple[str, ...] = ()
    metavar: str | None = None
    hidden: bool = False
    argument: bool = False
    repeated: bool = False
    parse: Callable[[Any], Any] | None = None
    words: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    shorthands: Mapping[str, tuple[type, str]] = dataclasses.field(default_factory=dict)
    sides: tuple[str, ...] = ("query", "passage")
    free: bool = False


def option(default: Any, text: str = "", **more: Any) -> Any:
    """Return a dataclass field that is an option.

    Args:
        default: its value when nothing is said, `REQUIRED`, or a dict, of which each config gets its own.
        text: one line of help.
        more: see `Option`.
    """
    metadata = {"option": Option(text=text, **more)}
    if isinstance(default, dict):
        return dataclasses.field(default_factory=lambda: dict(default), metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def option_of(field: dataclasses.Field[Any]) -> Option | None:
    """Return what is known of the field's option; None of a field that is none."""
    found: Option | None = field.metadata.get("option")
    return found


def flag_of(field: dataclasses.Field[Any]) -> str:
    """Return how the command line spells the field: ``--num-negatives``."""
    known = option_of(field)
    return known.flag if known and known.flag else f"--{field.name.replace('_', '-')}"


def refuse_given(config: Any, names: Iterable[str], why: str) -> None:
    """Refuse options that mean nothing beside another choice of the config: they must be at their defaults.

    ``why`` is what the sentence says behind the flag.

    Raises:
        UsageError: names the first that was given.
    """
    for field in dataclasses.fields(config):
        if field.name in names and getattr(config, field.name) != field.default:
            flag = flag_of(field)
            raise UsageError(f"{f'--no-{flag[2:]}' if field.default is True else flag} {why}")


@dataclasses.dataclass(frozen=True, slots=True)
class NoChoices:
    """Of an owner that leaves nothing open to ``--set``."""


# The type of every field of a dataclass, which is asked of each record of a file.
types_of: Callable[[type], Mapping[str, Any]] = cache(get_type_hints)


def legal_values(hint: Any, known: Option) -> tuple[object, ...]:
    """Return the only values that the field may have; empty when any of its type is one."""
    found = [
        part for each in (hint, *get_args(hint)) if get_origin(each) is Literal for part in get_args(each)
    ]
    return known.legal or tuple(found)


def check(config: Any) -> None:
    """Refuse a value that its field does not allow; a config calls it in ``__post_init__``.

    Raises:
        UsageError: names the option, the value and what is legal.
    """
    hints = types_of(type(config))
    for field, known in options(config):
        value, hint = getattr(config, field.name), hints[field.name]
        if value is field.default:
            continue
        for each in value if isinstance(value, tuple) else (value,):
            if not _fits(each, hint, known):
                raise UsageError(f"{flag_of(field)} {_due(each, hint, known)}")


def _due(value: Any, hint: Any, known: Option) -> str:
    """Return a value that does not fit as it was written, and what is legal."""
    written = value if isinstance(value, str) else quoted(value)
    bits = " of at most 63 bits" if isinstance(value, int) and abs(value) >> 63 else ""
    return f"{written}: expected {expected(hint, known)}{bits}"


def expected(hint: Any, known: Option) -> str:
    """Return what is legal, in words: ``det or seq``, ``a whole number from 2 to 512``."""
    if legal := legal_values(hint, known):
        return " or ".join(str(value) for value in legal)
    kinds = _numbers(hint)
    words = NUMBERS[kinds[0]] if kinds else "another value"
    return f"{words} {limits(known)}".rstrip()


def limits(known: Option) -> str:
    """Return the bounds of a number in words; nothing where there are none."""
    bounds = ((known.least, "from"), (known.above, "above"), (known.most, "to"), (known.below, "and below"))
    return " ".join(f"{word} {bound:,}" for bound, word in bounds if bound is not None)


def read_settings(kind: type[Kind], given: Mapping[str, Any], owner: str) -> Kind:
    """Return what ``--set name=value`` chose, over the defaults of the owner's dataclass of choices.

    The dataclass's fields are int, float, bool or str, each perhaps None; values are as YAML reads them.

    Raises:
        UsageError: a name that the owner does not have, a value of another type or out of bounds; says
            what is legal.
    """
    hints, values = types_of(kind), {}
    known = {field.name: (hints[field.name], about) for field, about in options(kind)}
    for name, value in given.items():
        if name not in known:
            legal = ", ".join(f"{each} ({expected(*about)})" for each, about in known.items())
            raise UsageError(f"--set {name}: {owner} takes {legal or 'no settings'}")
        kinds = _numbers(known[name][0])
        whole = type(value) is int and abs(value) < 1 << 53
        values[name] = float(value) if float in kinds and whole else value
        if (kinds and type(values[name]) not in kinds) or not _fits(values[name], *known[name]):
            raise UsageError(f"--set {name}={_due(value, *known[name])}")
    return kind(**values)


def parse_settings(words: list[str]) -> dict[str, Any]:
    """Return ``--set name=value`` words as a dict; values are read as YAML (numbers, true, lists, text).

    Raises:
        UsageError: a word without ``=``, a name twice.
    """
    import yaml

    settings: dict[str, Any] = {}
    for word in words:
        name, equals, value = word.partition("=")
        name = name.strip()
        if not equals or not name:
            raise UsageError(f"--set takes name=value, not {word!r}")
        if name in settings:
            raise UsageError(f"--set {name} is given twice; leave one out")
        try:
            settings[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            settings[name] = value
    return settings


def read_pairs(kind: type, word: str, flag: str, names: Iterable[str]) -> dict[str, Any]:
    """Return the values of a word ``NAME=VALUE,…``, each as its field of the dataclass takes it.

    ``names`` may stand in the word; one that is no field takes any text.

    Raises:
        UsageError: another name, one twice, a value that its field does not allow.
    """
    hints, values = types_of(kind), dict[str, Any]()
    fields = {field.name: (hints[field.name], known) for field, known in options(kind)}
    for part in word.split(","):
        name, equals, text = part.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or name not in names:
            raise UsageError(f"{flag} {word}: {part!r} is not KEY=VALUE; keys are {', '.join(names)}")
        if name in values:
            raise UsageError(f"{flag} {word}: {name} is given twice")
        hint, known = fields.get(name, (str, Option()))
        values[name] = text
        for number in _numbers(hint):
            with contextlib.suppress(ValueError):
                values[name] = number(text)
        if not _fits(values[name], hint, known):
            raise UsageError(f"{flag} {word}: {name}={text}: expected {expected(hint, known)}")
    return values


def options(kind: type | object) -> Iterator[tuple[dataclasses.Field[Any], Option]]:
    """Yield the fields of a config that are options."""
    for field in dataclasses.fields(kind):  # type: ignore[arg-type]  # a dataclass
        if (known := option_of(field)) is not None:
            yield field, known


def _numbers(hint: Any) -> tuple[type, ...]:
    """Return the plain types that a value may have; none where a field holds something else too."""
    parts = [part for part in (get_args(hint) or (hint,)) if part not in (type(None), Ellipsis)]
    return tuple(parts) if all(part in NUMBERS for part in parts) else ()


def _fits(value: Any, hint: Any, known: Option) -> bool:
    if value is None and type(None) in get_args(hint):
        return True
    if legal := legal_values(hint, known):
        return any(type(value) is type(each) and value == each for each in legal)
    kinds = _numbers(hint)
    if not kinds:
        return True
    if not isinstance(value, (*kinds, int) if float in kinds else kinds):
        return False
    if isinstance(value, bool):
        return bool in kinds
    if isinstance(value, str):
        return True
    number: Any = value
    return (
        (abs(number) < 1 << 63 if isinstance(number, int) else math.isfinite(number))  # what arrays count
        and (known.least is None or number >= known.least)
        and (known.most is None or number <= known.most)
        and (known.above is None or number > known.above)
        and (known.below is None or number < known.below)
    )
