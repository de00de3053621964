"""A ddr model's domains as files that come and go: held against a model, put into its folder, taken out.

A folder is the encoder, the general prefix and a file for each domain (`dretrieve.models.ddr`). So a domain
comes or goes by its file and the card's query side alone; encoder, general prefix, the other domains and the
passages' fingerprint stay, byte for byte.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from safetensors import safe_open
from safetensors.torch import load_file
from torch import Tensor

from dretrieve.errors import DataError, PreconditionError, VerificationError
from dretrieve.models.backbone import WEIGHTS
from dretrieve.models.cards import read_card
from dretrieve.models.ddr import GENERAL, Ddr, module_card, module_file
from dretrieve.models.ddr_config import NAME, DdrConfig
from dretrieve.models.encoder_method import INNER
from dretrieve.models.places import find_model
from dretrieve.models.prefix import Domain
from dretrieve.models.weights import lay_in
from dretrieve.store.atomic import make_folder, same_file, write_bytes
from dretrieve.store.card import CARD, ModelCard
from dretrieve.store.fingerprint import sha256_file
from dretrieve.store.manifest import manifest_path, read_verified

CURE = "give a file of `dretrieve modules export`, or modules/DOMAIN.safetensors of a ddr model"


@dataclass(frozen=True, slots=True)
class Module:
    """A domain's file.

    Attributes:
        card: what it says of itself (`Ddr.about`).
        tensors: its prefix and its row of the router, by name.
    """

    file: Path
    domain: str
    card: Mapping[str, Any]
    tensors: Mapping[str, Tensor]

    @classmethod
    def read(cls, file: Path) -> Module:
        """Return the domain of a file.

        Raises:
            PreconditionError: nothing stands there.
            DataError: it is no domain's file.
            VerificationError: it is not the file that its manifest, or the card of its model, describes.
        """
        if not file.is_file():
            raise PreconditionError(f"{file} is no file; {CURE}")
        if manifest_path(file).exists():
            read_verified(manifest_path(file), full=True)
        _check_listed(file.resolve())
        try:
            card, tensors = module_card(file), load_file(file)
        except (PreconditionError, ValueError) as error:
            raise DataError(f"{file} is no domain's module: it cannot be read as one; {CURE}") from error
        name = card.get("domain") if isinstance(card, dict) else None
        if not (isinstance(name, str) and NAME.fullmatch(name)):
            raise DataError(f"{file} is no domain's module: it names no domain; {CURE}")
        return cls(file, name, card, tensors)

    @property
    def parameters(self) -> int:
        """How many numbers it has."""
        return sum(of.numel() for of in self.tensors.values())


def _check_listed(file: Path) -> None:
    """Refuse a domain's file in a model's folder that is not the one that the model's card lists."""
    folder = file.parent.parent
    if not (folder / CARD).is_file():
        return
    wanted = ModelCard.load(folder).query.parts.get(str(file.relative_to(folder)))
    if wanted not in (None, sha256_file(file)):
        raise VerificationError(
            f"{file} is not the file that {folder / CARD} describes: its bytes changed; train it again, or "
            "fetch the model again"
        )


@dataclass(frozen=True, slots=True)
class Modular:
    """A finished ddr model in its folder."""

    folder: Path
    card: ModelCard
    config: DdrConfig

    @classmethod
    def open(cls, name: str) -> Modular:
        """Return the model of that name.

        Raises:
            PreconditionError: there is none, or it is no finished ddr model.
            VerificationError: files that are not those of its card.
        """
        folder = find_model(name)
        card, _ = read_card(folder)
        if card.method != Ddr.name or GENERAL not in card.passage.parts:
            what = "an unfinished training" if card.method == Ddr.name else f"a model of {card.method}"
            raise PreconditionError(
                f"{name} is {what}; domains' modules are of a finished ddr model: dretrieve train ddr"
            )
        return cls(folder, card, DdrConfig(**card.method_config))

    @property
    def modules(self) -> dict[str, Path]:
        """The file of each domain."""
        files = sorted(set(self.card.query.parts) - {GENERAL})
        return {Path(file).stem: self.folder / file for file in files}

    def misfit(self, module: Module, router: str) -> str:
        """Return why a domain's file is not of this model, in a few words; nothing where it is."""
        mine = {
            "encoder": self.card.passage.files.get(WEIGHTS),
            "prefix_length": self.config.prefix_length,
            "prefix_positions": self.config.prefix_positions,
            "general": self.card.passage.parts[GENERAL],
            "router": router or module.card.get("router"),
        }
        name = next((name for name, of in mine.items() if module.card.get(name) != of), "")
        theirs = module.card.get(name)
        if name in ("encoder", "general"):
            what = "general prefix" if name == "general" else name
            return f"it was trained on another {what} ({str(theirs)[:12]}, here {str(mine[name])[:12]})"
        return f"its {name} is {theirs}, here {mine[name]}" if name else ""

    def check_tensors(self, module: Module) -> None:
        """Refuse a domain's file whose numbers have no place here.

        Raises:
            DataError: tensors that are missing, left over, of another shape, or not finite.
        """
        with safe_open(self.folder / GENERAL, "pt") as opened:
            layers, _, length, width = opened.get_slice("general").get_shape()
        own = Domain(layers, length, width).state_dict()
        places = {f"domains.{module.domain}.{name}": of for name, of in own.items()}
        lay_in(places, module.tensors, module.file, CURE)

    def with_domains(self, files: Mapping[str, Path], router: str) -> ModelCard:
        """Return the card of the model with these domains alone."""
        config = self.config.with_domains(sorted(files), router)
        parts = {GENERAL: self.card.query.parts[GENERAL]}
        parts |= {module_file(name): sha256_file(files[name]) for name in sorted(files)}
        return replace(
            self.card,
            method_config=asdict(config),
            inference=asdict(config.defaults()),
            query=replace(self.card.query, parts=parts),
        )

    def write(self, output: Path, card: ModelCard, files: Mapping[str, Path]) -> None:
        """Write the model with other domains, the card last; its encoder is a hard link to this one's."""
        copied = {GENERAL: self.folder / GENERAL} | {module_file(name): of for name, of in files.items()}
        for path in sorted((self.folder / INNER).rglob("*")):
            name = str(path.relative_to(self.folder))
            if any(part.startswith(".") for part in Path(name).parts):
                continue
            if path.suffix == Path(WEIGHTS).suffix:
                same_file(path, output / name)
            elif path.is_file():
                copied[name] = path
        for name, path in copied.items():
            make_folder((output / name).parent)
            write_bytes(output / name, path.read_bytes())
        card.save(output)
