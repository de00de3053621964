"""The methods by name, free of torch: adding a method is one line here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dretrieve.errors import DataError, UsageError
from dretrieve.options import NoChoices, read_settings

if TYPE_CHECKING:
    from dretrieve.models.base import Method
    from dretrieve.store.card import ModelCard
    from dretrieve.types import Side


GROUP = "dretrieve.methods"  # entry points of packages that bring a method of their own


@dataclass(frozen=True, slots=True)
class Entry:
    """Where a method lives, each place as ``module:Name``.

    Attributes:
        place: its class (imports torch).
        config_place: its config dataclass, in a module without torch; empty: the class's ``config_class``.
        example: what stands behind ``dretrieve train METHOD`` in the help.
        explanation: a function of `jobs.explain.Explain`'s form; empty where there is nothing to explain.
    """

    place: str
    config_place: str = ""
    text: str = ""
    example: str = "--backbone minilm --data work/squad:train --dev work/squad:dev --output model"
    explanation: str = ""

    def method(self) -> type[Method]:
        """Return the method's class (imports torch)."""
        found: type[Method] = load(self.place)
        return found

    def config(self) -> type:
        """Return the method's config dataclass (imports no torch where the entry names its place)."""
        found: type = load(self.config_place) if self.config_place else self.method().config_class
        return found

    def choices(self) -> type:
        """Return the dataclass of what the method leaves open after training."""
        return getattr(self.config(), "choices", NoChoices)


def load(place: str) -> Any:
    """Return what stands at ``module:Name``."""
    module, _, name = place.partition(":")
    return getattr(import_module(module), name)


def _ours(name: str, kind: str, text: str, **more: str) -> Entry:
    module = f"dretrieve.models.{name}"
    return Entry(f"{module}:{kind}", f"{module}_config:{kind}Config", text, **more)


METHODS: dict[str, Entry] = {
    "shared": _ours("shared", "Shared", "one encoder for queries and passages"),
    "dpr": _ours(
        "dpr",
        "Dpr",
        "two encoders, one for each side",
        example="--backbone minilm --data work/hard.jsonl --train-group-size 2 --output model",
    ),
    "taser": _ours(
        "taser",
        "Taser",
        "one encoder, some of whose layers have experts",
        example="--backbone minilm --data work/hard.jsonl --router det --layer-decay 0.8 --output model",
        explanation="dretrieve.jobs.explain_routing:explain",
    ),
    "sb_moe": _ours(
        "sb_moe",
        "SbMoe",
        "one encoder, and a block of experts behind its vectors",
        example="--backbone minilm --data work/squad:train --learning-rate 1e-4 --output model",
        explanation="dretrieve.jobs.explain_experts:explain",
    ),
    "ddr": _ours(
        "ddr",
        "Ddr",
        "a frozen encoder, a general prefix and prefixes of domains",
        example="--backbone minilm --data work/squad:train --prefix-length 32 --output model",
        explanation="dretrieve.jobs.explain_domains:explain",
    ),
    "aligner": _ours(
        "aligner",
        "Aligner",
        "one encoder with a vector for each token, compared by a sparse alignment",
        example="--backbone minilm --data work/hard.jsonl --train-group-size 2 --output model",
        explanation="dretrieve.jobs.explain_tokens:explain",
    ),
    "colbert": _ours(
        "colbert",
        "Colbert",
        "one encoder with a vector for each token, compared by MaxSim",
        example="--backbone minilm --data work/hard.jsonl --train-group-size 2 --output model",
        explanation="dretrieve.jobs.explain_tokens:explain",
    ),
    "reatt": _ours(
        "reatt",
        "Reatt",
        "a T5 that retrieves with its own attention and reads what it finds",
        example="--backbone T5 --data path=nq,split=train,run=bm25,depth=8 --lr 5e-5 --output model",
        explanation="dretrieve.jobs.explain_heads:explain",
    ),
}


@cache
def methods() -> dict[str, Entry]:
    """Return the methods here, and those of installed packages: entry points ``name = "module:Class"``."""
    from importlib.metadata import entry_points

    found = {of.name: Entry(of.value, text=f"of {of.module}") for of in entry_points(group=GROUP)}
    return METHODS | {name: entry for name, entry in found.items() if name not in METHODS}


def spelled(name: str) -> str:
    """Return a method's name as the command line writes it."""
    return name.replace("_", "-")


def find(name: str) -> Entry:
    """Return the method of that name (dashes and underscores are equal).

    Raises:
        UsageError: there is none; the message lists them.
    """
    key = name.replace("-", "_")
    entry = METHODS.get(key) or methods().get(key)
    if entry is None:
        raise UsageError(f"there is no method '{name}'; there are {', '.join(map(spelled, methods()))}")
    return entry


def check_choices(card: ModelCard, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the inference choices of the card with ``settings`` (``--set``) over them.

    Raises:
        UsageError: a name that the model does not have, a value that its method or this model's options
            (``check_choices`` of the method's config, where it has one) do not allow.
    """
    chosen, entry = card.chosen(settings), find(card.method)
    if settings:
        read: Any = read_settings(entry.choices(), settings, f"the method '{card.method}'")
        chosen |= {name: getattr(read, name) for name in settings}
    config = entry.config()
    if hasattr(config, "check_choices"):
        config(**card.method_config).check_choices(chosen)
    return chosen


def check_used(card: ModelCard, settings: Mapping[str, Any], side: Side) -> None:
    """Refuse choices that change no vector of that side; queries must name those of their passages.

    Raises:
        UsageError: names the choice and the command that takes it.
    """
    for name, value in settings.items():
        sides = card.inference_sides.get(name, (side,))
        word = f"--set {name}={value}"
        if not sides:
            raise UsageError(
                f"{word}: no vector depends on it, it says how vectors are compared; give it to `dretrieve "
                f"search {word}`"
            )
        if side == "passage" and side not in sides:
            raise UsageError(
                f"{word}: no passage's vector depends on it; give it where queries are encoded, to "
                "`dretrieve encode --queries` or `dretrieve search --queries`"
            )


def check_method(path: Path, card: ModelCard) -> None:
    """Refuse a card whose method is not here, or whose options are not that method's.

    Raises:
        DataError: names the card's file, the entry and what is expected.
    """
    from dretrieve.store.card import from_json  # numpy stands behind it, and help needs none

    if card.method not in METHODS and card.method not in methods():
        raise DataError(f"{path} is of the method '{card.method}'; there are {', '.join(methods())}")
    try:
        from_json(find(card.method).config(), dict(card.method_config), "method_config")
    except (ValueError, UsageError) as error:
        raise DataError(f"{path} {error}; was it changed by hand? save or convert the model again") from None
