"""``convert``: a checkpoint, a folder that names no pooling, some layers of a model become a model folder."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any

from dretrieve.errors import PreconditionError, UsageError
from dretrieve.jobs.configs.convert import ConvertConfig
from dretrieve.jobs.model_output import model_files
from dretrieve.models.base import Method
from dretrieve.models.bi_encoder_config import POOLINGS
from dretrieve.models.cards import read_card
from dretrieve.models.foreign.checkpoint import read_checkpoint
from dretrieve.models.foreign.forms import find
from dretrieve.models.foreign.t5 import FILES, WholeT5, weight_files
from dretrieve.models.model_folder import save_model
from dretrieve.models.places import find_model
from dretrieve.models.plain import UNSAID
from dretrieve.store.card import ModelCard
from dretrieve.store.fingerprint import sha256_file
from dretrieve.store.stage import Planned, Stage
from dretrieve.store.state import recorded_state
from dretrieve.types import Progress, Side, Silent

STAGE, VERSION = "convert", 1
PLAIN = "t5"  # what a T5's folder without a card is called here
SIDES: tuple[Side, Side] = ("query", "passage")


@dataclass(frozen=True, slots=True)
class ConvertResult:
    """What stands in the output now.

    Attributes:
        output: the folder.
        state: ``converted`` or ``up to date``.
        card: of the model.
        parameters: how many numbers it has.
    """

    output: Path
    state: str
    card: ModelCard
    parameters: int

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {
            "output": str(self.output),
            "state": self.state,
            "method": self.card.method,
            "parameters": self.parameters,
            "method_config": dict(self.card.method_config),
        }

    def render(self) -> str:
        """Return a few lines for people, with the next command."""
        settings = self.card.method_config.items()
        told = ", ".join(f"{name} {value}" for name, value in settings if value != "")
        lines = [f"{self.state}: {self.card.method}, {self.parameters:,} parameters -> {self.output}"]
        place = quote(str(self.output))
        then = f"encode --model {place} --corpus DIR --output EMB"
        if self.card.method == PLAIN:
            then = f"train reatt --backbone {place} --data DIR:train --output MODEL"
        return "\n".join([*lines, *([f"  {told}"] if told else []), f"next: dretrieve {then}"])


def run(config: ConvertConfig, progress: Progress | None = None) -> ConvertResult | Planned:
    """Read the checkpoint, lay its tensors into the method, write the model.

    Raises:
        UsageError: an unknown form.
        PreconditionError: no such checkpoint or backbone; an output that is not ours.
        DataError: a file that is no such checkpoint, tensors that do not fit the backbone.
    """
    options, inputs, made = _parts(config)
    stage = Stage(config.output, "folder", STAGE, VERSION, options, inputs, config.force)
    old = stage.standing_files()
    if stage.up_to_date(look=config.dry_run):
        if config.dry_run:
            return stage.planned("")
        parameters = stage.existing().counts["parameters"]
        return ConvertResult(config.output, "up to date", _card(config.output), parameters)
    (progress or Silent()).note(f"reading {config.source}")
    method = made()
    parameters = sum(parameter.numel() for parameter in method.parameters())
    if config.dry_run:
        what = f"a model of the method {method.card().method}" if isinstance(method, Method) else "a T5"
        return stage.planned(
            f"would convert {config.source} to {what}",
            {"parameters": parameters},
        )
    stage.refuse_strangers()
    for path in old:
        path.unlink(missing_ok=True)
    kept = f"layers {config.layers} of {config.source}" if config.layers else ""
    author = find(config.form).text if config.form else kept or "a folder that did not say its pooling"
    made_by = {"from": author, "conversion": stage.fingerprint}
    with recorded_state(stage.manifest_file, STAGE, stage.fingerprint):
        if isinstance(method, Method):
            save_model(method, config.output, made_by)
        else:
            method.save(config.output)
        for name in model_files(config.output):
            stage.add(name)
        stage.commit(counts={"parameters": parameters}, details={"checkpoint": str(config.source)})
    return ConvertResult(config.output, "converted", _card(config.output), parameters)


# Options, inputs, and the reading.
Parts = tuple[dict[str, Any], dict[str, str], Callable[[], Method | WholeT5]]


def _parts(config: ConvertConfig) -> Parts:
    if config.form and find(config.form).folder:
        return _of_whole(config)
    return _of_folder(config) if config.layers or config.source.is_dir() else _of_file(config)


def _card(folder: Path) -> ModelCard:
    card, note = read_card(folder)
    return card if note is None else replace(card, method=PLAIN, method_config={})


def _of_whole(config: ConvertConfig) -> Parts:
    """Return the same of the folder of a T5, or of a ReAtt of its authors'."""
    form = config.form.lower()
    if config.backbone or config.layers or config.said:
        raise UsageError(f"--from {form} reads a whole folder; leave --backbone, --layers and settings out")
    if not config.source.is_dir():
        raise PreconditionError(f"{config.source} is no folder; --from {form} reads weights and config.json")
    read = [config.source / name for name in FILES if (config.source / name).is_file()]
    inputs = {file.name: sha256_file(file) for file in (*weight_files(config.source), *read)}
    return {"from": form}, inputs, lambda: find(form).convert()(config.source)


def _of_file(config: ConvertConfig) -> Parts:
    """Return options, inputs and the reading of a checkpoint's file."""
    if not (config.form and config.backbone):
        raise UsageError(
            "a checkpoint's file needs --from FORM and --backbone MODEL, a model's folder --pooling or "
            "--layers, a run --output-format FORM"
        )
    if config.said:
        raise UsageError(
            f"--{min(config.said).replace('_', '-')} is for a model's folder, not for a checkpoint"
        )
    form = find(config.form)
    if not config.source.is_file():
        raise PreconditionError(f"{config.source} does not exist; name the checkpoint's file")
    known, _ = read_card(find_model(config.backbone))
    beside = sorted(config.source.parent.glob(form.beside)) if form.beside else []
    inputs = {"checkpoint": sha256_file(config.source)} | {of.name: sha256_file(of) for of in beside}
    inputs |= {f"backbone {side}": known.fingerprint(side) for side in SIDES}
    options = {"from": config.form.lower()}
    return options, inputs, lambda: form.convert()(read_checkpoint(config.source), config.backbone)


def _of_folder(config: ConvertConfig) -> Parts:
    """Return the same of a model: what its files do not say is written down, layers that are not kept go."""
    from dretrieve.models.shared import Shared
    from dretrieve.models.shared_config import SharedConfig

    if config.form or config.backbone:
        raise UsageError(f"{config.source} is a folder; --from and --backbone are for a checkpoint's file")
    name = str(config.source)
    known, _ = read_card(find_model(name))
    if "pooling" not in config.said and (UNSAID in known.source or not config.layers):
        raise UsageError(
            f"{name} is a folder; say by --pooling how the tokens of a text become one vector: "
            f"{', '.join(POOLINGS)}"
        )
    chosen, layers = SharedConfig(**config.said), {"layers": config.layers} if config.layers else {}

    def made() -> Method:
        method = Shared.build(chosen, name)
        if config.layers:
            method.encoder.keep_layers(config.layers)
        return method

    inputs = {f"folder {side}": known.fingerprint(side) for side in SIDES}
    return {"from": "folder", **config.said, **layers}, inputs, made
