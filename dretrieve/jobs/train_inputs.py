"""What a training reads, and the name of its result: sets, dev set, backbone, options."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from dretrieve.errors import UsageError
from dretrieve.models.base import Method
from dretrieve.models.places import find_model, read_card
from dretrieve.models.registry import find
from dretrieve.store.card import ModelCard, SideCard
from dretrieve.store.fingerprint import canonical_json, sha256_bytes
from dretrieve.store.stage import Stage
from dretrieve.tokens.tokenizer import SideTokenizer
from dretrieve.training.data import ExampleSet, open_set, parse_data
from dretrieve.training.dev import Dev, open_dev
from dretrieve.training.device import Place, training_precision
from dretrieve.training.processes import Processes
from dretrieve.training.sets import TokenCache, TrainingSet, in_rows
from dretrieve.types import Progress, Side

if TYPE_CHECKING:
    from dretrieve.jobs.train import TrainConfig

STAGE, VERSION = "train", 1
SIDES: tuple[Side, Side] = ("query", "passage")


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """What every process of a training opens.

    Attributes:
        sets: by id, in the order of the command line.
        dev: chooses the weights, if given.
        place: where it runs.
        stage: the output, named by everything that its bytes depend on.
    """

    sets: list[ExampleSet]
    dev: Dev | None
    place: Place
    stage: Stage


def open_inputs(
    config: TrainConfig, processes: Processes, device: torch.device, progress: Progress
) -> Inputs:
    """Open the sets and the dev set, and name the training by what its result depends on.

    Raises:
        UsageError: no data, or two sets of one name.
    """
    options = config.options
    if not config.data:
        raise UsageError("--data is missing: DIR:split, or examples of mine-negatives")
    columns = find(config.method).method().columns
    specs = [parse_data(word, columns) for word in config.data]
    names = [spec.name for spec in specs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"two sets are called {twice}; name them: --data name=…,path=…")
    taught = options.distil_weight > 0
    sets = [open_set(spec, options.seed, progress, taught=taught, columns=columns) for spec in specs]
    dev = open_dev(options, progress) if options.dev else None
    known, _ = read_card(find_model(config.backbone))
    precision = training_precision(options.precision, device)
    recorded: dict[str, Any] = {
        "method": config.method,
        "method_config": asdict(config.method_config),
        **options.recorded(),
        "precision": precision,
        "device": device.type,
        "num_processes": processes.count,
        "sets": [
            {"name": of.spec.name, "weight": of.spec.weight, "sample": of.spec.sample, "phase": of.spec.phase}
            for of in sets
        ],
    }
    inputs = {f"set {of.spec.name}": of.fingerprint for of in sets}
    inputs |= {f"backbone {side}": known.fingerprint(side) for side in SIDES}
    inputs |= {"dev": dev.fingerprint} if dev is not None else {}
    stage = Stage(config.output, "folder", STAGE, VERSION, recorded, inputs, config.force)
    return Inputs(sets=sets, dev=dev, place=Place(processes, device, precision), stage=stage)


def open_tokenizers(backbone: str, method: Method) -> dict[Side, SideTokenizer]:
    """Return the backbone's tokenizers with the method's templates and lengths."""
    folder = find_model(backbone)
    known, _ = read_card(folder)
    card = method.card()
    return {side: SideTokenizer.open(folder / known.side(side).folder, card.side(side)) for side in SIDES}


def checkpoint_card(method: Method, backbone: str, inputs: Mapping[str, str], seed: int) -> ModelCard:
    """Return the card of the method's checkpoints: trained weights of their own, the rest the backbone's."""
    card, folder = method.card(), Path(backbone)

    def side(of: SideCard, known: str) -> SideCard:
        return replace(of, folder=".", settings={**of.settings, "backbone": known})

    return replace(
        card,
        query=side(card.query, inputs["backbone query"]),
        passage=side(card.passage, inputs["backbone passage"]),
        source={
            "backbone": str(folder.resolve()) if folder.is_dir() else backbone,
            "checkpoint": True,
            "seed": seed,
        },
    )


def sets_in_rows(
    opened: Inputs, tokenizers: Mapping[Side, SideTokenizer], folder: Path, progress: Progress
) -> dict[str, list[TrainingSet]]:
    """Return the sets in rows by phase; the token tables depend on tokenizers, templates and lengths."""
    backbone = [opened.stage.inputs[f"backbone {side}"] for side in SIDES]
    cards = [asdict(of.card) for of in tokenizers.values()]
    key = sha256_bytes(canonical_json([backbone, cards]))
    cache = TokenCache(folder, key, opened.place.processes)
    found: dict[str, list[TrainingSet]] = {}
    for examples in opened.sets:
        rows = in_rows(examples, tokenizers, cache, progress)
        found.setdefault(examples.spec.phase, []).append(rows)
    return found
