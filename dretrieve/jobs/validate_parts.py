"""Opening what `validate` is given: each word becomes one part of a known role, or a problem of its own."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Literal

from dretrieve.errors import DataError, DretrieveError, VerificationError
from dretrieve.runs.read import read_run
from dretrieve.store.card import CARD, ModelCard
from dretrieve.store.embeddings import Embeddings
from dretrieve.store.manifest import Manifest, manifest_path, read_manifest, verify_files
from dretrieve.text.cache import remember
from dretrieve.text.collection import Collection, parse_spec
from dretrieve.text.examples import Example, read_examples
from dretrieve.text.files import is_stream, sha256_of
from dretrieve.text.forms import detect
from dretrieve.text.qrels import read_qrels
from dretrieve.types import Progress, Qrels, Run

RUN_STAGES = ("search", "fuse-bm25", "convert-run")
State = Literal["ok", "note", "problem"]


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        state: ``problem`` is what makes results wrong or impossible; ``note`` is worth knowing.
        about: which of the given things.
        text: what was found, and for a problem what to do.
        code: the exit code that it asks for.
    """

    state: State
    about: str
    text: str
    code: int = 0


@dataclass(slots=True)
class Named:
    """What every part has: the word it was given as, and its manifest where it has one."""

    name: str
    manifest: Manifest | None = None


@dataclass(slots=True)
class RunPart(Named):
    """A run."""

    run: Run = field(kw_only=True)


@dataclass(slots=True)
class QrelsPart(Named):
    """Judgements, of a file or of a collection's split."""

    qrels: Qrels = field(kw_only=True)
    collection: Collection | None = None
    split: str | None = None


@dataclass(slots=True)
class ExamplesPart(Named):
    """Training examples by id."""

    path: Path = field(kw_only=True)

    def rows(self) -> Iterator[Example]:
        """Read them."""
        return read_examples(self.path)


@dataclass(slots=True)
class IndexPart(Named):
    """An index with the embeddings that it reads, None for one over words."""

    embeddings: Embeddings | None = None


@dataclass(slots=True)
class Parts:
    """Everything that was given, by role."""

    collections: dict[str, Collection] = field(default_factory=dict)
    qrels: list[QrelsPart] = field(default_factory=list)
    runs: list[RunPart] = field(default_factory=list)
    examples: list[ExamplesPart] = field(default_factory=list)
    embeddings: dict[str, Embeddings] = field(default_factory=dict)
    indexes: list[IndexPart] = field(default_factory=list)
    models: dict[str, ModelCard] = field(default_factory=dict)


def form_of(manifest: Manifest | None) -> str:
    """Return the form of a run that a stage of ours wrote, ``auto`` for everything else."""
    ours = manifest is not None and manifest.stage in RUN_STAGES
    return str(manifest.options.get("form", "trec")).split(".")[0] if ours and manifest else "auto"


def open_parts(
    words: Iterable[str], progress: Progress, run_format: str, *, full: bool
) -> tuple[Parts, list[Finding]]:
    """Return the parts that could be opened, and what was found on the way.

    Args:
        words: paths, ``DIR:split`` for collections.
        progress: is told what is read.
        run_format: of the runs, ``auto`` to tell.
        full: hash every file that a manifest names.
    """
    parts, findings = Parts(), []
    for word in words:
        try:
            findings.append(Finding("ok", word, _open(word, parts, progress, run_format, full)))
        except DretrieveError as error:
            findings.append(Finding("problem", word, str(error), error.exit_code))
    given = {found.folder.resolve() for found in parts.embeddings.values()}
    for index in parts.indexes:
        if index.embeddings is not None and index.embeddings.folder.resolve() not in given:
            given.add(index.embeddings.folder.resolve())
            parts.embeddings[f"{index.name} (its vectors)"] = index.embeddings
    return parts, findings


def _open(word: str, parts: Parts, progress: Progress, run_format: str, full: bool) -> str:
    path, split = parse_spec(word)
    if is_model(path):
        parts.models[word], note = whole_model(path, full=full)
        return note or f"model of method {parts.models[word].method}, its files as the card describes them"
    if path.is_dir() and any(path.glob("shard-*-of-*.manifest.json")):
        found = Embeddings.open(path, full=full)
        parts.embeddings[word] = found
        return f"embeddings of {found.rows:,} texts ({found.side} side), complete"
    manifest = _manifest(path, full)
    if manifest is not None and manifest.stage.startswith("index-"):
        opened = _vectors_of(path, manifest, full)
        parts.indexes.append(IndexPart(word, manifest, opened))
        rows = manifest.counts.get("rows", manifest.counts.get("passages", 0))
        return f"{manifest.stage} of {rows:,} passages"
    form = form_of(manifest)
    role = "run" if form != "auto" else detect(path).role
    if role == "run":
        run = read_run(path, run_format if run_format != "auto" else form)
        parts.runs.append(RunPart(word, manifest, run=run))
        return f"run of {len(run):,} queries, {int(run.offsets[-1]):,} hits"
    return _open_text(word, (path, split), role, parts, manifest, progress, full)


def is_model(path: Path) -> bool:
    """Return whether a folder is a model: ours, of sentence-transformers, or of transformers."""
    return path.is_dir() and any((path / name).exists() for name in (CARD, "config.json", "modules.json"))


def whole_model(folder: Path, *, full: bool) -> tuple[ModelCard, str | None]:
    """Return the card of a model folder after reading all that a stage or another tool would read of it.

    Args:
        folder: ours, or a plain one: then what was read from it comes with the card.
        full: hash every file that our manifest names.

    Raises:
        PreconditionError: a file is missing, or cannot be read as what it is.
        DataError: a card, or a file of sentence-transformers, that does not say what it must.
        VerificationError: files that are not those of the card or the manifest, or that contradict the card.
    """
    from dretrieve.models.places import read_card
    from dretrieve.models.plain import read_plain
    from dretrieve.tokens.tokenizer import SideTokenizer

    card, note = read_card(folder)
    if note is None:
        _manifest(folder, full)
    for side in (card.query, card.passage):
        place = folder / side.folder
        SideTokenizer.open(place, side)
        for weights in (name for name in side.files if name.endswith(".safetensors")):
            check_safetensors(place / weights)
        if note is None and (place / "modules.json").exists():
            told = read_plain(place).card.passage
            if (told.pooling, told.normalize) != (side.pooling, side.normalize):
                raise VerificationError(
                    f"{place / 'modules.json'} and its modules say pooling {told.pooling}, normalize "
                    f"{told.normalize}, but {folder / CARD} says {side.pooling}, {side.normalize}; save or "
                    "convert the model again"
                )
    return card, note


def check_safetensors(path: Path) -> None:
    """Refuse weights whose header does not describe the file: cut, grown or overwritten.

    Raises:
        DataError: says what the library found.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "numpy"):
            pass
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path} cannot be read as safetensors: {error}; fetch or save it again") from error


def _vectors_of(index: Path, manifest: Manifest, full: bool) -> Embeddings | None:
    if "embeddings" not in manifest.extra:
        return None
    from dretrieve.index.base import open_embeddings

    return open_embeddings(index, manifest, full=full)


def _manifest(path: Path, full: bool) -> Manifest | None:
    file = manifest_path(path)
    if is_stream(path) or not file.exists():
        return None
    manifest = read_manifest(file)
    verify_files(file, manifest, full=full)
    return manifest


def _open_text(
    word: str,
    place: tuple[Path, str | None],
    role: str,
    parts: Parts,
    manifest: Manifest | None,
    progress: Progress,
    full: bool,
) -> str:
    path, split = place
    if role == "qrels":
        remember({path: sha256_of(path)}, said=False)
        qrels = read_qrels(path)
        parts.qrels.append(QrelsPart(word, manifest, qrels=qrels))
        return f"{len(qrels.grades):,} judgements for {len(qrels):,} queries"
    if role == "examples":
        parts.examples.append(ExamplesPart(word, manifest, path=path))
        return f"{sum(1 for _ in read_examples(path)):,} training examples"
    if role not in ("collection", "corpus", "queries", "texts"):
        raise DataError(
            f"{path} holds {role}; validate takes collections, judgements, runs, examples, "
            "embeddings, indexes and models; turn training rows into a collection with prepare"
        )
    collection = Collection.open(word)
    collection.verify(full=full)
    counts = []
    if collection.files.corpus:
        counts.append(f"{len(collection.corpus(progress)):,} passages")
    if collection.files.queries:
        counts.append(f"{len(collection.queries()):,} queries")
    parts.collections[word] = collection  # only now: its files can be read
    for name in [split] if split else list(collection.files.qrels):
        if name in collection.files.qrels:
            whole = Collection(collection.path, name)
            parts.qrels.append(
                QrelsPart(f"{path}:{name}", qrels=collection.qrels(name), collection=whole, split=name)
            )
    return "collection of " + ", ".join(counts)


def first_ids(ids: Iterable[str], count: int = 2) -> str:
    """Return the first ids for a message."""
    return ", ".join(repr(text_id) for text_id in islice(ids, count))
