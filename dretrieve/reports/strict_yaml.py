"""YAML read strictly: duplicate keys, unknown keys and wrong types are errors that name file and key."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dretrieve.errors import DataError, PreconditionError


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


class Node:
    """One mapping of the file, with its place, from which keys are taken one by one.

    Args:
        path: the file.
        place: dotted keys that led here.
        value: what stands here.
    """

    def __init__(self, path: Path, place: str, value: Any) -> None:
        self.path, self.place = path, place
        if not isinstance(value, Mapping):
            raise self.wrong("", f"must be a mapping, not {described(value)}")
        self.value = value

    def wrong(self, key: str, message: str) -> DataError:
        """Return the error about a key here."""
        where = ".".join(part for part in (self.place, key) if part) or "the file"
        return DataError(f"{self.path}: {where} {message}")

    def only(self, keys: Iterable[str]) -> None:
        """Raise `DataError` when a key is not one of ``keys``."""
        from difflib import get_close_matches

        legal = list(keys)
        for key in self.value:
            if key not in legal:
                near = get_close_matches(key, legal, n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise self.wrong(key, f"is not a key that is known here ({', '.join(legal)}){hint}")

    def __contains__(self, key: str) -> bool:
        return key in self.value

    def text(self, key: str, default: str | None = None) -> str:
        """Return a text; without ``default`` it must be there."""
        value = self._get(key, default)
        if not isinstance(value, str):
            raise self.wrong(key, f"must be text, not {described(value)}")
        return value

    def number(self, key: str, default: float | None = None) -> float:
        """Return a number; without ``default`` it must be there."""
        value = self._get(key, default)
        if isinstance(value, bool) or not isinstance(value, int | float):
            raise self.wrong(key, f"must be a number, not {described(value)}")
        return float(value)

    def maybe_number(self, key: str) -> float | None:
        """Return a number, or None where there is none."""
        return None if self.value.get(key) is None else self.number(key)

    def choice(self, key: str, legal: Sequence[str], default: str | None = None) -> Any:
        """Return one of ``legal``."""
        value = self._get(key, default)
        if value not in legal:
            raise self.wrong(key, f"must be one of {', '.join(legal)}, not {described(value)}")
        return value

    def whole_numbers(self, key: str, default: tuple[int, ...]) -> tuple[int, ...]:
        """Return a list of whole numbers, not empty."""
        value = self.value.get(key, list(default))
        good = isinstance(value, list) and value and all(type(item) is int for item in value)
        if not good:
            raise self.wrong(key, f"must be a list of whole numbers, not {described(value)}")
        return tuple(value)

    def items(self, key: str) -> list[Any]:
        """Return a list; empty where there is none."""
        value = self.value.get(key, [])
        if not isinstance(value, list):
            raise self.wrong(key, f"must be a list, not {described(value)}")
        return value

    def texts(self, key: str) -> list[str]:
        """Return a list of texts; empty where there is none."""
        values = self.items(key)
        if not all(isinstance(value, str) for value in values):
            raise self.wrong(key, "must be a list of names")
        return values

    def node(self, key: str) -> Node:
        """Return the mapping under the key; an empty one where there is none."""
        value = self.value.get(key)
        return self.child(key, {} if value is None else value)

    def child(self, key: str, value: Any) -> Node:
        """Return another mapping in the key's place."""
        return Node(self.path, ".".join(part for part in (self.place, key) if part), value)

    def like(self, value: Mapping[str, Any]) -> Node:
        """Return another mapping in this one's place."""
        return Node(self.path, self.place, value)

    def children(self, key: str) -> dict[str, Node]:
        """Return name to mapping of everything under the key."""
        parent = self.node(key)
        return {name: parent.node(name) for name in parent.value}

    def _get(self, key: str, default: Any) -> Any:
        if key not in self.value and default is None:
            raise self.wrong(key, "is missing")
        return self.value.get(key, default)


def described(value: Any) -> str:
    """Return how an error names a value."""
    if value is None:
        return "nothing"
    kind = {dict: "a mapping", list: "a list", str: "the text", bool: "the truth value"}.get(type(value))
    return f"{kind or 'the number'} {str(value)[:60]!r}" if not isinstance(value, dict | list) else str(kind)
