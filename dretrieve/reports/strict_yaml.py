"""YAML read strictly into dataclasses: unknown keys, keys twice, wrong types are errors that name the key."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin

from dretrieve.errors import DataError, PreconditionError
from dretrieve.options import NUMBERS, types_of


class WrongError(ValueError):
    """What is wrong with what stands at a place, which is given as dotted keys."""

    def __init__(self, place: str, text: str) -> None:
        super().__init__(f"{place or 'the file'} {text}")


def load_yaml(path: Path) -> Any:
    """Return the file's value.

    Raises:
        PreconditionError: there is no such file.
        DataError: it is not YAML, or a key stands twice in one mapping (names the line).
    """
    import yaml

    class Loader(yaml.SafeLoader):  # type: ignore[misc]  # untyped library
        """Refuses a key that stands twice."""

    def mapping(loader: Any, node: Any) -> dict[str, Any]:
        seen: set[str] = set()
        for key_node, _ in node.value:
            key = str(key_node.value)
            if key in seen:
                raise DataError.at(path, key_node.start_mark.line + 1, f"the key '{key}' stands twice")
            seen.add(key)
        return {str(key): value for key, value in loader.construct_mapping(node, deep=True).items()}

    Loader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, mapping)
    # Dates stay text: they are shown, never computed with.
    Loader.add_constructor("tag:yaml.org,2002:timestamp", lambda _, node: str(node.value))
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise PreconditionError(f"{path} does not exist") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    try:
        return yaml.load(text, Loader)  # a subclass of SafeLoader
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error)
        raise DataError.at(path, mark.line + 1 if mark else None, f"not YAML: {problem}") from error


def read(hint: Any, value: Any, place: str = "") -> Any:
    """Return a value of the file as the type says: text, number, ``Literal``, list, pair, mapping, dataclass.

    The fields of a dataclass are the keys of a mapping, but for ``name``, which is the key that led there; in
    place of the mapping the value of the field may stand that its ``SHORT`` names. A list is not empty.

    Raises:
        WrongError: it is no such value; names the place.
    """
    parts = get_args(hint)
    if is_dataclass(hint):
        return _record(hint, value, place)
    if hint is Any or (value is None and NoneType in parts):
        return value
    if get_origin(hint) is UnionType:
        return read(parts[0], value, place)
    if get_origin(hint) is Literal:
        if value not in parts:
            raise WrongError(place, f"must be one of {', '.join(parts)}, not {described(value)}")
        return value
    if get_origin(hint) is Mapping:
        return {key: read(parts[1], inner, f"{place}.{key}") for key, inner in mapping(value, place).items()}
    if get_origin(hint) is tuple:
        if not isinstance(value, list) or not value or (parts[-1] is not ... and len(value) != len(parts)):
            raise WrongError(place, f"must be {_named(hint)}, not {described(value)}")
        return tuple(read(parts[0], inner, f"{place}.{row}") for row, inner in enumerate(value))
    if not isinstance(value, (int, float) if hint is float else hint) or isinstance(value, bool):
        raise WrongError(place, f"must be {_named(hint)}, not {described(value)}")
    return hint(value)


def _record(kind: Any, value: Any, place: str) -> Any:
    if hasattr(kind, "SHORT") and not isinstance(value, Mapping):
        value = {kind.SHORT: value}
    hints = types_of(kind)
    known = {field.metadata.get("key", field.name): field for field in fields(kind) if field.name != "name"}
    found = {"name": place.rpartition(".")[2]} if "name" in hints else {}
    given = mapping(value, place, list(known))
    for key, field in known.items():
        if key in given:
            found[field.name] = read(hints[field.name], given[key], below(place, key))
        elif field.default is field.default_factory is MISSING:
            raise WrongError(below(place, key), "is missing")
    return kind(**found)


def mapping(value: Any, place: str, legal: Sequence[str] | None = None) -> dict[str, Any]:
    """Return the value, a mapping with legal keys; an empty one where nothing stands. Errors as `read`."""
    if value is None and place:
        return {}
    if not isinstance(value, dict):
        raise WrongError(place, f"must be a mapping, not {described(value)}")
    for key in value:
        if legal is not None and key not in legal:
            from difflib import get_close_matches

            near = get_close_matches(key, legal, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise WrongError(below(place, key), f"is not a key that is known here ({', '.join(legal)}){hint}")
    return value


def below(place: str, key: str) -> str:
    """Return the place of a key."""
    return f"{place}.{key}" if place else key


def _named(hint: Any, *, many: bool = False) -> str:
    """Return what a type is called: ``a list of whole numbers``."""
    inner, of = get_args(hint), ""
    word = NUMBERS.get(hint, "a mapping").removeprefix("a ")
    if get_origin(hint) is tuple:
        word, of = "list" if inner[-1] is ... else "pair", f" of {_named(inner[0], many=True)}"
    return (f"{word}s" if many else f"a {word}") + of


def described(value: Any) -> str:
    """Return how an error names a value."""
    if value is None:
        return "nothing"
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list" if value else "an empty list"
    kind = {str: "the text", bool: "the truth value"}.get(type(value), "the number")
    return f"{kind} {str(value)[:60]!r}"
