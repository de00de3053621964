"""``explain``: what a model says of how it reads texts, over a sample of a collection."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from dretrieve.encoding.numerics import resolve_device, resolve_precision
from dretrieve.errors import PreconditionError, UsageError
from dretrieve.jobs.configs.explain import ExplainConfig
from dretrieve.models.cards import read_card
from dretrieve.models.loading import LoadedModel, load_model
from dretrieve.models.places import find_model
from dretrieve.models.registry import METHODS, find, load
from dretrieve.reports.html import Page, Section
from dretrieve.reports.pages import shown, write_page
from dretrieve.store.atomic import make_folder, write_json
from dretrieve.store.card import CARD, ModelCard
from dretrieve.store.manifest import manifest_path
from dretrieve.store.seeds import generator
from dretrieve.text.collection import Collection
from dretrieve.types import Progress, Record, Side, Silent, Texts

MADE_BY = "dretrieve explain"
JSON_FILE, PAGE_FILE = "explain.json", "explain.html"
UNITS: dict[Side, str] = {"query": "queries", "passage": "passages"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Texts of one side.

    Attributes:
        records: in the order of the collection.
        total: how many texts the side has.
        sha256: of the side's texts.
    """

    records: Sequence[Record]
    total: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What a method says of itself.

    Attributes:
        name: of the page.
        data: plain, for JSON.
        sections: for people.
    """

    name: str
    data: Mapping[str, Any]
    sections: Sequence[Section]


# What a method's registry line names: None where this model has nothing to say.
Explain = Callable[[LoadedModel, Mapping[Side, Sample], Progress], Explanation | None]


@dataclass(frozen=True, kw_only=True, slots=True)
class ExplainResult:
    """The page, the same as data, and what was written; for a dry run only ``plan``."""

    page: Page
    data: dict[str, Any]
    written: tuple[Path, ...] = ()
    plan: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain data."""
        if self.plan:
            return {"plan": self.plan}
        return {**self.data, "written": [str(path) for path in self.written]}

    def render(self) -> Any:
        """Return the page for the terminal."""
        return self.plan or shown(self.page, "terminal")


def run(config: ExplainConfig, progress: Progress | None = None) -> ExplainResult:
    """Read a sample of each side and say what the method tells about it.

    Raises:
        UsageError: a method, or a model of it, that has nothing to explain; a split of the passages.
        PreconditionError: no such model or collection; what stands at the output is not ours.
        DataError: a collection that cannot be read, or has no texts.
    """
    progress = progress or Silent()
    card, note = read_card(find_model(config.model))
    place = find(card.method).explanation
    if note is not None or not place:
        raise _nothing(config.model, f"{card.method} has nothing to explain")
    _check_output(config)
    samples = _samples(config, progress)
    if config.dry_run:
        return ExplainResult(page=Page(title=""), data={}, plan=_plan(config, samples))
    device = resolve_device(config.device)
    precision = resolve_precision(config.precision, device)
    model = load_model(config.model, device, precision, config.settings)
    explain: Explain = load(place)
    found = explain(model, samples, progress)
    if found is None:
        raise _nothing(config.model, f"this {card.method} model leaves nothing to choose (one expert)")
    page, data = _page(config, model, samples, found), _data(config, model, samples, found)
    return ExplainResult(page=page, data=data, written=_write(config, page, data))


def _nothing(model: str, why: str) -> UsageError:
    """Return the refusal with the methods that explain something."""
    known = ", ".join(name for name, entry in METHODS.items() if entry.explanation)
    return UsageError(f"--model {model}: {why}; methods that have: {known}")


def _samples(config: ExplainConfig, progress: Progress) -> dict[Side, Sample]:
    """Return the texts to read, drawn by the seed, queries first."""
    corpus = Collection.open(config.corpus, "corpus")
    samples: dict[Side, Sample] = {}
    if config.queries is not None:
        samples["query"] = _sample(config, "query", Collection.open(config.queries, "queries").queries())
    samples["passage"] = _sample(config, "passage", corpus.corpus(progress, full=config.verify))
    return samples


def _sample(config: ExplainConfig, side: Side, texts: Texts) -> Sample:
    total = len(texts)
    assert total, "a collection without texts is refused when it is opened"
    rows = np.arange(total)
    if config.limit and config.limit < total:
        rows = np.sort(generator(config.seed, "explain", side).permutation(total)[: config.limit])
    records = [texts.records(row, row + 1)[0] for row in rows.tolist()]
    return Sample(records=records, total=total, sha256=texts.sha256)


def _page(
    config: ExplainConfig, model: LoadedModel, samples: Mapping[Side, Sample], found: Explanation
) -> Page:
    said = [f"{len(sample.records):,} of {sample.total:,} {UNITS[side]}" for side, sample in samples.items()]
    drawn = any(len(sample.records) < sample.total for sample in samples.values())
    how = f", drawn with seed {config.seed}" if drawn else ""
    return Page(
        title=f"How {Path(config.model).name} reads",
        lead=[
            f"Method {model.card.method}{_options(model.card)}; {model.precision} on {model.device.type}.",
            f"Texts: {' and '.join(said)}{how}.",
        ],
        sections=list(found.sections),
        footer=f"Made by {MADE_BY}.",
    )


def _options(card: ModelCard) -> str:
    """Return what the card says of both sides' structure (number of experts …) in words."""
    query, passage = card.query.settings, card.passage.settings
    both = {name: value for name, value in query.items() if passage.get(name) == value}
    words = ", ".join(f"{name.replace('_', ' ')} {value}" for name, value in both.items())
    return f" ({words})" if words else ""


def _data(
    config: ExplainConfig, model: LoadedModel, samples: Mapping[Side, Sample], found: Explanation
) -> dict[str, Any]:
    return {
        "made_by": MADE_BY,
        "method": model.card.method,
        "method_config": dict(model.card.method_config),
        "fingerprints": {side: model.fingerprint(side) for side in samples},
        "precision": model.precision,
        "sample": {
            "seed": config.seed,
            "limit": config.limit,
            **{
                UNITS[side]: {"texts": len(sample.records), "of": sample.total, "sha256": sample.sha256}
                for side, sample in samples.items()
            },
        },
        "explanations": {found.name: dict(found.data)},
    }


def _plan(config: ExplainConfig, samples: Mapping[Side, Sample]) -> str:
    said = [f"{len(sample.records):,} of {sample.total:,} {UNITS[side]}" for side, sample in samples.items()]
    where = f"write {config.output / PAGE_FILE} and {JSON_FILE}" if config.output else "write no file"
    return f"would read {' and '.join(said)} with {config.model}, and {where}"


def _check_output(config: ExplainConfig) -> None:
    """Refuse, before anything is computed, what `_write` must not touch.

    Raises:
        PreconditionError: a file, another artefact, or files that ``explain`` did not write stand there.
    """
    if config.output is None:
        return
    if config.output.is_file():
        raise PreconditionError(f"{config.output} is a file; --output names a folder")
    if any(path.exists() for path in (config.output / CARD, manifest_path(config.output))):
        raise PreconditionError(
            f"{config.output} is an artefact of another command; give --output a folder of its own"
        )
    file = config.output / JSON_FILE
    if file.exists() and not config.force and not _is_ours(file):
        raise PreconditionError(
            f"{file} was not written by {MADE_BY}; use --force to replace it or choose another --output"
        )


def _write(config: ExplainConfig, page: Page, data: dict[str, Any]) -> tuple[Path, ...]:
    """Write the page and the data into the folder that was checked."""
    if config.output is None:
        return ()
    make_folder(config.output)
    written = write_page(page, config.output / PAGE_FILE, force=config.force)
    write_json(config.output / JSON_FILE, data)
    return (*written, config.output / JSON_FILE)


def _is_ours(file: Path) -> bool:
    try:
        value = json.loads(file.read_bytes())
    except (OSError, ValueError):
        return False
    return isinstance(value, dict) and value.get("made_by") == MADE_BY
