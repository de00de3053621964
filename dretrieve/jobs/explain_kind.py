"""What an explanation is given and gives; each kind is a module ``explain_<kind>`` with ``explain``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Protocol

from dretrieve.models.base import Method
from dretrieve.models.loading import LoadedModel
from dretrieve.models.registry import METHODS
from dretrieve.reports.html import Section
from dretrieve.types import Progress, Record, Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Texts of one side.

    Attributes:
        records: in the order of the collection.
        total: how many texts the side has.
        sha256: of the side's texts.
    """

    records: Sequence[Record]
    total: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What a method says of itself.

    Attributes:
        name: of the kind.
        data: plain, for JSON.
        sections: for people.
    """

    name: str
    data: Mapping[str, Any]
    sections: Sequence[Section]


class Explain(Protocol):
    """What a kind's module has as ``explain``."""

    def __call__(
        self, model: LoadedModel, samples: Mapping[Side, Sample], progress: Progress
    ) -> Explanation | None:
        """Return the explanation of the samples; None when this model has none."""
        ...


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind: ``explain`` in ``explain_<name>``, and the method of `Method` that a class must have for it."""

    name: str
    told_by: str

    def explain(self) -> Explain:
        """Return the function."""
        found: Explain = import_module(f"dretrieve.jobs.explain_{self.name}").explain
        return found

    def told(self, method: type[Method]) -> bool:
        """Return whether such models can have something to say."""
        return getattr(method, self.told_by) is not getattr(Method, self.told_by)


KINDS = (Kind("routing", "routes"),)


def kinds_of(method: type[Method]) -> list[Kind]:
    """Return the kinds that a method tells of."""
    return [kind for kind in KINDS if kind.told(method)]


def explained_methods() -> dict[str, list[str]]:
    """Return each method that explains something, with the names of its kinds."""
    found = {name: [kind.name for kind in kinds_of(entry.method())] for name, entry in METHODS.items()}
    return {name: kinds for name, kinds in found.items() if kinds}
