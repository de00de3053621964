"""``encode``: the texts of one side of a collection become vectors, one shard a call."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from shlex import quote
from typing import Any

from dretrieve.encoding.devices import ModelRequest, encode_over
from dretrieve.encoding.estimate import estimate
from dretrieve.encoding.given_vectors import GivenRows, check_made_by, open_given
from dretrieve.encoding.numerics import numerics_key, resolve_devices, resolve_precision
from dretrieve.encoding.pieces import ChunkVectors
from dretrieve.encoding.pipeline import StopCheck, encode_chunks
from dretrieve.errors import PreconditionError
from dretrieve.jobs.configs.encode import EncodeConfig
from dretrieve.models import packed
from dretrieve.models.cards import read_card
from dretrieve.models.loading import load_model
from dretrieve.models.places import find_model
from dretrieve.models.registry import check_choices, check_used
from dretrieve.store.card import Choice, ModelCard
from dretrieve.store.embeddings import ENGINE_ENTRY, STAGE, EmbeddingPlan
from dretrieve.store.interrupt import interruptible
from dretrieve.store.manifest import Manifest, read_manifest
from dretrieve.store.parts import whole_of
from dretrieve.store.shard_writer import ShardWriter
from dretrieve.store.shards import Shard, array_tasks, shard_rows
from dretrieve.store.stage import Planned, Standing, differences, is_current, planned, replaces_stale
from dretrieve.store.state import recorded_state
from dretrieve.text.collection import Collection
from dretrieve.text.files import is_stream
from dretrieve.threads import allotted_threads
from dretrieve.tokens.tokenizer import SideTokenizer
from dretrieve.types import SILENT, UNITS, Engine, Progress, Side, Texts


@dataclass(frozen=True, kw_only=True, slots=True)
class EncodeResult:
    """What stands in the output now.

    Attributes:
        state: ``encoded`` or ``up to date``.
        counts: rows, and of texts tokens, truncated, empty.
        seconds: spent computing; 0 when up to date.
        computed: rows computed by this call (less than all after a resume).
    """

    output: Path
    state: str
    side: Side
    shard: Shard
    dim: int
    counts: Mapping[str, int] = field(default_factory=dict)
    fingerprint: str = ""
    numerics: Mapping[str, str] = field(default_factory=dict)
    seconds: float = 0.0
    computed: int = 0

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {
            "output": str(self.output),
            "state": self.state,
            "side": self.side,
            "shard": f"{self.shard.index}/{self.shard.count}",
            "rows_of_collection": self.shard.total,
            "dim": self.dim,
            "fingerprint": self.fingerprint,
            "numerics": dict(self.numerics),
            "seconds": round(self.seconds, 3),
            "texts_per_second": round(self.computed / self.seconds, 1) if self.seconds else None,
            **self.counts,
        }

    def render(self) -> str:
        """Return a few lines for people, with the next command."""
        unit = UNITS[self.side]
        part = f", shard {self.shard.index}/{self.shard.count}" if self.shard.count > 1 else ""
        lines = [f"{self.state}: {len(self.shard):,} {unit}{part} -> {self.output}"]
        lines.append(f"  {self.dim} numbers each, fingerprint {self.fingerprint[:12]}")
        if "tokens" in self.counts:
            lines.append(f"  {self.counts['tokens']:,} tokens, {self.counts['truncated']:,} {unit} cut")
        if self.seconds:
            lines.append(f"  {self.computed / self.seconds:,.1f} {unit}/s on {_machine(self.numerics)}")
        return "\n".join([*lines, f"next: {self._next()}"])

    def _next(self) -> str:
        here = len(list(self.output.glob(f"shard-*-of-{self.shard.count:05d}.manifest.json")))
        if here < self.shard.count:
            return f"the other shards ({here} of {self.shard.count} are finished)"
        if self.side == "query":
            return f"dretrieve search --index EMB --query-embeddings {quote(str(self.output))} --output RUN"
        return (
            f"dretrieve search --index {quote(str(self.output))} --queries DIR:split --model M --output RUN"
        )


def _machine(numerics: Mapping[str, str]) -> str:
    return ", ".join(numerics[name] for name in ("device", "precision", "engine") if name in numerics)


def run(config: EncodeConfig, progress: Progress = SILENT) -> EncodeResult | Planned:
    """Encode one shard, continue it, or say that it stands already.

    Raises:
        UsageError: not exactly one of corpus and queries; unknown device, precision, choice or shard.
        PreconditionError: model or collection missing; the folder holds shards of other options.
        DataError: broken texts; vectors that are not finite.
        VerificationError: files changed.
        Interrupted: a signal came; the same command continues.
    """
    work = _Work(config, progress)
    if config.dry_run:
        return _planned(work)
    writer = ShardWriter(config.output, work.shard, work.plan, force=config.force)
    if writer.complete:
        return work.result("up to date", read_manifest(writer.manifest_file))
    fingerprint = work.plan.manifest(work.shard).fingerprint
    try:
        with recorded_state(writer.manifest_file, STAGE, fingerprint), interruptible() as signals:
            return _execute(work, writer, signals)
    finally:
        writer.close()


def _planned(work: _Work) -> Planned:
    """Return what stands there, and what the rest would cost: a few texts are encoded for that."""
    config, unit = work.config, UNITS[work.side]
    file, wanted = config.output / f"{work.shard.stem}.manifest.json", work.plan.manifest(work.shard)
    what = f"{config.output} holds {work.shard.stem}"
    finished = file.exists() and is_current(file, wanted, what, force=config.force)  # refuses as the run does
    found = planned(file, wanted, config.output, "")
    if finished:
        return found
    state: Standing = "to do" if found.state == "up to date" else found.state
    found = replace(found, state=state)
    if work.given is not None:
        return replace(found, text=f"{len(work.shard):,} vectors of {unit} -> {config.output}")
    model = load_model(config.model, work.devices[0], work.precision, work.settings)
    assert work.texts is not None
    cost = estimate(model, work.side, work.texts, work.shard, config.dtype)
    numerics = numerics_key(work.devices[0], model.engine)
    part = f", shard {work.shard.index}/{work.shard.count}" if work.shard.count > 1 else ""
    lines = [f"{len(work.shard):,} {unit}{part} -> {config.output}", *cost.lines(unit)]
    text = "\n".join([*lines, f"  on       {_machine(numerics)}"])
    return replace(found, text=text, details={"estimate": cost.as_json(), "numerics": numerics})


class _Work:
    """A config with everything in it resolved and checked, before weights are loaded."""

    def __init__(self, config: EncodeConfig, progress: Progress) -> None:
        self.config, self.progress = config, progress
        self.card, note = read_card(find_model(config.model), encoder=config.embeddings is None)
        if note:
            progress.note(f"{config.model}: {note}")
        choices = check_choices(self.card, config.settings)
        self.settings: dict[str, Choice] = {name: choices[name] for name in config.settings}
        for choice, reason in self.card.source.get("open", {}).items():
            if choice not in self.settings:
                cure = f"train it further, or choose: --set {choice}=…"
                raise PreconditionError(f"{config.model}: {reason}; {cure}")
        self.collection, self.texts = _open_texts(config, progress)
        self.given = _open_given(config, self.card, self.texts)
        rows = self.texts if self.given is None else self.given
        assert rows is not None, "the config has seen to it"
        self.rows: Texts | GivenRows = rows
        self.side: Side = "passage" if config.corpus is not None else "query"
        if self.given is not None:
            self.side = self.given.given.side
        check_used(self.card, self.settings, self.side)
        self.devices = resolve_devices(config.devices or config.device)
        self.shard = shard_rows(len(rows), *(config.shard or (0, 1)))
        if not config.shard and array_tasks():
            progress.note("this is a task of a job array, but without --shard array/N it encodes everything")
        own = _manifest(config.output / f"{self.shard.stem}.manifest.json")
        self.own = None if config.force else own
        self.precision = (
            _agreed_precision(self) if self.given is None else self.given.precision(config.precision)
        )
        self.plan = self.plan_in(self.precision)
        _check_company(self)

    def plan_in(self, precision: str) -> EmbeddingPlan:
        """Return what the output will hold; paths in it are relative to it."""
        card, side, folder = self.card, self.side, self.config.output
        inputs = {
            "collection": self.rows.sha256,
            "passage_model": card.fingerprint("passage", self.settings),
            **({"query_model": card.fingerprint("query", self.settings)} if side == "query" else {}),
            **({"embeddings": self.given.given.fingerprint} if self.given is not None else {}),
        }
        extra = {
            **(self._origin() if self.given is None else self.given.origin(folder)),
            "model": self.config.model,
            # of neither side: what compares the vectors and changes none
            "inference": {
                name: value
                for name, value in card.chosen(self.settings).items()
                if side in (sides := card.inference_sides.get(name, (side,))) or not sides
            },
        }
        return EmbeddingPlan(
            side=side,
            vectors=card.vectors,
            dtype=self.config.dtype,
            options={"precision": precision},
            inputs=inputs,
            salience=bool(card.side(side).settings.get("salience")),
            extra=extra,
        )

    def _origin(self) -> dict[str, Any]:
        assert self.collection is not None
        path, folder = self.collection.path, self.config.output
        return {
            "collection": None if is_stream(path) else os.path.relpath(path.resolve(), folder.resolve()),
            "split": self.collection.split,
            ENGINE_ENTRY: packed.ENGINE_VERSION,
        }

    def result(self, state: str, manifest: Manifest, **more: Any) -> EncodeResult:
        return EncodeResult(
            output=self.config.output,
            state=state,
            side=self.side,
            shard=self.shard,
            dim=self.plan.vectors.dim,
            counts=dict(manifest.counts),
            fingerprint=manifest.fingerprint,
            **more,
        )


def _open_texts(config: EncodeConfig, progress: Progress) -> tuple[Collection | None, Texts | None]:
    """Return the collection and its texts, where they are named; beside given vectors they need not be."""
    if config.corpus is not None:
        collection = Collection.open(config.corpus, "corpus")
        return collection, collection.corpus(progress, hashed=config.shard is None, full=config.verify)
    if config.queries is not None:
        collection = Collection.open(config.queries, "queries", config.topic_field)
        return collection, collection.queries()
    return None, None


def _open_given(config: EncodeConfig, card: ModelCard, texts: Texts | None) -> GivenRows | None:
    """Return the vectors that take the texts' place; they must be of these, by the model's own encoder."""
    if config.embeddings is None:
        return None
    side: Side | None = "passage" if config.corpus is not None else "query" if config.queries else None
    sha256, word = None if texts is None else texts.sha256, f"--embeddings {config.embeddings}"
    given = open_given(config.embeddings, word, side, sha256, full=config.verify)
    check_made_by(given, card, word)
    return GivenRows(given)


def _other_shards(folder: Path, shard: Shard) -> Iterator[tuple[Path, Manifest]]:
    """Yield the manifests of the folder's finished shards other than this one, and where they stand."""
    for file in sorted(folder.glob("shard-*-of-*.manifest.json")):
        other = None if file.name.startswith(f"{shard.stem}.") else _manifest(file)
        if other is not None:
            yield file, other


def _manifest(file: Path) -> Manifest | None:
    """Return the manifest there; None where there is none, or another task has just removed a stale one."""
    with suppress(PreconditionError):
        return read_manifest(file)
    return None


def _agreed_precision(work: _Work) -> str:
    """Return the precision; ``auto`` must come out as it did for the shards that stand there.

    This one, where nothing else of it would be made anew, has the precision that it records.
    """
    config, device, own = work.config, work.devices[0], work.own
    theirs = mine = resolve_precision(config.precision, device)
    if config.precision == "auto" and own is not None:
        recorded: str = own.options.get("precision", mine)
        if work.plan_in(recorded).manifest(work.shard).fingerprint == own.fingerprint:
            return recorded
    _, other = next(_other_shards(config.output, work.shard), (None, None))
    if config.precision == "auto" and other is not None:
        theirs = other.options.get("precision", mine)
    if theirs == mine:
        return mine
    raise PreconditionError(
        f"{config.output} holds shards of precision {theirs}, and auto means {mine} on this "
        f"{device.upper()}; give --precision {theirs} to go on with theirs"
    )


def _check_company(work: _Work) -> None:
    """Refuse to add a shard to those of another model, collection, precision, cut or version of our engine.

    In a recipe's own folder (`dretrieve.store.stage`) a run removes them as stale, but for those only cut
    otherwise. A shard that stands finished was computed by the version that it records, unless
    ``--force`` computes it again.
    """
    folder, shard = work.config.output, work.shard
    recorded = (work.plan.extra or {}) if work.own is None else work.own.extra
    for file, other in _other_shards(folder, shard):
        cut, stale = _otherwise_cut(other, shard), _stale(other, work, recorded.get(ENGINE_ENTRY))
        if stale and replaces_stale():
            left = [] if work.config.dry_run else [file, *folder.glob(f"{file.name.partition('.')[0]}.*")]
            for path in left:  # the manifest first
                path.unlink(missing_ok=True)
        elif cut or stale:
            raise PreconditionError(
                f"{folder} holds {cut or stale}; choose another --output, or remove those"
            )


def _otherwise_cut(other: Manifest, shard: Shard) -> str:
    """Return how that finished shard and this one are cut in two ways; nothing when they are not."""
    cut = other.options.get("shard", {})
    if (cut.get("count"), cut.get("total")) == (shard.count, shard.total):
        return ""
    return (
        f"shards cut as N={cut.get('count')} of {cut.get('total'):,} rows, this one is "
        f"N={shard.count} of {shard.total:,}"
    )


def _stale(other: Manifest, work: _Work, engine: int | None) -> str:
    """Return why the vectors of that finished shard are not of this one's kind; nothing when they are."""
    theirs, mine = whole_of(other), whole_of(work.plan.manifest(work.shard))
    if theirs.fingerprint != mine.fingerprint:
        return f"shards of other options ({differences(theirs, mine)})"
    version = other.extra.get(ENGINE_ENTRY)
    if None in (version, engine) or version == engine:  # before it was recorded, versions are not told apart
        return ""
    return (
        f"shards computed by version {version} of the engine, this one is by version {engine} with other bits"
    )


def _execute(work: _Work, writer: ShardWriter, stop: StopCheck) -> EncodeResult:
    """Encode the chunks that are not durable yet, and commit the shard."""
    chunks, side = work.shard.chunks(), work.side
    done, left = chunks[: writer.done_chunks], chunks[writer.done_chunks :]
    counts = {"rows": len(work.shard)}
    if work.given is None:
        counts |= {"tokens": 0, "truncated": 0, "empty": 0}
    vectors = _vectors(work, left, stop) if left else iter(())
    engines: set[Engine] = set()
    _count_again(work, done, counts, stop)
    work.progress.start("encoding", len(work.shard), UNITS[side], sum(end - start for start, end in done))
    began = time.perf_counter()
    for (start, end), found in zip(left, vectors, strict=True):
        writer.write(work.rows.ids(start, end), found.vectors)
        engines.add(found.engine)
        _count(counts, work, (start, end), found.tokens, found.truncated)
        stop.check()
    seconds = time.perf_counter() - began
    work.progress.finish()
    computed = sum(end - start for start, end in left)
    ran = Engine.of_all(engines) if engines else Engine("none", work.precision)
    key = numerics_key(work.devices[0], ran)
    details = {"numerics": key, "encode_seconds": round(seconds, 3), "rows_computed": computed}
    manifest = writer.commit(counts, {**details, "threads": allotted_threads(), "devices": work.devices})
    _note_counts(work, counts)
    return work.result("encoded", manifest, numerics=key, seconds=seconds, computed=computed)


def _vectors(work: _Work, chunks: list[tuple[int, int]], stop: StopCheck) -> Iterator[ChunkVectors]:
    config, side, texts = work.config, work.side, work.texts
    if work.given is not None:
        return work.given.encoded(config.model, work.devices[0], work.settings, chunks)
    assert texts is not None
    reads = [partial(texts.records, start, end) for start, end in chunks]
    if len(work.devices) > 1:
        request = ModelRequest(config.model, work.precision, side, work.settings)
        return encode_over(request, work.devices, reads, stop, work.progress.advance)
    model = load_model(config.model, work.devices[0], work.precision, work.settings)
    return encode_chunks(model, side, reads, stop, work.progress.advance)


def _count(counts: dict[str, int], work: _Work, rows: tuple[int, int], tokens: int, truncated: int) -> None:
    if work.given is not None or work.texts is None:
        return
    counts["tokens"] += tokens
    counts["truncated"] += truncated
    counts["empty"] += sum(not (record.title + record.text).strip() for record in work.texts.records(*rows))


def _count_again(work: _Work, chunks: list[tuple[int, int]], counts: dict[str, int], stop: StopCheck) -> None:
    """Count the tokens of chunks that an earlier call encoded, so that the manifest comes out the same."""
    if not chunks or work.given is not None or work.texts is None:
        return
    card = work.card.read_as(work.side, work.settings)
    tokenizer = SideTokenizer.open(find_model(work.config.model) / card.folder, card)
    for rows in chunks:
        tokens = tokenizer.tokenize(work.texts.records(*rows))
        _count(counts, work, rows, int(tokens.offsets[-1]), tokens.truncated)
        stop.check()


def _note_counts(work: _Work, counts: Mapping[str, int]) -> None:
    unit, limit = UNITS[work.side], work.card.read_as(work.side, work.settings).max_tokens
    if counts.get("truncated"):
        share = f"{counts['truncated']:,} {unit} ({counts['truncated'] / counts['rows']:.1%})"
        work.progress.note(f"{share} had more than {limit} tokens and were cut")
    if counts.get("empty"):
        work.progress.note(f"{counts['empty']:,} of {counts['rows']:,} {unit} have no text")
