"""What ``evaluate`` is asked for, and what it reads: opened once, each with its fingerprint."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from pathlib import Path

from dretrieve.errors import PreconditionError, UsageError
from dretrieve.metrics.relevance import RelevanceOptions
from dretrieve.store.fingerprint import canonical_json
from dretrieve.store.manifest import manifest_path
from dretrieve.store.stage import open_artefact
from dretrieve.store.text_store import TextStore
from dretrieve.text.cache import remember
from dretrieve.text.collection import Collection, parse_spec
from dretrieve.text.corpus_spec import parse_corpus
from dretrieve.text.files import is_file, is_stream, sha256_of
from dretrieve.text.queries import QuerySet
from dretrieve.types import Progress


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateConfig:
    """What to measure.

    Attributes:
        runs: run files; with several and ``compare`` the first is the baseline.
        run_format: forms of the runs, as `dretrieve.runs.read.forms_for` takes them.
        predictions: a reader's answers, instead of runs.
        qrels: ``DIR[:split]`` or a qrels file.
        answers: ``DIR[:split]`` of questions with answers.
        corpus: the passages searched, where ``answers`` has none.
        metrics: names parted by blanks; empty for the defaults.
        output: the JSON file, None for none.
        options: how runs are prepared.
        by: a field of the queries; values also by its groups, and macro-averaged.
        compare: test every run against the first.
        seed: of the randomisation test.
        per_query: show every query's values too.
        form: how the table is printed.
        force: replace a result of other options.
        dry_run: check and say what would be read.
    """

    runs: tuple[Path, ...] = ()
    run_format: tuple[str, ...] = ()
    predictions: tuple[Path, ...] = ()
    qrels: str | None = None
    answers: str | None = None
    corpus: str | None = None
    metrics: str = ""
    output: Path | None = None
    options: RelevanceOptions = field(default_factory=RelevanceOptions)
    by: str | None = None
    compare: bool = False
    seed: int = 0
    per_query: bool = False
    form: str = "terminal"
    force: bool = False
    dry_run: bool = False


@dataclass(kw_only=True, slots=True)
class Inputs:
    """What a config names, opened.

    Attributes:
        fingerprints: role (``run 1``, ``qrels``, ``answers``, ``corpus`` …) to fingerprint.
        sources: what is read, for the plan.
        qrels_file: the judgements' file.
        queries: the questions, where answers or groups are wanted.
        corpus: the passages, where answers are looked for in them.
    """

    fingerprints: dict[str, str] = field(default_factory=dict)
    sources: list[str] = field(default_factory=list)
    qrels_file: Path | None = None
    queries: QuerySet | None = None
    corpus: TextStore | None = None


def open_inputs(config: EvaluateConfig, progress: Progress) -> Inputs:
    """Return what the config names; of runs only the bytes are read here.

    Raises:
        PreconditionError: something is missing.
        UsageError: no such split, no passages where they are needed.
        VerificationError: a run of ours was changed.
    """
    inputs = Inputs()
    for number, path in enumerate(config.runs or config.predictions, 1):
        inputs.fingerprints[f"run {number}"] = run_fingerprint(path)
        inputs.sources.append(str(path))
    if config.qrels is not None:
        inputs.qrels_file = find_qrels(config.qrels)
        inputs.fingerprints["qrels"] = sha256_of(inputs.qrels_file)
        remember({inputs.qrels_file: inputs.fingerprints["qrels"]}, said=False)
        inputs.sources.append(str(inputs.qrels_file))
        if config.by is not None:
            inputs.queries = Collection.open(config.qrels).queries()
            inputs.fingerprints["queries"] = questions_fingerprint(inputs.queries)
    if config.answers is not None:
        inputs.queries = Collection.open(config.answers, "queries").queries()
        inputs.fingerprints["answers"] = questions_fingerprint(inputs.queries)
        inputs.sources.append(config.answers)
        if config.runs:
            inputs.corpus = open_corpus(config.corpus, config.answers, progress)
            inputs.fingerprints["corpus"] = inputs.corpus.sha256
            inputs.sources.append(config.corpus or config.answers)
    return inputs


def run_fingerprint(path: Path) -> str:
    """Return the fingerprint of a run of ours (verified), or the SHA-256 of a file made elsewhere.

    Raises:
        PreconditionError: it is missing, or one part of a sharded stage: its numbers would be too low.
        VerificationError: its bytes changed.
    """
    if is_stream(path):
        return sha256_of(path)
    if not path.is_file():
        reason = "is a folder; name the file in it" if path.is_dir() else "does not exist; correct the path"
        raise PreconditionError(f"{path} {reason}")
    if manifest_path(path).exists():
        manifest = open_artefact(path)
        if "shard" in manifest.options:
            cure = (
                "join all parts with `dretrieve merge`"
                if manifest.stage == "search"
                else "run the same command without --shard"
            )
            raise PreconditionError(f"{path} is only one part of a sharded {manifest.stage}; {cure}")
        return manifest.fingerprint
    return sha256_of(path)


def find_qrels(spec: str) -> Path:
    """Return the qrels file of ``DIR[:split]``, or the file that ``spec`` names itself."""
    path, _ = parse_spec(spec)
    return path if is_file(path) else Collection.open(spec).qrels_file()


def questions_fingerprint(queries: QuerySet) -> str:
    """Return the hash over ids, answers and fields of the questions."""
    digest = hashlib.sha256()
    for query in queries.queries:
        record = [query.id, query.answers, query.answers_are_regex, dict(query.fields)]
        digest.update(canonical_json(record) + b"\n")
    return digest.hexdigest()


def open_corpus(corpus: str | None, questions: str, progress: Progress) -> TextStore:
    """Return the passages of ``corpus``, or, where none is named, those beside the questions.

    Raises:
        UsageError: it has none.
    """
    collection = (
        Collection.open(parse_corpus(corpus), "corpus") if corpus else Collection.open(questions, "queries")
    )
    if collection.files.corpus is None:
        raise UsageError(f"{collection.path} has no passages; name those that were searched: --corpus DIR")
    return collection.corpus(progress)
