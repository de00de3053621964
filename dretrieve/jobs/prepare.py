"""``prepare``: a source of text becomes a collection (BEIR folder) with a manifest and its text store."""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from dretrieve.errors import DataError, PreconditionError, UsageError
from dretrieve.jobs.prepare_config import PrepareConfig, PrepareResult
from dretrieve.metrics.answers import Answers
from dretrieve.store.interrupt import interruptible
from dretrieve.store.manifest import Manifest, manifest_path, read_manifest
from dretrieve.store.stage import Planned, Stage, replaces_stale
from dretrieve.store.state import read_state
from dretrieve.text import pydocs, remote
from dretrieve.text.archives import unzipped
from dretrieve.text.assemble import CollectionWriter
from dretrieve.text.beir import Query
from dretrieve.text.collection import Collection
from dretrieve.text.files import exists
from dretrieve.text.forms import detect
from dretrieve.text.join import EQUALS, Joiner, JoinOptions, open_sets, parse_sets
from dretrieve.text.local import Sources, check_local, content_sha256, parse_qrels_option, write_local
from dretrieve.text.records import check_topic_field
from dretrieve.types import Progress, Silent

__all__ = ["PrepareConfig", "PrepareResult", "run"]

STAGE = "prepare"
VERSION = 1
# Of joined collections. 2: what a set judges but does not hold is nothing of another set's.
JOIN_VERSION = 2


def run(config: PrepareConfig, progress: Progress | None = None) -> PrepareResult | Planned:
    """Make the collection, or say that it stands already.

    Raises:
        UsageError: options that do not fit the source.
        PreconditionError: the source or the network is not there; the output holds something else.
        DataError: the source breaks its form; its checksum is not the published one.
    """
    progress = progress or Silent()
    kind, _, name = config.source.partition(":")
    if config.unchecked and not config.mirror:
        raise UsageError("--unchecked goes with --mirror URL: the published files are always checked")
    if config.others:
        return _prepare_joined(config, progress)
    if config.join != JoinOptions():
        raise UsageError("--equal and --entities join collections; name several: prepare DIR DIR …")
    if config.source == "pydocs":
        return _prepare_pydocs(config, progress)
    if kind in remote.KINDS and name and not Path(config.source).exists():
        return _prepare_remote(config, kind, name, progress)
    if config.mirror:
        raise UsageError("--mirror goes with beir:NAME, dpr:KEY, entityquestions:SPLIT and hf:NAME only")
    path = Path(config.source)
    if not exists(path):
        known = "pydocs, beir:NAME, dpr:KEY, entityquestions:SPLIT, hf:NAME, or an existing file or folder"
        raise PreconditionError(f"source '{config.source}' does not exist; it may be {known}")
    sources = _sources(config, unzipped(path, progress))
    return _prepare_sources(
        config,
        sources,
        {"form": detect(sources.main).name, "split": config.split, **_topic(config)},
        progress,
    )


def _topic(config: PrepareConfig) -> dict[str, Any]:
    return {"topic_field": config.topic_field} if config.topic_field else {}


def _sources(config: PrepareConfig, main: Path) -> Sources:
    if main.resolve() == config.output.resolve():
        raise UsageError("--output is the source itself; choose another folder")
    qrels = parse_qrels_option(config.qrels)
    check_topic_field(config.topic_field)
    return Sources(
        main=main,
        corpus=config.corpus,
        queries=config.queries,
        qrels=qrels,
        split=config.split,
        topic_field=config.topic_field,
    )


def _prepare_pydocs(config: PrepareConfig, progress: Progress) -> PrepareResult | Planned:
    if any((config.corpus, config.queries, config.qrels, config.split, config.mirror, config.topic_field)):
        raise UsageError(
            "pydocs takes no further files: leave --corpus, --queries, --qrels, --split, --topic-field, "
            "--mirror out"
        )
    files = pydocs.library_files()
    stage = _stage(
        config,
        {"source": "pydocs", "python": platform.python_version()},
        {"library": pydocs.library_sha256(files)},
    )

    def write(writer: CollectionWriter, tick: Callable[[], None]) -> None:
        pydocs.write(writer, files, tick)

    plan = f"read pydocs, write {config.output}"
    return _execute(config, stage, write, plan, {"licence": pydocs.LICENCE}, progress)


def _prepare_joined(config: PrepareConfig, progress: Progress) -> PrepareResult | Planned:
    """Join several collections over one corpus."""
    if any((config.corpus, config.queries, config.qrels, config.split, config.mirror, config.topic_field)):
        raise UsageError(
            "collections are joined as they are: leave --corpus, --queries, --qrels, --split, --topic-field, "
            "--mirror out"
        )
    if config.join.equal not in EQUALS:
        raise UsageError(f"--equal {config.join.equal!r} is unknown; there are {', '.join(EQUALS)}")
    sets = parse_sets((config.source, *config.others))
    if any(one.path.resolve() == config.output.resolve() for one in sets):
        raise UsageError(f"--output {config.output} is one of the joined collections; choose another folder")
    plan = f"join {', '.join(str(one.path) for one in sets)} in {config.output}"
    if config.dry_run:
        open_sets(sets, config.join.entities)
    options = {"sets": [one.name for one in sets], **asdict(config.join)}
    options["entities"] = list(config.join.entities)  # as a manifest gives it back
    stage = _stage(
        config, options, {f"set {one.name}": content_sha256(one.path) for one in sets}, JOIN_VERSION
    )

    def holds(query: Query) -> Callable[[str], bool]:
        return Answers(query.answers, regex=query.answers_are_regex).found_in

    def write(writer: CollectionWriter, tick: Callable[[], None]) -> None:
        Joiner(writer, config.join, holds, tick).write(sets)

    return _execute(replace(config, source=", ".join(options["sets"])), stage, write, plan, {}, progress)


def _prepare_sources(
    config: PrepareConfig,
    sources: Sources,
    options: dict[str, Any],
    progress: Progress,
    licence: str | None = None,
) -> PrepareResult | Planned:
    plan = f"read {sources.main} as {check_local(sources).name}, write {config.output}"
    stage = _stage(config, options, sources.inputs())

    def write(writer: CollectionWriter, tick: Callable[[], None]) -> None:
        write_local(writer, sources, tick)

    return _execute(config, stage, write, plan, {"licence": licence} if licence else {}, progress)


def _prepare_remote(
    config: PrepareConfig, kind: str, name: str, progress: Progress
) -> PrepareResult | Planned:
    source = remote.find(kind, name, config.mirror, unchecked=config.unchecked)
    if kind == "entityquestions" and config.split:
        raise UsageError(
            f"--split {config.split}: each question of EntityQuestions names its split; leave --split out "
            "and choose by entityquestions:train, :dev, :test or :all"
        )
    options = {"source": config.source, "split": config.split, **_topic(config)}
    if kind == "dpr" and name != "psgs_w100":
        options["ids"] = "row numbers"  # of its questions; once they were q000000, q000001 …
    _sources(config, Path(config.source)).check_beside()
    standing = _refuse_standing(config, options)
    if config.dry_run:
        source.check()
        return standing.planned(source.plan())
    if source.licence:
        progress.note(f"{config.source}: {source.licence}")
    with interruptible() as signals:
        main = source.fetch(progress, signals)
    sources = _sources(config, main)
    sources = replace(sources, split=config.split or source.split, answers_are_regex=source.answers_are_regex)
    return _prepare_sources(config, sources, options, progress, source.licence)


def _stage(
    config: PrepareConfig, options: dict[str, Any], inputs: dict[str, str], version: int = VERSION
) -> Stage:
    return Stage(config.output, "folder", STAGE, version, options, inputs, config.force)


def _execute(
    config: PrepareConfig,
    stage: Stage,
    write: Callable[[CollectionWriter, Callable[[], None]], None],
    plan: str,
    extra: dict[str, Any],
    progress: Progress,
) -> PrepareResult | Planned:
    _refuse_foreign(stage)
    before = _files_of(stage)
    if config.dry_run:
        return stage.planned(plan)
    if stage.up_to_date():
        return _result(config, stage.existing(), "up to date")
    for path in before:
        path.unlink(missing_ok=True)
    with _counting(progress, config.source) as tick, CollectionWriter(stage) as writer:
        write(writer, tick)
        if not writer.counts["passages"] and not writer.counts["queries"]:
            raise DataError(f"{config.source} holds no passages and no queries")
    counts, found = _verify(config.output, writer, progress)
    for note in found["notes"]:
        progress.note(note)
    manifest = stage.commit(counts=counts, extra=extra | found)
    return _result(config, manifest, "written")


def _files_of(stage: Stage) -> list[Path]:
    try:
        return [stage.output / name for name in read_manifest(stage.manifest_file).files]
    except PreconditionError:
        return []


def _refuse_standing(config: PrepareConfig, options: dict[str, Any]) -> Stage:
    """Return the stage with the inputs of what stands there, before anything is fetched.

    Raises:
        PreconditionError: the output would be refused whatever the fetched files hold.
    """
    stage = _stage(config, options, {})
    _refuse_foreign(stage)
    if stage.manifest_file.exists():
        stage.inputs = stage.existing().inputs
    if not (config.force or replaces_stale()):
        stage.up_to_date(look=True)
    return stage


def _refuse_foreign(stage: Stage) -> None:
    folder = stage.output
    if not folder.is_dir() or manifest_path(folder).exists() or stage.force:
        return
    state = read_state(stage.manifest_file) or {}
    strangers = [path.name for path in sorted(folder.iterdir()) if not path.name.startswith(".")]
    if strangers and state.get("stage") != STAGE:
        raise PreconditionError(
            f"{folder} holds {strangers[0]} and was not made by prepare; choose another --output, "
            "or --force to write into it"
        )


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


def _result(config: PrepareConfig, manifest: Manifest, state: str) -> PrepareResult | Planned:
    extra = dict(manifest.extra)
    return PrepareResult(
        output=config.output,
        source=config.source,
        state=state,
        counts=dict(manifest.counts),
        splits=dict(extra.pop("splits", {})),
        extra=extra,
    )
