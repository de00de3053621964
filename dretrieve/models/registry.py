"""The methods by name, free of torch: adding a method is one line here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dretrieve.errors import DataError, UsageError
from dretrieve.options import NoChoices, read_settings

if TYPE_CHECKING:
    from dretrieve.models.base import Method
    from dretrieve.store.card import ModelCard


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a method lives: ``METHOD`` in ``module``, its config class ``CONFIG`` in ``module_config``."""

    module: str
    text: str

    def method(self) -> type[Method]:
        """Return the method's class (imports torch)."""
        return import_module(f"dretrieve.models.{self.module}").METHOD  # type: ignore[no-any-return]

    def config(self) -> type:
        """Return the method's config dataclass (imports no torch)."""
        return import_module(f"dretrieve.models.{self.module}_config").CONFIG  # type: ignore[no-any-return]

    def choices(self) -> type:
        """Return the dataclass of what the method leaves open after training (imports no torch)."""
        module = import_module(f"dretrieve.models.{self.module}_config")
        return getattr(module, "CHOICES", NoChoices)


METHODS: dict[str, Entry] = {
    "shared": Entry("shared", "one encoder for queries and passages"),
    "dpr": Entry("dpr", "two encoders, one for each side"),
    "taser": Entry("taser", "one encoder, some of whose layers have experts"),
}


def find(name: str) -> Entry:
    """Return the method of that name (dashes and underscores are equal).

    Raises:
        UsageError: there is none; the message lists them.
    """
    entry = METHODS.get(name.replace("-", "_"))
    if entry is None:
        raise UsageError(f"there is no method '{name}'; there are {', '.join(METHODS)}")
    return entry


def check_choices(card: ModelCard, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inference choices of the card with ``settings`` (``--set``) over them.

    Raises:
        UsageError: a name that the model does not have, a value that its method does not allow.
    """
    chosen = card.chosen(settings)
    kind = METHODS[card.method].choices() if card.method in METHODS else NoChoices
    if settings and kind is not NoChoices:
        read_settings(kind, settings, f"the method '{card.method}'")
    for name, value in settings.items():
        if type(value) is not type(card.inference[name]):
            raise UsageError(
                f"--set {name}={value}: the model has {name}={card.inference[name]}; give its like"
            )
    return chosen


def check_method(path: Path, card: ModelCard) -> None:
    """Refuse a card whose method is not here, or whose options are not that method's.

    Raises:
        DataError: names the card's file, the entry and what is expected.
    """
    from dretrieve.store.card import (
        from_json,
    )  # numpy stands behind it, and the command line's help needs none

    if card.method not in METHODS:
        raise DataError(f"{path} is of the method '{card.method}'; there are {', '.join(METHODS)}")
    try:
        from_json(find(card.method).config(), dict(card.method_config), "method_config")
    except (ValueError, UsageError) as error:
        raise DataError(f"{path} {error}; was it changed by hand? save or convert the model again") from None
