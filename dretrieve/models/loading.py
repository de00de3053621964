"""A model ready to answer: card, tokenizers and the module on its device, in its number type."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from safetensors.torch import load_file
from torch import nn

from dretrieve.errors import PreconditionError, VerificationError
from dretrieve.models.backbone import WEIGHTS, explained_weights
from dretrieve.models.base import Method
from dretrieve.models.cards import read_card
from dretrieve.models.config import MethodConfig
from dretrieve.models.encoder import PRECISIONS, encoders_of
from dretrieve.models.places import find_model
from dretrieve.models.plain import UNSAID
from dretrieve.models.registry import check_choices, find
from dretrieve.store.card import Choice, ModelCard, SideCard
from dretrieve.store.seeds import fold
from dretrieve.tokens.tokenizer import SideTokenizer
from dretrieve.types import SIDES, Engine, Side

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model ready to answer.

    Attributes:
        choices: inference choices other than the card's defaults (``--set``).
        note: what was read from a plain folder; None for a model with a card.
    """

    name: str
    card: ModelCard
    encoder: Method
    tokenizers: Mapping[Side, SideTokenizer]
    device: torch.device
    precision: str
    choices: Mapping[str, Choice] = field(default_factory=dict)
    note: str | None = None

    def fingerprint(self, side: Side) -> str:
        """Return what the side's vectors depend on, inference choices included."""
        return self.card.fingerprint(side, self.choices)

    @property
    def engine(self) -> Engine:
        """What computes the next batch."""
        return self._joined({of.engine for of in encoders_of(self.encoder)})

    @property
    def ran(self) -> Engine:
        """What has computed since the model was loaded."""
        return self._joined({engine for of in encoders_of(self.encoder) for engine in of.ran})

    def _joined(self, engines: set[Engine]) -> Engine:
        if engines:
            return Engine.of_all(engines)
        kind = next((of.dtype for of in self.encoder.parameters()), torch.float32)
        return Engine("torch", PRECISIONS[kind])


def load_model(
    name: str,
    device: torch.device | str = "cpu",
    precision: str = "fp32",
    settings: Mapping[str, Choice] | None = None,
) -> LoadedModel:
    """Return the model of that name, ready to answer.

    Raises:
        PreconditionError: no such model; weights that cannot be read.
        UsageError: an inference choice that the method does not have.
        VerificationError: files that are not those of the card.
    """
    folder = find_model(name)
    card, note = read_card(folder)
    choices = check_choices(card, settings or {})
    given = {choice: choices[choice] for choice in settings or {}}
    device, dtype = torch.device(device), DTYPES[precision]
    from_checkpoint = bool(card.source.get("checkpoint"))
    method = (_at_checkpoint if from_checkpoint else find(card.method).method().load)(folder, card)
    method.choose(choices)
    rows = embedding_rows(method)
    ready(method, device, dtype)
    places = _backbone_sides(folder, card) if from_checkpoint else dict.fromkeys(SIDES, folder)
    tokenizers = {side: open_tokenizer(places[side], card.read_as(side, given), rows) for side in SIDES}
    if UNSAID in card.source:
        raise PreconditionError(
            f"{folder} does not say how the tokens of a text become one vector, and its type "
            f"({card.source['model_type']}) leaves several readings; write its card: dretrieve convert "
            f"{name} --pooling cls|mean|last --output DIR"
        )
    return LoadedModel(name, card, method, tokenizers, device, precision, given, note)


def untrained(name: str, method: str, device: torch.device | str, precision: str) -> LoadedModel:
    """Return a plain backbone as a model of that method with its default options, before any training."""
    built = fresh(method, find(method).config()(), name, 0)
    card, rows = built.card(), embedding_rows(built)
    ready(built, torch.device(device), DTYPES[precision])
    folder = find_model(name)
    known, _ = read_card(folder)
    sides = {
        side: replace(card.side(side), folder=theirs.folder, files=theirs.files)
        for side, theirs in ((side, known.side(side)) for side in SIDES)
    }
    card = replace(card, query=sides["query"], passage=sides["passage"])
    tokenizers = {side: open_tokenizer(folder, of, rows) for side, of in sides.items()}
    return LoadedModel(name, card, built, tokenizers, torch.device(device), precision)


def load_block(name: str, device: str, settings: Mapping[str, Choice]) -> Method:
    """Return a model for batches of vectors (`Method.takes_vectors`); its encoder is not read."""
    folder = find_model(name)
    card, _ = read_card(folder, encoder=False)
    entry = find(card.method).method()
    method = (_at_checkpoint if card.source.get("checkpoint") else entry.load_block)(folder, card)
    method.choose(check_choices(card, settings))
    return method.eval().requires_grad_(False).to(device)


def _at_checkpoint(folder: Path, card: ModelCard) -> Method:
    """Return the method as it was at a training's checkpoint: built on its backbone, with those weights."""
    _backbone_sides(folder, card)
    config = find(card.method).config()(**card.method_config)
    with torch.random.fork_rng(devices=[]):
        method = fresh(card.method, config, str(card.source["backbone"]), int(card.source.get("seed", 0)))
    tensors, frozen = load_file(folder / WEIGHTS), method.frozen()
    kept = {name: of for name, of in method.state_dict().items() if name in frozen}
    with explained_weights(folder):
        method.load_state_dict(kept | tensors)
    return method


def fresh(name: str, config: MethodConfig, backbone: str, seed: int) -> Method:
    """Return the method of that name as it is before training; sets torch's generator for its new weights."""
    torch.manual_seed(fold(seed, "new weights"))
    return find(name).method().build(config, backbone)


def _backbone_sides(folder: Path, card: ModelCard) -> dict[Side, Path]:
    """Return the folders of the sides of a checkpoint's backbone."""
    name = str(card.source["backbone"])
    place = find_model(name)
    known, _ = read_card(place)
    if any(known.fingerprint(side) != card.side(side).settings.get("backbone") for side in SIDES):
        raise VerificationError(
            f"{folder} is a checkpoint on the backbone {name}, and what stands there now is another model; "
            "put the backbone back, or train again"
        )
    return {side: place / known.side(side).folder for side in SIDES}


def open_tokenizer(folder: Path, card: SideCard, rows: int | None = None) -> SideTokenizer:
    """Return the tokenizer of one side of a model folder.

    ``rows`` is for how many tokens the model has embeddings; None compares nothing.
    """
    tokenizer = SideTokenizer.open(folder / card.folder, card)
    if rows is not None:
        tokenizer.fit(rows)
    return tokenizer


def embedding_rows(module: nn.Module) -> int | None:
    """Return for how many tokens every encoder inside has embeddings; None where none says."""
    tables = [part.backbone.get_input_embeddings() for part in encoders_of(module)]
    return min((int(of.num_embeddings) for of in tables if hasattr(of, "num_embeddings")), default=None)


def ready(module: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Turn a module into one that answers: evaluation mode, no gradients, engine prepared, on its device.

    What a method has beside its encoders (gates, small layers) stays in float32; a method without
    such encoders is converted whole.
    """
    module.eval().requires_grad_(False)
    encoders = encoders_of(module)
    for encoder in encoders:
        encoder.prepare(device, dtype)
    if not encoders:
        module.to(device, dtype)
    inside = {id(part) for encoder in encoders for part in encoder.modules()}
    for part in module.modules():
        if id(part) not in inside:
            for own in (*part.parameters(recurse=False), *part.buffers(recurse=False)):
                own.data = own.data.to(device)
