"""``convert``: a checkpoint, a folder that names no pooling, layers of a model become a model folder.

An encoder that has learnt no token vectors gets them by ``--pooling tokens --pca DIR``: a `colbert` model
that projects onto principal components of its states, those of a fixed sample of a collection's passages. It
has no markers and fills no query up with [MASK]: nothing has taught it what these mean (MiniLM's nDCG@10 on
NFCorpus is .352, with queries filled up .105).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
import torch
from torch import nn

from dretrieve.encoding.pieces import token_batch
from dretrieve.errors import PreconditionError, UsageError
from dretrieve.jobs.configs.convert import ConvertConfig
from dretrieve.jobs.model_output import model_files
from dretrieve.models.base import Method
from dretrieve.models.bi_encoder_config import POOLINGS
from dretrieve.models.cards import read_card
from dretrieve.models.colbert import Colbert
from dretrieve.models.colbert_config import BARE, ColbertConfig
from dretrieve.models.encoder import prepared
from dretrieve.models.foreign.checkpoint import read_checkpoint
from dretrieve.models.foreign.colbert import check_sayable, write_colbert
from dretrieve.models.foreign.forms import find
from dretrieve.models.foreign.t5 import FILES, WholeT5, weight_files
from dretrieve.models.model_folder import beyond_sentence_transformers, save_model
from dretrieve.models.places import find_model
from dretrieve.models.plain import UNSAID
from dretrieve.store.card import ModelCard
from dretrieve.store.fingerprint import sha256_file
from dretrieve.store.stage import Planned, Stage
from dretrieve.store.state import recorded_state
from dretrieve.store.text_store import TextStore
from dretrieve.text.collection import Collection
from dretrieve.tokens.tokenizer import SideTokenizer
from dretrieve.types import SIDES, SILENT, Progress, Record

STAGE, VERSION = "convert", 1
PLAIN = "t5"  # what a T5's folder without a card is called here
TOKENS = "tokens"
# Passages whose tokens give principal components, and how many are read at once.
SAMPLE, BATCH = 512, 16


@dataclass(frozen=True, slots=True)
class ConvertResult:
    """What stands in the output now."""

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
            data = "path=DIR,split=train,run=RUN,depth=10"
            then = f"train reatt --backbone {place} --data {data} --output MODEL"
        return "\n".join([*lines, *([f"  {told}"] if told else []), f"next: dretrieve {then}"])


def run(config: ConvertConfig, progress: Progress = SILENT) -> ConvertResult | Planned:
    """Read the checkpoint, lay its tensors into the method, write the model.

    Raises:
        UsageError: an unknown form; a model of which a form cannot say what it does.
        PreconditionError: no such checkpoint or backbone; an output that is not ours.
        DataError: a file that is no such checkpoint, tensors that do not fit the backbone.
    """
    options, inputs, made = _parts(config)
    stage = Stage(config.output, "folder", STAGE, VERSION, options, inputs, config.force)
    stage.refuse_strangers()
    if stage.up_to_date(look=True):
        return stage.planned("") if config.dry_run else _standing(stage)
    progress.note(f"reading {config.source}")
    method = made()
    parameters = sum(parameter.numel() for parameter in method.parameters())
    if config.dry_run:
        what = f"a model of the method {method.card().method}" if isinstance(method, Method) else "a T5"
        return stage.planned(f"would convert {config.source} to {what}", {"parameters": parameters})
    if config.pca:
        assert isinstance(method, Colbert)
        keep_principal(method, _sample(config.pca))
    old = stage.standing_files()  # until here they stand: whatever fails or is killed before takes nothing
    if stage.up_to_date():  # another process has made it meanwhile
        return _standing(stage)
    stage.remove_others(old)
    kept = f"layers {config.layers} of {config.source}" if config.layers else ""
    kept = kept or f"a folder, with {', '.join(config.said)} said"
    author = find(config.form).text if config.form else kept
    made_by = {"from": author, "conversion": stage.fingerprint}
    with recorded_state(stage.manifest_file, STAGE, stage.fingerprint):
        _write(config, method, made_by)
        for name in model_files(config.output):
            stage.add(name)
        stage.commit(counts={"parameters": parameters}, details={"checkpoint": str(config.source)})
    card = _card(config.output)
    for line in beyond_sentence_transformers(card, config.output):
        progress.note(line)
    return ConvertResult(config.output, "converted", card, parameters)


def _standing(stage: Stage) -> ConvertResult:
    """Return the result that stands finished; what killed calls left beside it goes."""
    stage.up_to_date()
    parameters = stage.existing().counts["parameters"]
    return ConvertResult(stage.output, "up to date", _card(stage.output), parameters)


def _write(config: ConvertConfig, method: Method | WholeT5, made_by: dict[str, Any]) -> None:
    if config.to:
        assert isinstance(method, Colbert)
        write_colbert(method, config.to, config.output)
    elif isinstance(method, Method):
        save_model(method, config.output, made_by)
    else:
        method.save(config.output)


# Options, inputs, and the reading.
Parts = tuple[dict[str, Any], dict[str, str], Callable[[], Method | WholeT5]]


def _parts(config: ConvertConfig) -> Parts:
    if config.to:
        return _of_model(config)
    if config.form and find(config.form).folder:
        return _of_whole(config)
    named = bool(config.said) and not config.source.exists()  # a packaged model, or one of the hub
    folder = config.layers or config.pca or config.source.is_dir() or (named and not config.form)
    return _of_folder(config) if folder else _of_file(config)


def _card(folder: Path) -> ModelCard:
    card, note = read_card(folder)
    said = note is None or card.method == Colbert.name
    return card if said else replace(card, method=PLAIN, method_config={})


def _of_whole(config: ConvertConfig) -> Parts:
    """Return the same of the folder of a T5, or of a ReAtt of its authors'."""
    form = config.form.lower()
    if config.backbone or config.layers or config.pca or config.said:
        raise UsageError(f"--from {form} reads a whole folder; leave --backbone, --layers and settings out")
    if not config.source.is_dir():
        raise PreconditionError(f"{config.source} is no folder; --from {form} reads weights and config.json")
    read = [config.source / name for name in FILES if (config.source / name).is_file()]
    inputs = {file.name: sha256_file(file) for file in (*weight_files(config.source), *read)}
    return {"from": form}, inputs, lambda: find(form).convert()(config.source)


def _of_model(config: ConvertConfig) -> Parts:
    """Return the same of a colbert model that another tool is to read."""
    if config.form or config.backbone or config.layers or config.pca or config.said:
        raise UsageError("--to writes a model as it is; leave the other options of models out")
    folder = find_model(str(config.source))
    known, _ = read_card(folder)
    if known.method != Colbert.name:
        raise UsageError(f"--to {config.to}: {config.source} is a {known.method} model, not a colbert one")
    inputs = {f"folder {side}": known.fingerprint(side) for side in SIDES}

    def made() -> Method:
        method = Colbert.load(folder, known)
        check_sayable(method, config.to)
        return method

    return {"to": config.to}, inputs, made


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
        raise UsageError(
            "--from and --backbone are for a checkpoint's file; a folder, --layers and --pca are for models: "
            "leave one of both out"
        )
    name, said = str(config.source), dict(config.said)
    known, _ = read_card(find_model(name))
    if "pooling" not in said and (UNSAID in known.source or not (said or config.layers)):
        raise UsageError(
            f"{name} is a folder; say by --pooling how the tokens of a text become one vector: "
            f"{', '.join(POOLINGS)}; or that each keeps one: tokens"
        )
    tokens = said.get("pooling") == TOKENS
    if len({tokens, bool(config.pca), tokens or "dim" in said}) > 1:
        raise UsageError(
            "--pooling tokens, --dim and --pca go together: of the state of each token is kept what --pca, a "
            "collection, shows to be its principal components"
        )
    if tokens and known.vectors.kind == "many":
        raise UsageError(f"{name} has token vectors already; give the encoder that it was trained from")
    inputs = {f"folder {side}": known.fingerprint(side) for side in SIDES}
    options = {"from": "folder", **said, **({"layers": config.layers} if config.layers else {})}
    if tokens:
        options["sample"], inputs["collection"] = SAMPLE, _texts(config.pca).sha256
        said = BARE | {of: value for of, value in said.items() if of != "pooling"}
    kind: tuple[Any, Any] = (Colbert, ColbertConfig) if tokens else (Shared, SharedConfig)

    def made() -> Method:
        method: Shared | Colbert = kind[0].build(kind[1](**said), name)
        if config.layers:
            method.encoder.keep_layers(config.layers)
        return method

    return options, inputs, made


def _texts(spec: str) -> TextStore:
    return Collection.open(spec, "corpus").corpus(hashed=True)


def _sample(spec: str) -> list[Record]:
    """Return `SAMPLE` of a collection's passages, at equal distances; all of them where there are fewer."""
    texts = _texts(spec)
    count = min(SAMPLE, len(texts))
    return [texts.record(row * len(texts) // count) for row in range(count)]


def keep_principal(method: Colbert, passages: Sequence[Record]) -> None:
    """Make the projection that of the states of these passages' tokens onto their principal components.

    The components are those around the origin, for the projection has no bias and vectors are compared by
    products: the directions with the largest mean square of (normalised) states that have a vector.

    Raises:
        UsageError: more numbers a token than states have, or than there are tokens.
    """
    encoder: Any = method.encoder
    projection = encoder.projection
    tokenizer = SideTokenizer.open(method.tokenizers["passage"], method.cards["passage"])
    moment, count = np.zeros((encoder.width, encoder.width)), 0
    encoder.projection = nn.Identity()
    with prepared(method, torch.device("cpu"), torch.float32), torch.inference_mode():
        for start in range(0, len(passages), BATCH):
            some = passages[start : start + BATCH]
            rows = np.arange(len(some))
            batch = token_batch(tokenizer.tokenize(some), rows, tokenizer.pad_id, [of.id for of in some])
            found = method.encode_side(batch, "passage")
            states = found.vectors[found.mask].double().numpy()
            moment += states.T @ states
            count += len(states)
    encoder.projection = projection
    if method.dim > min(encoder.width, count):
        raise UsageError(
            f"--dim {method.dim}: {count:,} tokens with states of {encoder.width} numbers have no so many "
            "principal components; give fewer, or a larger collection as --pca"
        )
    axes = np.linalg.eigh(moment)[1].T[::-1][: method.dim]  # eigh's values rise
    largest = np.take_along_axis(axes, np.abs(axes).argmax(axis=1)[:, None], axis=1)
    axes = axes * np.sign(largest)  # which of two signs is a library's own choice
    projection.weight.data.copy_(torch.from_numpy(axes))
