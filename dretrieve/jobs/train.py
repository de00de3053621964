"""train: a method on a backbone, over sets of examples, into a model folder."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from dretrieve.encoding.given_vectors import check_made_by
from dretrieve.errors import PreconditionError, UsageError
from dretrieve.jobs.configs.train import TrainConfig
from dretrieve.jobs.model_output import check_saved, model_files
from dretrieve.models.base import Method
from dretrieve.models.cards import read_card
from dretrieve.models.loading import fresh
from dretrieve.models.model_folder import beyond_sentence_transformers, save_model
from dretrieve.models.places import find_model
from dretrieve.models.registry import find
from dretrieve.options import refuse_given
from dretrieve.store.atomic import write_json
from dretrieve.store.card import CURVES, ModelCard, SideCard
from dretrieve.store.fingerprint import canonical_json, sha256_bytes
from dretrieve.store.interrupt import Signals, interruptible
from dretrieve.store.stage import Planned, Stage, replaces_stale
from dretrieve.store.state import alone_in, recorded_state
from dretrieve.tokens.tokenizer import SideTokenizer
from dretrieve.training.checkpoint import Checkpoints, Progressed
from dretrieve.training.data import DataSpec, ExampleSet, open_set, parse_data
from dretrieve.training.dev import Dev, open_dev
from dretrieve.training.device import (
    Place,
    keeping_memory,
    own_generators,
    repeatable,
    save_activation_memory,
    training_device,
    training_precision,
)
from dretrieve.training.estimate import estimate
from dretrieve.training.loop import Loop, Rhythm, Surroundings
from dretrieve.training.options import RATE, TrainOptions
from dretrieve.training.phases import PhasePlan, plan_phases
from dretrieve.training.processes import Processes, join_processes, leave_processes
from dretrieve.training.sets import TokenCache, TrainingSet, in_rows
from dretrieve.training.trackers import open_trackers
from dretrieve.types import SIDES, SILENT, Progress, Record, Side

STAGE, VERSION = "train", 1
CHECKED = 4  # queries, and as many passages, whose vectors are compared with those of the saved model


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainResult:
    """What came out: where, after how many steps, and the curve."""

    output: Path
    steps: int
    curve: list[dict[str, Any]]
    best: float | None = None
    best_step: int = 0
    metric: str = ""
    up_to_date: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the result as plain data."""
        return {**asdict(self), "output": str(self.output), "warnings": self.warnings}

    @property
    def warnings(self) -> list[str]:
        """What the curve has reason to warn of."""
        return [point["warning"] for point in self.curve if "warning" in point]

    def render(self) -> str:
        """Return the result in a few lines."""
        losses = [point["loss"] for point in self.curve if "loss" in point]
        course = f", loss {losses[0]:.4f} to {losses[-1]:.4f}" if losses else ""
        head = "up to date: " if self.up_to_date else ""
        line = f"{head}{self.output}: {self.steps:,} steps{course}"
        line += "".join(f"\nwarning: {said}" for said in self.warnings)
        if self.best is None:
            return line
        before = next((point["dev"] for point in self.curve if "dev" in point), None)
        was = f" (before training {before:.4f})" if before is not None else ""
        return f"{line}\nchosen after step {self.best_step:,}: dev {self.metric} {self.best:.4f}{was}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """What every process of a training opens.

    Attributes:
        sets: by id, in the order of the command line.
        stage: the output, named by everything that its bytes depend on.
    """

    config: TrainConfig
    sets: list[ExampleSet]
    dev: Dev | None
    place: Place
    stage: Stage


def run(config: TrainConfig, progress: Progress = SILENT) -> TrainResult | Planned:
    """Train, or say that the output is up to date; an interrupted training goes on.

    Raises:
        UsageError: options that do not fit together.
        DataError: a set without positives, or smaller than a batch.
        VerificationError: examples of another collection than the one given.
        PreconditionError: output or checkpoints of another training without ``force``.
        Interrupted: after a signal or ``max_minutes``, with a checkpoint written.
    """
    began = time.monotonic()
    device = training_device(config.options.device)
    processes = join_processes(device)
    shown: Progress = progress if processes.first else SILENT
    try:
        with processes.first_goes_first():
            opened = _open(config, processes, device, shown)
        if config.dry_run:
            return _planned(opened)
        with ExitStack() as stack:
            if processes.first and not config.output.is_file():
                stack.enter_context(alone_in(config.output))
                opened.stage.refuse_strangers()
            old = opened.stage.standing_files()
            checkpoints = _checkpoints(opened, shown)
            if opened.stage.up_to_date():
                if processes.first:
                    checkpoints.clear_unfinished(keep=config.options.keep_checkpoints)
                return _finished(opened.stage)
            if processes.first:
                _clear(config, checkpoints, old)
            processes.wait()
            checkpoints.refuse_others()
            signals = stack.enter_context(interruptible())
            stack.enter_context(own_generators())
            stack.enter_context(repeatable(device))
            stack.enter_context(keeping_memory(device))
            if processes.first:
                stage = opened.stage
                stack.enter_context(recorded_state(stage.manifest_file, STAGE, stage.fingerprint))
            deadline = began + 60 * config.options.max_minutes if config.options.max_minutes else None
            return _train(opened, checkpoints, signals, deadline, shown)
    finally:
        leave_processes()


def _checkpoints(opened: Opened, progress: Progress) -> Checkpoints:
    config = opened.config
    return Checkpoints(
        config.output / "checkpoints",
        opened.stage.options,
        opened.stage.inputs,
        keep=config.options.save_total_limit,
        note=progress.note,
    )


def _train(
    opened: Opened, checkpoints: Checkpoints, signals: Signals, deadline: float | None, progress: Progress
) -> TrainResult:
    """Build, train, save; signals and the deadline of ``--max-minutes`` may end it early."""
    config, processes, device = opened.config, opened.place.processes, opened.place.device
    options = config.options
    if options.resume == "must" and not checkpoints.found():
        raise PreconditionError(f"--resume must: {checkpoints.folder} holds no checkpoint; use --resume auto")
    method = _built(config, device)
    if options.gradient_checkpointing:
        save_activation_memory(method)
    _check_sets(opened, method, progress)
    tokenizers = open_tokenizers(config.backbone, method)
    checkpoints.card = lambda: _checkpoint_card(method, config.backbone, opened.stage.inputs, options.seed)
    sets = _sets_in_rows(opened, tokenizers, checkpoints.folder / "tokens", progress)
    plans = plan_phases(method, sets, tokenizers, options, opened.place)
    _announce(plans, opened, progress)
    dev = opened.dev
    around = Surroundings(
        device=device,
        processes=processes,
        checkpoints=checkpoints,
        dev=None if dev is None else lambda method: dev.value(method, tokenizers, device),
        dev_name=options.dev_metric,
        trackers=open_trackers(options.report_to.split(","), config.output, opened.stage.fingerprint)
        if processes.first
        else (),
        progress=progress,
        signals=signals,
        deadline=deadline,
    )
    try:
        state = Loop(method, plans, _rhythm(options, plans), around).run()
    finally:
        for tracker in around.trackers:
            tracker.close()
    if processes.first:
        _save(opened, method, tokenizers, state, progress)
        checkpoints.finish(keep=options.keep_checkpoints)
    processes.wait()
    return replace(_finished(opened.stage), up_to_date=False)


def _built(config: TrainConfig, device: torch.device) -> Method:
    """Return the method as it is before its first step."""
    return fresh(config.method, config.method_config, config.backbone, config.options.seed).to(device)


def _check_sets(opened: Opened, method: Method, progress: Progress) -> None:
    """Refuse sets that do not fit the method; say what it has to say of the others."""
    card = method.card()
    for of in opened.sets:
        if of.spec.depth == 0 and method.compares_passages:
            raise UsageError(
                f"--data {of.spec.name}: depth=0 reads questions alone, and {opened.config.method} compares "
                "passages; give --alpha 0, or read some"
            )
        fields = {name: [example.fields.get(name) for example in of.examples] for name in of.columns}
        if note := method.check_fields(of.spec.name, fields) if fields else "":
            progress.note(note)
        for side, given in of.vectors.items():
            check_made_by(given, card, f"--data {of.spec.name}: {side}_vectors={given.folder}")


def _rhythm(options: TrainOptions, plans: list[PhasePlan]) -> Rhythm:
    """Return when the loop does what; dev is looked at after each pass unless said otherwise."""
    return Rhythm(
        logging_steps=options.logging_steps,
        save_steps=options.save_steps,
        eval_steps=options.eval_steps or min(plan.feed.plan.steps_per_epoch for plan in plans),
        patience=options.patience,
    )


def _clear(config: TrainConfig, checkpoints: Checkpoints, old: list[Path]) -> None:
    """Remove a replaced result, and checkpoints that ``--force`` or ``--resume never`` give up."""
    may_replace = config.force or replaces_stale()
    foreign = may_replace and any(not checkpoints.is_ours(path) for path in checkpoints.found())
    anew = config.force and old  # a finished one; a forced one that was killed has no old files
    if config.options.resume == "never" or foreign or anew:
        checkpoints.clear()
    for path in old:
        path.unlink(missing_ok=True)


def _announce(plans: list[PhasePlan], opened: Opened, progress: Progress) -> None:
    """Say what a batch is, before it takes an hour to find out."""
    place = opened.place
    queries = sum(len(of.examples) for of in opened.sets)
    for plan in plans:
        batch = plan.feed.make(0).batch
        asked, passages = len(batch.query_rows), len(batch.passage_rows)
        name = f"{plan.phase.name}: " if len(plans) > 1 else ""
        negatives = f", so about {passages - 1:,} negatives a query" if passages else ""
        progress.note(
            f"{name}{queries:,} queries; {plan.steps:,} steps of {asked:,} queries "
            f"({place.processes.count} x {asked // place.processes.count}); the first batch holds "
            f"{passages:,} passages{negatives}; learning rate {plan.options.rate:g}; "
            f"{place.device.type}, {place.precision}"
        )


def _save(
    opened: Opened,
    method: Method,
    tokenizers: Mapping[Side, SideTokenizer],
    state: Progressed,
    progress: Progress,
) -> None:
    """Write the model, read it back, write the curve, and last the manifest."""
    stage, config = opened.stage, opened.config
    method.to("cpu")
    card = save_model(method, config.output, {"training": stage.fingerprint, "steps": state.total})
    check_saved(method, tokenizers, config.output, _some_texts(opened))
    for line in (*beyond_sentence_transformers(card, config.output), *card.source.get("open", {}).values()):
        progress.note(line)
    write_json(config.output / CURVES, {"curve": state.curve})
    for name in model_files(config.output, ("checkpoints", "tensorboard", "wandb")):
        stage.add(name)
    groups = [group for phase in method.phases() for group in method.parameter_groups(phase)]
    counts = {
        "steps": state.total,
        "queries": sum(len(of.examples) for of in opened.sets),
        "parameters": sum(parameter.numel() for parameter in method.parameters()),
        "trained": sum(of.numel() for of in {of for group in groups for of in group.parameters}),
    }
    chosen = {"best": state.best, "best_step": state.best_step, "metric": config.options.dev_metric}
    stage.commit(counts=counts, extra=chosen | dict(method.summary(state.curve)))


def _some_texts(opened: Opened) -> list[Record]:
    """Return a few texts of the first set."""
    chosen = opened.sets[0].examples[:CHECKED]
    queries = [Record(of.query_id, "", of.query_text) for of in chosen]
    names = [name for of in chosen for name in (of.close or of.positive_document_ids)[:1]]
    return queries + [of for of in map(opened.sets[0].corpus.find, names) if of is not None]


def _finished(stage: Stage) -> TrainResult:
    """Return the result that stands there."""
    manifest = stage.existing()
    curve = json.loads((stage.output / CURVES).read_bytes())["curve"]
    return TrainResult(
        output=stage.output,
        steps=manifest.counts["steps"],
        curve=curve,
        best=manifest.extra["best"],
        best_step=manifest.extra["best_step"],
        metric=manifest.extra["metric"],
        up_to_date=True,
    )


def _planned(opened: Opened) -> Planned:
    """Return what stands there, and what the training would cost: of a finished one no model is loaded."""
    opened.stage.refuse_strangers()
    found = opened.stage.planned("")
    if found.state == "up to date":
        return found
    queries = sum(len(of.examples) for of in opened.sets)
    config, device = opened.config, opened.place.device
    if not (config.force or replaces_stale() or config.options.resume == "never"):
        _checkpoints(opened, SILENT).refuse_others()
    with own_generators(), repeatable(device):
        method = _built(config, device)
        _check_sets(opened, method, SILENT)
        tokenizers = open_tokenizers(config.backbone, method)
        cost = estimate(method, opened.sets, tokenizers, config.options, opened.place)
    said = f"would train {config.method} on {config.backbone} with {queries:,} queries into {config.output}"
    return replace(found, text="\n".join([said, *cost.lines()]), details={"estimate": cost.as_json()})


def _open(config: TrainConfig, processes: Processes, device: torch.device, progress: Progress) -> Opened:
    """Open the sets and the dev set, and name the training by what its result depends on."""
    options, backbone = config.options, Path(config.backbone)
    if backbone.is_dir() and backbone.resolve().is_relative_to(config.output.resolve()):
        raise UsageError(
            f"--output {config.output}: the backbone {config.backbone} stands there; choose another --output"
        )
    if not config.data:
        raise UsageError("--data is missing: DIR:split, or examples of mine-negatives")
    kind = find(config.method).method()
    columns = kind.columns
    specs = [parse_data(word, columns) for word in config.data]
    _check_read(config, kind, specs)
    names = [spec.name for spec in specs]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise UsageError(f"two sets are called {twice}; name them: --data name=…,path=…")
    taught = options.distil_weight > 0
    sets = [
        open_set(spec, options.seed, progress, taught=taught, columns=columns, full=config.verify)
        for spec in specs
    ]
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
            {
                "name": of.spec.name,
                "weight": of.spec.weight,
                "sample": of.spec.sample,
                "phase": of.spec.phase,
                **({"depth": of.spec.depth, "target": of.spec.target} if of.spec.reads else {}),
            }
            for of in sets
        ],
    }
    if kind.own_rate and options.learning_rate == RATE:
        recorded["learning_rate_given"] = True  # else the record is the same as with the method's own rate
    if kind.revision > 1:
        recorded["revision"] = kind.revision
    inputs = {f"set {of.spec.name}": of.fingerprint for of in sets}
    inputs |= {f"backbone {side}": known.fingerprint(side) for side in SIDES}
    inputs |= {"dev": dev.fingerprint} if dev is not None else {}
    stage = Stage(config.output, "folder", STAGE, VERSION, recorded, inputs, config.force)
    return Opened(config=config, sets=sets, dev=dev, place=Place(processes, device, precision), stage=stage)


def _check_read(config: TrainConfig, method: type[Method], specs: Sequence[DataSpec]) -> None:
    """Refuse close passages for a method that learns from judged ones, and options of these beside them."""
    name, options = config.method, config.options
    if method.reads_close and options.distil_weight:
        raise UsageError(f"--distil-weight: {name} has a target of its own, and no teacher; leave it out")
    if not method.reads_close and any(of.reads or of.target != "answers" for of in specs):
        raise UsageError(
            f"--data …,run=, depth= and target= are of methods that read what was found, and {name} learns "
            "from judged passages; leave them out"
        )
    if method.reads_close and (bare := next((of for of in specs if not of.reads), None)):
        raise UsageError(
            f"--data {bare.name}: {name} learns from what was found; say run=RUN,depth=K (depth=K alone "
            "reads the judged passages, depth=0 the question by itself)"
        )
    if all(of.reads for of in specs):
        why = "chooses among judged passages, and every --data says by depth= what is read; leave it out"
        refuse_given(options, ("train_group_size", "positives"), why)


def open_tokenizers(backbone: str, method: Method) -> dict[Side, SideTokenizer]:
    """Return the backbone's tokenizers with the method's templates and lengths."""
    folder = find_model(backbone)
    known, _ = read_card(folder)
    card = method.card()
    return {side: SideTokenizer.open(folder / known.side(side).folder, card.side(side)) for side in SIDES}


def _checkpoint_card(method: Method, backbone: str, inputs: Mapping[str, str], seed: int) -> ModelCard:
    """Return the card of the method's checkpoints: trained weights of their own, the rest the backbone's."""
    card, folder = method.card(), Path(backbone)

    def side(of: SideCard, known: str) -> SideCard:
        return replace(of, folder=".", settings={**of.settings, "backbone": known})

    return replace(
        card,
        query=side(card.query, inputs["backbone query"]),
        passage=side(card.passage, inputs["backbone passage"]),
        source={
            **card.source,
            "backbone": str(folder.resolve()) if folder.is_dir() else backbone,
            "checkpoint": True,
            "seed": seed,
        },
    )


def _sets_in_rows(
    opened: Opened, tokenizers: Mapping[Side, SideTokenizer], folder: Path, progress: Progress
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
