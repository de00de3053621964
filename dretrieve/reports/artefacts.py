"""All artefacts of a work folder, found by the fingerprints that others name them with.

A manifest names its inputs by fingerprint, never by path. To walk from a number back to its model, every
manifest and model card below the work folder is read once and entered under each name it may be called
by: its stage's fingerprint, the checksums of its files, the hash of its texts, the fingerprints of a card's
sides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from dretrieve.errors import DretrieveError
from dretrieve.models.places import PACKAGED, find_model, read_card
from dretrieve.store.card import CARD, ModelCard
from dretrieve.store.embeddings import Embeddings
from dretrieve.store.manifest import Manifest, read_manifest, verify_files
from dretrieve.types import Side

SIDES: tuple[Side, ...] = ("query", "passage")
TEXT_HASHES = ("sha256", "queries_sha256")


@dataclass(frozen=True, slots=True)
class Artefact:
    """One finished artefact.

    Attributes:
        path: of its manifest, or of its model card.
        stage: who made it; ``model`` for a card.
        facts: what the manifest or the card says.
        inputs: role to fingerprint.
        name: the path below the work folder, for messages.
        manifest: what its bytes are checked against; None for a card.
        card: the model card, if it is one.
    """

    path: Path
    stage: str
    facts: Mapping[str, Any]
    inputs: Mapping[str, str]
    name: str
    manifest: Manifest | None = None
    card: ModelCard | None = None

    def check(self, *, full: bool = False) -> None:
        """Verify the bytes of its files, of a card those of its weights.

        Raises:
            PreconditionError: a file is missing.
            VerificationError: a file was changed.
        """
        if self.manifest is not None:
            verify_files(self.path, self.manifest, full=full)
        elif self.card is not None and (full or "training" not in self.inputs):
            # A card beside the manifest of its training lists the same files; they are checked there.
            self.card.verify(self.path.parent)


@dataclass(slots=True)
class Library:
    """The artefacts below one folder.

    Attributes:
        work: the folder.
        by_name: fingerprint or checksum to the artefacts that it names.
        by_path: manifest or card to artefact.
        unreadable: what is broken or was edited, with the sentence about each.
    """

    work: Path
    by_name: dict[str, list[Artefact]] = field(default_factory=dict)
    by_path: dict[Path, Artefact] = field(default_factory=dict)
    unreadable: dict[Path, str] = field(default_factory=dict)

    @classmethod
    def scan(cls, work: Path) -> Library:
        """Return everything below ``work``; nothing is verified yet but the manifests' own checksums."""
        library = cls(work)
        for path in sorted(work.rglob("*manifest.json")):
            if path.is_file() and (path.name == "manifest.json" or path.name.endswith(".manifest.json")):
                library._add_manifest(path)
        for folder in sorted({path.parent for path in library.by_path if path.name.startswith("shard-")}):
            library._add_embeddings(folder)
        for path in sorted(work.rglob(CARD)):
            library._add_card(path)
        return library

    def named(self, fingerprint: str) -> list[Artefact]:
        """Return the artefacts of that fingerprint or checksum."""
        return self.by_name.get(fingerprint, [])

    def model_of(self, item: Artefact, fingerprint: str) -> list[Artefact]:
        """Return the model that ``item`` names, where its inference choices or its place hide it.

        Embeddings made with ``--set`` name a card under those choices, and a packaged model stands outside
        the work folder.
        """
        extra = item.facts.get("extra", {})
        choices = extra.get("inference") or {}
        if choices:
            cards = [each for each in self.by_path.values() if each.card is not None]
            return [each for each in cards if fingerprint in card_names(each, choices)]
        if extra.get("model") in PACKAGED:
            card, _ = read_card(find_model(extra["model"]))
            if fingerprint in {card.fingerprint(side) for side in SIDES}:
                path = find_model(extra["model"]) / CARD
                return [Artefact(path, "model", asdict(card), {}, extra["model"], card=card)]
        return []

    def _enter(self, artefact: Artefact, names: set[str]) -> None:
        self.by_path[artefact.path] = artefact
        for name in names:
            self.by_name.setdefault(name, []).append(artefact)

    def _add_manifest(self, path: Path) -> None:
        try:
            manifest = read_manifest(path)
        except DretrieveError as error:
            self.unreadable[path] = str(error)
            return
        facts = {
            "options": manifest.options,
            "counts": manifest.counts,
            "inputs": manifest.inputs,
            "extra": manifest.extra,
        }
        names = {manifest.fingerprint, *(str(entry["sha256"]) for entry in manifest.files.values())}
        names |= {str(manifest.extra[name]) for name in TEXT_HASHES if name in manifest.extra}
        shown = (
            path.parent
            if path.name == "manifest.json"
            else path.with_name(path.name[: -len(".manifest.json")])
        )
        name = str(shown.relative_to(self.work)) if shown != self.work else "the work folder"
        self._enter(Artefact(path, manifest.stage, facts, manifest.inputs, name, manifest), names)

    def _add_embeddings(self, folder: Path) -> None:
        try:
            embeddings = Embeddings.open(folder)
        except DretrieveError as error:
            self.unreadable[folder] = str(error)  # its shards stand in the library, the whole does not
            return
        for shard in embeddings.shards:
            artefact = self.by_path[folder / f"{shard.shard.stem}.manifest.json"]
            self.by_name.setdefault(embeddings.fingerprint, []).append(artefact)

    def _add_card(self, path: Path) -> None:
        try:
            card = ModelCard.load(path.parent)
        except DretrieveError as error:
            self.unreadable[path] = str(error)
            return
        inputs: dict[str, str] = {}
        beside = self.by_path.get(path.with_name("manifest.json"))
        if beside is not None and beside.manifest is not None:
            inputs["training"] = beside.manifest.fingerprint
        name = str(path.relative_to(self.work))
        artefact = Artefact(path, "model", asdict(card), inputs, name, card=card)
        self._enter(artefact, {card.fingerprint(side) for side in SIDES})


def card_names(artefact: Artefact, choices: Mapping[str, Any]) -> set[str]:
    """Return the fingerprints of both sides of a card under those inference choices."""
    assert artefact.card is not None
    try:
        return {artefact.card.fingerprint(side, choices) for side in SIDES}
    except DretrieveError:
        return set()
