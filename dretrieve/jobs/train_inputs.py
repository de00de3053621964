"""What a training reads, and the name of its result: sets, dev set, backbone, options."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch

from dretrieve.errors import UsageError
from dretrieve.models.places import find_model, read_card
from dretrieve.store.stage import Stage
from dretrieve.training.data import ExampleSet, open_set, parse_data
from dretrieve.training.dev import Dev, DevOptions, open_dev
from dretrieve.training.options import TrainOptions
from dretrieve.training.preparing import Precision, training_precision
from dretrieve.training.processes import Processes
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
        place: processes, device, precision.
        stage: the output, named by everything that its bytes depend on.
    """

    sets: list[ExampleSet]
    dev: Dev | None
    place: tuple[Processes, torch.device, Precision]
    stage: Stage


def open_inputs(config: TrainConfig, place: tuple[Processes, torch.device], progress: Progress) -> Inputs:
    """Open the sets and the dev set, and name the training by what its result depends on.

    Raises:
        UsageError: no data, or two sets of one name.
    """
    options = config.options
    processes, device = place
    if not config.data:
        raise UsageError("--data is missing: DIR:split, or examples of mine-negatives")
    specs = [parse_data(word) for word in config.data]
    names = [spec.name for spec in specs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"two sets are called {twice}; name them: --data name=…,path=…")
    sets = [open_set(spec, options.seed, progress) for spec in specs]
    dev = open_dev(dev_options(options), progress) if options.dev else None
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
    return Inputs(sets=sets, dev=dev, place=(processes, device, precision), stage=stage)


def dev_options(options: TrainOptions) -> DevOptions:
    """Return what is measured on dev."""
    return DevOptions(
        data=options.dev,
        metric=options.dev_metric,
        queries=options.dev_queries,
        pool=options.dev_pool,
        seed=options.seed,
    )
