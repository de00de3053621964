"""The chain behind a number: metrics, run, index, embeddings, both sides' models, training, each verified.

Walks the fingerprints that manifests name their inputs with. What stands between the number and its models,
and the trainings that made these, is ``near``; what those trainings stood on (their data, the runs that
negatives were mined from, earlier models) is ``behind``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dretrieve.errors import DretrieveError
from dretrieve.reports.artefacts import Artefact, Library
from dretrieve.reports.conditions import settled, unmet
from dretrieve.store.card import CARD
from dretrieve.store.manifest import manifest_path, provenance_path

ENCODE, TRAIN, SEARCH = "encode", "train", "search"
MODELS = frozenset(("model", TRAIN))
# Inputs that stand outside the work folder as often as in it: the data, named by content.
DATA_ROLES = frozenset(("collection", "corpus", "queries", "qrels", "answers", "library"))
# Inputs behind which the models of both sides stand.
MODEL_ROLES = frozenset(("passages", "query_model", "passage_model"))


@dataclass(slots=True)
class Chain:
    """What was found behind one file.

    Attributes:
        near: from the file to the models and the trainings that made them.
        behind: what those trainings stood on.
        faults: sentences about artefacts whose bytes are not those recorded.
        loose: sentences about inputs that no artefact of the work folder has.
        unseen: sentences about models of either side that are not known therefore.
        broken: sentences about artefacts of the work folder that could not be read, which may be those.
    """

    near: list[Artefact] = field(default_factory=list)
    behind: list[Artefact] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    loose: list[str] = field(default_factory=list)
    unseen: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    def problems(self, conditions: Mapping[str, Any], names: Mapping[str, object]) -> list[str]:
        """Return why the file may not fill a cell of those conditions; nothing when it may.

        Raises:
            DataError: the conditions say nothing about the profile.
        """
        if self.faults:
            return list(self.faults)
        conditions = settled(conditions, str(names.get("profile", "")))
        found = unmet(conditions, self.near, self.behind, names)
        if not found and self.unseen and MODELS.intersection(conditions):
            return [*self.unseen, *self.broken]
        missing = any("stands behind it" in text for text in found)
        return [*found, *([*self.loose, *self.broken] if missing else [])]

    @property
    def hardware(self) -> str:
        """The device that the vectors were made on, as the first embeddings' provenance says; else empty."""
        made_on = (_made_on(item.path) for item in self.near if item.stage == ENCODE)
        return next(filter(None, made_on), "")


def walk(library: Library, file: Path, *, role: str | None = None, full: bool = False) -> Chain:
    """Return the chain behind ``file``.

    Args:
        library: the artefacts among which inputs are looked for.
        file: an artefact of the library's folder: a metrics file, or a folder.
        role: follow only this input of the file itself (one of several runs); inputs that are data are
            always followed.
        full: hash every file again, also those whose size and time did not change.
    """
    chain = Chain(broken=list(library.unreadable.values()))
    path = manifest_path(file)
    first = library.by_path.get(path)
    if first is None:
        chain.faults.append(
            library.unreadable.get(path) or f"{file} has no manifest: it was not made by dretrieve"
        )
        return chain
    seen: set[tuple[Path, bool]] = set()
    todo = [(first, False)]
    while todo:
        item, is_behind = todo.pop(0)
        if (item.path, is_behind) in seen:
            continue
        seen.add((item.path, is_behind))
        (chain.behind if is_behind else chain.near).append(item)
        _verify(chain, item, full)
        beside = library.by_path.get(item.path.with_name(CARD)) if item.stage == TRAIN else None
        todo += [(beside, is_behind)] if beside is not None else []
        if not is_behind and _hides_query_model(item):
            chain.unseen.append(f"{item.name} does not say which model made its queries; search again")
        for name, fingerprint in item.inputs.items():
            skipped = item is first and role is not None and name.startswith("run ") and name != role
            if skipped:
                continue
            found = _sources(library, item, fingerprint)
            if not found and name != "dev" and not DATA_ROLES.intersection(name.split()):
                text = f"the input '{name}' ({fingerprint[:12]}…) of {item.name} is not in {library.work}"
                chain.loose.append(text)
                if name in MODEL_ROLES and not is_behind:
                    chain.unseen.append(text)
            todo += [(source, is_behind or item.stage == TRAIN) for source in found]
    return chain


def _made_on(manifest: Path) -> str:
    """Return device and precision; empty where the provenance is gone, which no manifest vouches for."""
    try:
        numerics = json.loads(provenance_path(manifest).read_bytes())["details"]["numerics"]
        return f"{numerics['device']}, {numerics['precision']}"
    except (OSError, ValueError, LookupError, TypeError):
        return ""


def _verify(chain: Chain, item: Artefact, full: bool) -> None:
    try:
        item.check(full=full)
    except DretrieveError as error:
        if str(error) not in chain.faults:
            chain.faults.append(str(error))


def _hides_query_model(item: Artefact) -> bool:
    """Return whether the item is a search over vectors that names no model of its queries."""
    return item.stage == SEARCH and "passages" in item.inputs and "query_model" not in item.inputs


def _sources(library: Library, item: Artefact, fingerprint: str) -> list[Artefact]:
    """Return the artefacts of that name other than the one that names it."""
    # A training set is named by two hashes, of its examples and of its collection.
    found = [
        each for name in fingerprint.split(":") for each in library.named(name) if each.path != item.path
    ]
    return found or library.model_of(item, fingerprint)
