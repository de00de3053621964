"""``explain``: what a model says of how it reads texts, over a sample of one or more collections."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dretrieve.encoding.numerics import resolve_device, resolve_precision
from dretrieve.errors import PreconditionError, UsageError, VerificationError
from dretrieve.jobs.configs.explain import ExplainConfig
from dretrieve.jobs.explain_texts import Reading, read
from dretrieve.jobs.report_recipe import ReportResult
from dretrieve.models.cards import read_card
from dretrieve.models.loading import LoadedModel, load_model, untrained
from dretrieve.models.places import find_model
from dretrieve.models.registry import METHODS, check_choices, find, load, spelled
from dretrieve.reports.html import Page, Section
from dretrieve.reports.pages import svg_file, write_page
from dretrieve.runs.read import run_fingerprint
from dretrieve.store.atomic import make_folder, write_bytes, write_json
from dretrieve.store.card import CARD, ModelCard
from dretrieve.store.interrupt import interruptible
from dretrieve.store.manifest import manifest_path, read_manifest
from dretrieve.store.stage import Made, Planned, Stage
from dretrieve.store.state import recorded_state
from dretrieve.types import SIDES, SILENT, UNITS, Progress

STAGE, VERSION = "explain", 4
MADE_BY = "dretrieve explain"
HEADS = "reatt"  # the method whose heads are compared
JSON_FILE, PAGE_FILE = "explain.json", "explain.html"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What a method says of itself.

    Attributes:
        warnings: a line each, of what nobody would want.
        found: numbers for the manifest, where recipes and their reports look.
    """

    name: str
    data: Mapping[str, Any]
    sections: Sequence[Section]
    warnings: Sequence[str] = ()
    found: Mapping[str, Any] = field(default_factory=dict)


# What a method's registry line names: None where this model has nothing to say.
Explain = Callable[[LoadedModel, Reading, Progress], Explanation | None]


def run(config: ExplainConfig, progress: Progress = SILENT) -> ReportResult | Made | Planned:
    """Read a sample of each side and say what the method tells about it, or that the page stands already.

    Raises:
        UsageError: a method, or a model of it, that has nothing to explain; options that do not fit.
        PreconditionError: no such model or collection; what stands at the output is not ours.
        DataError: a collection that cannot be read, or has no texts.
        VerificationError: the run is another model's, was changed, or was found in other passages.
        Interrupted: a signal came; the same command begins again.
    """
    card, note = read_card(find_model(config.model))
    # a T5 as its authors save it has heads to compare, before anything trained it
    method = HEADS if note is not None and card.source.get("model_type") == "t5" else card.method
    place = find(method).explanation
    if not place:
        raise _nothing(config.model, f"{spelled(card.method)} has nothing to explain")
    choices = check_choices(card, config.settings)
    settings = {name: choices[name] for name in config.settings}
    if method == HEADS and settings:
        raise UsageError(f"--set {min(settings)}: all heads are compared, whichever is chosen; leave it out")
    if config.run is not None:
        run_fingerprint(config.run, full=config.verify)
        if method != HEADS:  # which compares its heads over any model's hits
            _check_run(config.run, config, card, settings)
    _check_output(config)
    with interruptible() as signals:
        reading = read(config, progress, signals.check, draws=method != HEADS)
        if config.run is not None:
            asked = {query.part for query in reading.chosen if method != HEADS}
            for part in reading.parts:  # the ids of one collection may be those of another
                if not asked or part.name in asked:
                    run_fingerprint(config.run, corpus=part.passages.sha256)
        stage = _stage(config, card, settings, reading)
        if config.dry_run:
            where = f"write {config.output / PAGE_FILE} and {JSON_FILE}" if config.output else "write no file"
            plan = f"would read {_said(reading)} with {config.model}, and {where}"
            return stage.planned(plan) if stage is not None else Planned(text=plan)
        if stage is None:
            return _explained(config, load(place), reading, progress, plain=method != card.method)[0]
        if stage.up_to_date():
            return Made(stage.output, "up to date", stage.existing().counts)
        make_folder(stage.output)
        with recorded_state(stage.manifest_file, STAGE, stage.fingerprint):
            result, found = _explained(config, load(place), reading, progress, plain=method != card.method)
            for path in result.written:
                stage.add(path.name)
            stage.commit(_counts(reading), found)
        return result


def _explained(
    config: ExplainConfig, explain: Explain, reading: Reading, progress: Progress, *, plain: bool
) -> tuple[ReportResult, Mapping[str, Any]]:
    """Return the page, and the numbers for the manifest."""
    device = resolve_device(config.device)
    precision = resolve_precision(config.precision, device)
    if plain:
        model = untrained(config.model, HEADS, device, precision)
    else:
        model = load_model(config.model, device, precision, config.settings)
    found = explain(model, reading, progress)
    if found is None:
        name = spelled(model.card.method)
        raise _nothing(config.model, f"this {name} model leaves nothing to choose (one expert)")
    page, data = _page(config, model, reading, found), _data(config, model, reading, found)
    return ReportResult(page=page, data=data, written=_write(config, page, data)), found.found


def _nothing(model: str, why: str) -> UsageError:
    """Return the refusal with the methods that explain something."""
    known = ", ".join(spelled(name) for name, entry in METHODS.items() if entry.explanation)
    return UsageError(f"--model {model}: {why}; methods that have: {known}")


def _stage(
    config: ExplainConfig, card: ModelCard, settings: Mapping[str, Any], reading: Reading
) -> Stage | None:
    """Return what decides the bytes of the output; None where nothing is written."""
    if config.output is None:
        return None
    device = resolve_device(config.device)
    options = {
        "precision": resolve_precision(config.precision, device),
        "collections": [part.name for part in reading.parts],
        **{name: getattr(config, name) for name in ("limit", "seed", "tsne")},
        **({"query": list(config.query)} if config.query else {}),
        **({"passage": list(config.passage)} if config.passage else {}),
        **({"hits": config.hits} if config.hits is not None else {}),
        "compared": {  # in no model's fingerprint, for no vector depends on it
            name: of
            for name, of in card.chosen(settings).items()
            if not card.inference_sides.get(name, SIDES)
        },
    }
    inputs = {f"{side} model": card.fingerprint(side, settings) for side in UNITS}
    inputs |= {"run": run_fingerprint(config.run)} if config.run is not None else {}
    for number, part in enumerate(reading.parts, 1):
        inputs |= {f"{UNITS[side]} {number}": sample.sha256 for side, sample in part.samples.items()}
        inputs |= {f"judgements {number}": part.judgements} if part.judgements else {}
    return Stage(config.output, "folder", STAGE, VERSION, options, inputs, config.force)


def _counts(reading: Reading) -> dict[str, int]:
    samples = [item for part in reading.parts for item in part.samples.items()]
    return {UNITS[side]: sum(len(of.records) for one, of in samples if one == side) for side in UNITS}


def _said(reading: Reading) -> str:
    """Return how many texts of how many are read, by collection where there are several."""
    found = []
    for part in reading.parts:
        each = (f"{len(of.records):,} of {of.total:,} {UNITS[side]}" for side, of in part.samples.items())
        found.append(f"{part.name}: " * (len(reading.parts) > 1) + " and ".join(each))
    return "; ".join(found)


def _page(config: ExplainConfig, model: LoadedModel, reading: Reading, found: Explanation) -> Page:
    samples = [sample for part in reading.parts for sample in part.samples.values()]
    drawn = any(len(sample.records) < sample.total for sample in samples)
    how = f", drawn with seed {config.seed}" if drawn else ""
    method = f"{spelled(model.card.method)}{_options(model.card)}"
    return Page(
        title=f"How {Path(config.model).name} reads",
        lead=[
            f"Method {method}; {model.precision} on {model.device.type}.",
            f"Texts: {_said(reading)}{how}.",
            *(f"WARNING: {warning}" for warning in found.warnings),
        ],
        sections=list(found.sections),
        footer=f"Made by {MADE_BY}.",
    )


def _options(card: ModelCard) -> str:
    """Return what the card says of both sides' structure (number of experts …) in words."""
    query, passage = card.query.settings, card.passage.settings
    both = {name: of for name, of in query.items() if of is not None and passage.get(name) == of}
    words = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in both.items())
    return f" ({words})" if words else ""


def _data(config: ExplainConfig, model: LoadedModel, reading: Reading, found: Explanation) -> dict[str, Any]:
    sampled = {
        part.name: {
            UNITS[side]: {"texts": len(sample.records), "of": sample.total, "sha256": sample.sha256}
            for side, sample in part.samples.items()
        }
        for part in reading.parts
    }
    sides = [side for side in UNITS if any(side in part.samples for part in reading.parts)]
    return {
        "made_by": MADE_BY,
        "method": spelled(model.card.method),
        "method_config": dict(model.card.method_config),
        "fingerprints": {side: model.fingerprint(side) for side in sides},
        "precision": model.precision,
        "sample": {
            "seed": config.seed,
            "limit": config.limit,
            **(next(iter(sampled.values())) if len(sampled) == 1 else sampled),
        },
        "explanations": {found.name: dict(found.data)},
        **({"warnings": list(found.warnings)} if found.warnings else {}),
    }


def _check_run(run: Path, config: ExplainConfig, card: ModelCard, settings: Mapping[str, Any]) -> None:
    """Refuse a run whose queries another model encoded, as far as its manifest says."""
    manifest, mine = manifest_path(run), card.fingerprint("query", settings)
    theirs = read_manifest(manifest).inputs.get("query_model", mine) if manifest.exists() else mine
    if theirs != mine:
        raise VerificationError(
            f"--run {run} is of queries by the model {theirs[:12]}, {config.model} is {mine[:12]}; "
            "search with this model and the same --set"
        )


def _check_output(config: ExplainConfig) -> None:
    """Refuse, before anything is computed, what `_write` must not touch, forced or not."""
    if config.output is None:
        return
    if config.output.is_file():
        raise PreconditionError(f"{config.output} is a file; --output names a folder")
    manifest, file = manifest_path(config.output), config.output / JSON_FILE
    ours = manifest.exists() and read_manifest(manifest).stage == STAGE
    if not ours and any(path.exists() for path in (config.output / CARD, manifest)):
        raise PreconditionError(
            f"{config.output} is an artefact of another command; give --output a folder of its own"
        )
    if not ours and file.exists() and not config.force and not _is_ours(file):
        raise PreconditionError(
            f"{file} was not written by {MADE_BY}; use --force to replace it or choose another --output"
        )


def _write(config: ExplainConfig, page: Page, data: dict[str, Any]) -> tuple[Path, ...]:
    """Write the page, the data and the figures into the folder that was checked."""
    if config.output is None:
        return ()
    folder = make_folder(config.output)
    written = [*write_page(page, folder / PAGE_FILE, force=config.force), folder / JSON_FILE]
    write_json(folder / JSON_FILE, data)
    for figure in page.figures:
        written.append(folder / f"{figure.name}.svg")
        write_bytes(written[-1], svg_file(figure).encode())
    return tuple(written)


def _is_ours(file: Path) -> bool:
    try:
        value = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(value, dict) and value.get("made_by") == MADE_BY
