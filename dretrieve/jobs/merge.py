"""merge: the parts of a sharded search or index become what one process would have written."""

from __future__ import annotations

from pathlib import Path

from dretrieve.errors import PreconditionError, UsageError
from dretrieve.index.registry import merge_index, plan_merge
from dretrieve.jobs.configs.merge import MergeConfig
from dretrieve.jobs.search import STAGE, VERSION
from dretrieve.runs.merge import merge_runs
from dretrieve.runs.read import read_run
from dretrieve.runs.write import compression, write_run
from dretrieve.store.interrupt import interruptible
from dretrieve.store.manifest import manifest_path
from dretrieve.store.parts import Part, tiling_parts, whole_of
from dretrieve.store.stage import Made, Planned, Stage, open_artefact
from dretrieve.types import SILENT, Progress, Run


def run(config: MergeConfig, progress: Progress = SILENT) -> Made | Planned:
    """Join the partial runs, or the parts of an index, or say that the output stands already.

    Raises:
        UsageError: no partial runs.
        PreconditionError: a part is missing (names the shards to search), or has no manifest.
        VerificationError: parts of different searches, overlapping parts, changed bytes.
        Interrupted: a signal came; the same command begins again.
    """
    if any(path.is_dir() for path in config.partials):
        return _joined_index(config)
    parts = _opened(config)
    first = parts[0][1]
    options = whole_of(first).options
    written = {**options, "form": "trec" + compression(config.output)}
    stage = Stage(config.output, "file", STAGE, VERSION, written, first.inputs, config.force)
    counts = {name: count for name, count in first.counts.items() if name != "hits"}
    told = f"{len(parts)} partial runs", {"parts": len(parts)}
    if config.dry_run:
        return stage.planned(f"would join {len(parts)} partial runs, which fit", counts)
    if stage.up_to_date():
        return Made(config.output, "up to date", stage.existing().counts, *told)
    with interruptible() as signals:
        progress.start("merge", len(parts), "partial runs")

        def read(path: Path) -> Run:
            signals.check()
            found = read_run(path, config.run_format)
            progress.advance(1)
            return found

        merged = merge_runs((read(path) for path, _ in parts), options["hits"])
        signals.check()
        with stage.write() as file:
            counts["hits"] = write_run(file, merged, name=config.output.name)
        stage.commit(counts=counts, extra=first.extra, details={"parts": [str(path) for path, _ in parts]})
        progress.finish()
    return Made(config.output, "written", counts, *told)


def _joined_index(config: MergeConfig) -> Made | Planned:
    if files := [path for path in config.partials if not path.is_dir()]:
        raise UsageError(f"{files[0]} is no folder, and others are: merge runs, or the parts of one index")
    _refuse_own(config)
    stage, passages, parts = plan_merge(
        config.partials, config.output, full=config.verify, force=config.force
    )
    told = f"{len(parts)} parts", {"parts": len(parts)}
    if config.dry_run:
        return stage.planned(f"would join {len(parts)} parts of an index, which fit", {"rows": passages.rows})
    with interruptible() as signals:
        made = merge_index(stage, passages, parts, signals)
    return Made(config.output, "written" if stage.committed else "up to date", made.counts, *told)


def _refuse_own(config: MergeConfig) -> None:
    if config.output.resolve() in [path.resolve() for path in config.partials]:
        raise UsageError(f"--output {config.output} is one of the parts; choose another name")


def _opened(config: MergeConfig) -> list[Part]:
    """Return the verified parts in the order of their rows."""
    if config.run_format == "msmarco":
        raise UsageError(
            "merge weighs scores of different runs, and ranks (--run-format msmarco) cannot be weighed; "
            "search again with --output-format trec"
        )
    if not config.partials:
        raise UsageError("name the partial runs to merge: dretrieve merge part-*.trec --output RUN")
    _refuse_own(config)
    for path in config.partials:
        if path.is_file() and not manifest_path(path).exists():
            raise PreconditionError(
                f"{path} has no manifest beside it, by which merge knows a part of search --shard I/N: bring "
                "it along with its run, or search again; parts of runs made elsewhere are joined by `cat`, "
                "runs of different systems by `dretrieve fuse-bm25`"
            )
    found = [(path, open_artefact(path, (STAGE,), full=config.verify)) for path in config.partials]
    return tiling_parts(
        found,
        "run, not a part made by search",
        "searches",
        where="the list of partial runs",
        elsewhere="; runs of different systems are joined by `dretrieve fuse-bm25`",
        own=("shard", "form"),
    )
