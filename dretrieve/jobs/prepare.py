"""``prepare``: a source of text becomes a collection (BEIR folder) with a manifest and its text store."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from dretrieve.errors import DataError, PreconditionError, UsageError
from dretrieve.jobs.configs.prepare import PrepareConfig
from dretrieve.metrics.answers import Answers
from dretrieve.store.interrupt import interruptible
from dretrieve.store.manifest import Manifest
from dretrieve.store.stage import Planned, Stage, replaces_stale
from dretrieve.text import pydocs, remote
from dretrieve.text.archives import unzipped
from dretrieve.text.beir import Query
from dretrieve.text.collection import Collection
from dretrieve.text.collection_writer import CollectionWriter
from dretrieve.text.files import exists
from dretrieve.text.join import Joiner, open_sets, parse_sets
from dretrieve.text.join_options import JoinOptions
from dretrieve.text.masked import Kind, write_masked
from dretrieve.text.records import check_topic_field
from dretrieve.text.sources import (
    Sources,
    check_sources,
    content_sha256,
    form_of,
    parse_qrels_option,
    write_sources,
)
from dretrieve.types import SILENT, Progress

STAGE = "prepare"
# 2: what a set judges but does not hold is nothing of another set's. 3: q_id, questionId … are ids, cells of
# answers are JSON first. 4: Mr. TyDi's texts begin behind the blank line; arrays of texts, one a line.
VERSION = 4
MASKED_VERSION = 1  # of questions made by masking: the rules are in `dretrieve.text.masked`


@dataclass(frozen=True, kw_only=True, slots=True)
class PrepareResult:
    """What stands in the output now."""

    output: Path
    source: str
    state: str
    counts: dict[str, int] = field(default_factory=dict)
    splits: dict[str, int] = field(default_factory=dict)
    extra: dict[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {
            "output": str(self.output),
            "source": self.source,
            "state": self.state,
            "counts": self.counts,
            "splits": self.splits,
            **self.extra,
        }

    def render(self) -> str:
        """Return a few lines for people."""
        lines = [f"{self.source}: {self.state}, {self.output}"]
        if self.splits:
            listed = ", ".join(f"{split} {count:,}" for split, count in self.splits.items())
            lines.append(f"  judged queries  {listed}")
        lines += [f"  {name.replace('_', ' '):<15} {count:,}" for name, count in self.counts.items() if count]
        names = {"sha256": "sha256", "queries_sha256": "sha256 queries", "licence": "licence"}
        lines += [
            f"  {label:<15} {self.extra[name]}" for name, label in names.items() if self.extra.get(name)
        ]
        return "\n".join(lines + [f"  note: {note}" for note in self.extra.get("notes", [])])


@dataclass(frozen=True, kw_only=True)
class _Source:
    """What a collection is made from.

    Attributes:
        write: writes the collection; its second argument is called for every record.
        plan: what would be done, for people.
    """

    options: dict[str, Any]
    inputs: dict[str, str]
    write: Callable[[CollectionWriter, Callable[[], None]], None]
    plan: str
    version: int = VERSION
    extra: dict[str, Any] = field(default_factory=dict)


def run(config: PrepareConfig, progress: Progress = SILENT) -> PrepareResult | Planned:
    """Make the collection, or say that it stands already.

    Raises:
        UsageError: options that do not fit the source.
        PreconditionError: the source or the network is not there; the output holds something else.
        DataError: the source breaks its form; its checksum is not the published one.
    """
    kind, _, name = config.source.partition(":")
    is_kind = bool(name) and not Path(config.source).exists()
    is_remote, is_masked = is_kind and kind in remote.KINDS, is_kind and kind in ("cloze", "spans")
    if config.unchecked and not config.mirror:
        raise UsageError("--unchecked goes with --mirror URL: the published files are always checked")
    if (config.number is not None) != is_masked or (is_masked and config.others):
        raise UsageError("--number N goes with one cloze:DIR or spans:DIR, and they with it")
    if is_masked:
        source = _masked(config, cast(Kind, kind), Path(name), progress)
    elif config.others:
        source = _joined(config)
        config = replace(config, source=", ".join(source.options["sets"]))
    elif config.join != JoinOptions():
        raise UsageError("--equal and --entities join collections; name several: prepare DIR DIR …")
    elif config.source == "pydocs":
        source = _pydocs(config)
    elif is_remote:
        found = _remote(config, kind, name, progress)
        if isinstance(found, Planned):
            return found
        source = found
    elif config.mirror:
        raise UsageError(
            "--mirror goes with beir:NAME, dpr:KEY, entityquestions:SPLIT, mdb:NAME and hf:NAME only"
        )
    else:
        source = _files(config, progress)
    return _execute(config, source, progress)


def _refuse_files(config: PrepareConfig, why: str) -> None:
    given = config.corpus, config.queries, config.qrels, config.split, config.mirror, config.topic_field
    if any(given) or config.regex:
        raise UsageError(
            f"{why}: leave --corpus, --queries, --qrels, --split, --topic-field, --mirror, --regex out"
        )


def _pydocs(config: PrepareConfig) -> _Source:
    _refuse_files(config, "pydocs takes no further files")
    files = pydocs.library_files()
    return _Source(
        options={"source": "pydocs", "python": platform.python_version()},
        inputs={"library": pydocs.library_sha256(files)},
        write=partial(pydocs.write, files),
        plan=f"read pydocs, write {config.output}",
        extra={"licence": pydocs.LICENCE},
    )


def _masked(config: PrepareConfig, kind: Kind, folder: Path, progress: Progress) -> _Source:
    _refuse_files(config, f"{kind}:DIR takes no further files")
    if folder.resolve() == config.output.resolve():
        raise UsageError(f"--output {config.output} is the collection itself; choose another folder")
    texts, number = Collection.open(folder, side="corpus").corpus(progress), config.number or 0
    return _Source(
        options={"source": kind, "number": number},
        inputs={"corpus": texts.sha256},
        write=lambda writer, tick: write_masked(kind, texts, number, writer, tick),
        plan=f"make {number:,} questions of {folder}'s {len(texts):,} passages, write {config.output}",
        version=MASKED_VERSION,
    )


def _joined(config: PrepareConfig) -> _Source:
    _refuse_files(config, "collections are joined as they are")
    sets = parse_sets((config.source, *config.others))
    if any(path.resolve() == config.output.resolve() for path in sets.values()):
        raise UsageError(f"--output {config.output} is one of the joined collections; choose another folder")
    if config.dry_run:
        open_sets(sets, config.join.entities)

    def holds(query: Query) -> Callable[[str], bool]:
        return Answers(query.answers, regex=query.answers_are_regex).found_in

    return _Source(
        # Entities as a list, as a manifest gives them back.
        options={"sets": list(sets), "equal": config.join.equal, "entities": list(config.join.entities)},
        inputs={f"set {name}": content_sha256(path) for name, path in sets.items()},
        write=lambda writer, tick: Joiner(writer, config.join, holds, tick).write(sets),
        plan=f"join {', '.join(map(str, sets.values()))} in {config.output}",
    )


def _files(config: PrepareConfig, progress: Progress) -> _Source:
    path = Path(config.source)
    if not exists(path):
        known = "pydocs, beir:NAME, dpr:KEY, entityquestions:SPLIT, mdb:NAME, hf:NAME, cloze:DIR, spans:DIR"
        raise PreconditionError(
            f"source '{config.source}' does not exist; it may be {known}, or an existing file or folder"
        )
    sources = _sources(config, unzipped(path, progress))
    return _of_files(config, sources, {"form": form_of(sources).name, **_reading(config)})


def _remote(config: PrepareConfig, kind: str, name: str, progress: Progress) -> _Source | Planned:
    source = remote.find(kind, name, config.mirror, unchecked=config.unchecked)
    if kind == "entityquestions" and config.split:
        raise UsageError(
            f"--split {config.split}: each question of EntityQuestions names its split; leave --split out "
            "and choose by entityquestions:train, :dev, :test or :all"
        )
    options = {"source": config.source, **_reading(config)}
    if kind == "dpr" and name != "psgs_w100":
        options["ids"] = "row numbers"  # of its questions; once they were q000000, q000001 …
    if source.answers_are_regex and name.startswith("biencoder-"):
        options["answers"] = "patterns"  # of training rows; once they were words
    _sources(config, Path(config.source)).check_beside()
    standing = _refuse_standing(config, options)
    if config.dry_run:
        source.check()
        return standing.planned(source.plan())
    if source.licence:
        progress.note(f"{config.source}: {source.licence}")
    with interruptible() as signals:
        sources = _sources(config, source.fetch(progress, signals))
    sources = replace(
        sources,
        split=config.split or source.split,
        answers_are_regex=config.regex or source.answers_are_regex,
    )
    found = _of_files(config, sources, options)
    return replace(found, extra={"licence": source.licence}) if source.licence else found


def _of_files(config: PrepareConfig, sources: Sources, options: dict[str, Any]) -> _Source:
    return _Source(
        options=options,
        inputs=sources.inputs(),
        write=partial(write_sources, sources),
        plan=f"read {sources.main} as {check_sources(sources).name}, write {config.output}",
    )


def _sources(config: PrepareConfig, main: Path) -> Sources:
    if main.resolve() == config.output.resolve():
        raise UsageError("--output is the source itself; choose another folder")
    check_topic_field(config.topic_field)
    return Sources(
        main=main,
        corpus=config.corpus,
        queries=config.queries,
        qrels=parse_qrels_option(config.qrels),
        split=config.split,
        topic_field=config.topic_field,
        answers_are_regex=config.regex,
    )


def _reading(config: PrepareConfig) -> dict[str, Any]:
    """Return the options of how files are read; one that is younger is named only where it is given."""
    topic = {"topic_field": config.topic_field} if config.topic_field else {}
    return {"split": config.split, **topic, **({"regex": True} if config.regex else {})}


def _execute(config: PrepareConfig, source: _Source, progress: Progress) -> PrepareResult | Planned:
    stage = Stage(config.output, "folder", STAGE, source.version, source.options, source.inputs, config.force)
    stage.refuse_strangers()
    before = stage.standing_files()
    if config.dry_run:
        return stage.planned(source.plan)
    if stage.up_to_date():
        return _result(config, stage.existing(), "up to date")
    stage.remove_others(before)
    with _counting(progress, config.source) as tick, CollectionWriter(stage) as writer:
        source.write(writer, tick)
        if not writer.counts["passages"] and not writer.counts["queries"]:
            raise DataError(f"{config.source} holds no passages and no queries")
    counts, found = _verify(config.output, writer, progress)
    for note in found["notes"]:
        progress.note(note)
    manifest = stage.commit(counts=counts, extra=source.extra | found)
    return _result(config, manifest, "written")


def _refuse_standing(config: PrepareConfig, options: dict[str, Any]) -> Stage:
    """Return the stage with the inputs of what stands there, before anything is fetched."""
    stage = Stage(config.output, "folder", STAGE, VERSION, options, {}, config.force)
    stage.refuse_strangers()
    if stage.manifest_file.exists():
        stage.inputs = stage.existing().inputs
    if not (config.force or replaces_stale()):
        stage.up_to_date(look=True)
    return stage


@contextmanager
def _counting(progress: Progress, label: str) -> Iterator[Callable[[], None]]:
    with interruptible() as signals:
        progress.start(f"reading {label}", None, "records")
        pending = 0

        def tick() -> None:
            nonlocal pending
            pending += 1
            if pending == 1000:
                progress.advance(pending)
                pending = 0
                signals.check()

        yield tick
        progress.advance(pending)
        progress.finish()


def _verify(
    output: Path, writer: CollectionWriter, progress: Progress
) -> tuple[dict[str, int], dict[str, Any]]:
    """Open what was written as any stage will, build its text store, and count what does not fit."""
    collection = Collection(output)
    counts, notes = dict(writer.counts), list(writer.notes)
    extra: dict[str, Any] = {"notes": notes, "splits": {}}
    if collection.files.corpus:
        extra["sha256"] = collection.corpus(progress).sha256
    if collection.files.queries:
        extra["queries_sha256"] = collection.queries().sha256
    missing = 0
    for split in writer.splits:
        qrels = collection.qrels(split)
        extra["splits"][split] = len(collection.queries(split)) if collection.files.queries else len(qrels)
        unknown = collection.unknown_passages(qrels) if collection.files.corpus else []
        missing += len(unknown)
        if unknown:
            notes.append(
                f"{split}: {len(unknown):,} judged passages are not in the corpus (first: {unknown[0]})"
            )
    return counts | {"judged_passages_not_in_corpus": missing}, extra


def _result(config: PrepareConfig, manifest: Manifest, state: str) -> PrepareResult:
    extra = dict(manifest.extra)
    return PrepareResult(
        output=config.output,
        source=config.source,
        state=state,
        counts=dict(manifest.counts),
        splits=dict(extra.pop("splits", {})),
        extra=extra,
    )
