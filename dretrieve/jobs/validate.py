"""``validate``: are these whole, do they fit together, and if a score is zero, why."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from dretrieve.errors import DretrieveError, UsageError
from dretrieve.jobs import validate_checks as checks
from dretrieve.jobs import validate_vectors as origins
from dretrieve.jobs.validate_parts import Finding, Parts, open_parts
from dretrieve.runs.lines import forms_for
from dretrieve.store.text_store import TextStore
from dretrieve.types import Progress, Silent


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidateConfig:
    """What to look at.

    Attributes:
        paths: collections (``DIR[:split]``), judgements, runs, examples, embeddings, indexes, models.
        full: hash every file that a manifest names, whatever its time says.
        run_format: of the runs, ``auto`` to tell.
    """

    paths: tuple[str, ...]
    full: bool = False
    run_format: str = "auto"


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidateResult:
    """All findings, in the order of looking."""

    findings: tuple[Finding, ...]

    @property
    def exit_code(self) -> int:
        """0, or the highest code that a problem asks for (3 missing, 4 bad input, 5 does not belong)."""
        return max((finding.code for finding in self.findings if finding.state == "problem"), default=0)

    def as_json(self) -> dict[str, Any]:
        """Return the findings as plain data."""
        return {"fits": self.exit_code == 0, "findings": [asdict(finding) for finding in self.findings]}

    def render(self) -> str:
        """Return a line for each finding and a verdict."""
        lines = [f"{finding.state:<8} {finding.about}: {finding.text}" for finding in self.findings]
        problems = sum(finding.state == "problem" for finding in self.findings)
        verdict = f"{problems} problem{'s' * (problems != 1)}" if problems else "everything fits"
        return "\n".join([*lines, "", verdict])


def run(config: ValidateConfig, progress: Progress | None = None) -> ValidateResult:
    """Open everything, compare whatever can be compared.

    Raises:
        UsageError: nothing was given.
    """
    if not config.paths:
        raise UsageError("name what belongs together: dretrieve validate COLLECTION:split RUN EMBEDDINGS …")
    forms_for([config.run_format], 1)
    parts, findings = open_parts(config.paths, progress or Silent(), config.run_format, full=config.full)
    for about, found in _comparisons(parts):
        try:
            findings += found
        except DretrieveError as error:
            findings.append(Finding("problem", about, str(error), error.exit_code))
    return ValidateResult(findings=tuple(findings))


def _comparisons(parts: Parts) -> Iterator[tuple[str, Iterable[Finding]]]:
    stores = {name: c.corpus() for name, c in parts.collections.items() if c.files.corpus}
    for name, collection in parts.collections.items():
        yield name, checks.check_collection(name, collection)
    for judged in parts.qrels:
        own = judged.collection.corpus() if judged.collection and judged.collection.files.corpus else None
        yield judged.name, checks.check_qrels(judged, own or _only(stores))
    for name, vectors in parts.embeddings.items():
        yield name, origins.check_vectors_collection(name, vectors, parts.collections)
    yield "embeddings", origins.check_models(parts.embeddings, parts.models)
    yield "embeddings", origins.check_sides(parts.embeddings)
    for index in parts.indexes:
        yield index.name, origins.check_index(index, parts.collections)
    for examples in parts.examples:
        for name, store in stores.items():
            yield examples.name, checks.check_examples(examples, name, store)
    yield from _runs(parts, stores)


def _runs(parts: Parts, stores: dict[str, TextStore]) -> Iterator[tuple[str, Iterable[Finding]]]:
    for part in parts.runs:
        for judged in _candidates(parts, part.run.query_ids):
            yield part.name, checks.check_run_queries(part, judged, _other_splits(parts, judged))
        for name in stores:
            yield part.name, checks.check_run_corpus(part, name, parts.collections[name])
        yield part.name, origins.check_run_origin(part, parts.embeddings, parts.indexes)
        yield part.name, origins.check_run_words(part, parts.collections)


def _only(stores: dict[str, TextStore]) -> TextStore | None:
    return next(iter(stores.values())) if len(stores) == 1 else None


def _candidates(parts: Parts, query_ids: Iterable[str]) -> list[Any]:
    """Return the judgements to hold a run against: those named, else the collection's that fit."""
    asked = set(query_ids)
    named = {
        f"{collection.path}:{collection.split}"
        for collection in parts.collections.values()
        if collection.split
    }
    chosen = [part for part in parts.qrels if part.collection is None or part.name in named]
    open_ones = [part for part in parts.qrels if part not in chosen]
    fitting = [part for part in open_ones if asked & set(part.qrels.query_ids)]
    return chosen + (fitting or open_ones)


def _other_splits(parts: Parts, judged: Any) -> list[Any]:
    """Return the judgements of the same collection's other splits, to say which one a run belongs to."""
    from dretrieve.jobs.validate_parts import QrelsPart

    found = [part for part in parts.qrels if part is not judged]
    if judged.collection is not None:
        for split in judged.collection.files.qrels:
            if split != judged.split:
                name = f"{judged.collection.path}:{split}"
                found.append(
                    QrelsPart(
                        name, qrels=judged.collection.qrels(split), collection=judged.collection, split=split
                    )
                )
    return found
