"""mine-negatives: hard negatives of every query of a split out of a run, as examples by id."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from dretrieve.errors import DataError, UsageError
from dretrieve.jobs.configs.mine_negatives import MineNegativesConfig
from dretrieve.jobs.inputs import answer_test, questions_fingerprint
from dretrieve.mining.negatives import FILTERS, Examples, Miner
from dretrieve.mining.options import MiningOptions
from dretrieve.runs.read import read_run, refuse_ranks, run_fingerprint
from dretrieve.store.fingerprint import sha256_file
from dretrieve.store.interrupt import interruptible
from dretrieve.store.parts import finished_parts, join_parts, part_of
from dretrieve.store.shards import shard_rows
from dretrieve.store.stage import Planned, Stage
from dretrieve.store.state import recorded_state
from dretrieve.text.collection import Collection
from dretrieve.text.examples import example_line
from dretrieve.text.queries import QuerySet
from dretrieve.types import SILENT, Progress, Record

STAGE, VERSION = "mine-negatives", 1


@dataclass(frozen=True, kw_only=True, slots=True)
class MineNegativesResult:
    """What was mined: where, how much, and what each filter dropped."""

    output: Path
    counts: dict[str, int]
    up_to_date: bool = False

    def as_json(self) -> dict[str, Any]:
        """Return the result as plain data."""
        return {"output": str(self.output), "counts": self.counts, "up_to_date": self.up_to_date}

    def render(self) -> str:
        """Return the result as a few lines."""
        counts = self.counts
        head = "up to date: " if self.up_to_date else ""
        dropped = ", ".join(f"{counts['dropped_' + name]:,} {name.replace('_', ' ')}" for name in FILTERS)
        return (
            f"{head}{self.output}: {counts['examples']:,} examples, {counts['negatives']:,} negatives "
            f"({counts['examples_without_negatives']:,} examples have none)\n"
            f"dropped hits: {dropped}"
        )


def run(config: MineNegativesConfig, progress: Progress = SILENT) -> MineNegativesResult | Planned:
    """Mine; an output of the same options and inputs is up to date.

    Raises:
        DataError: the split has no positives, the run names passages that the collection lacks, all hits
            were dropped.
        UsageError: answers are to be dropped and the split has none.
        VerificationError: the run was found in other passages.
    """
    collection = Collection.open(config.data)
    queries, positives = collection.queries(), collection.qrels().positives()
    if not any(query_id in positives for query_id in queries.ids()):
        raise DataError(
            f"{config.data} has no positives (grades above 0); negatives are mined for queries with one"
        )
    if config.drop_answers and not any(queries.answers):
        raise UsageError(f"{config.data} has no answers; leave --drop-answers out")
    stage = _stage(config, collection, queries)
    if config.dry_run:
        return stage.planned(f"would mine {len(queries):,} queries of {config.data} into {stage.output}")
    if stage.up_to_date():
        counts = stage.existing().counts
        return MineNegativesResult(output=stage.output, counts=dict(counts), up_to_date=True)
    parts = finished_parts(stage)
    if parts:
        progress.note(f"joining {len(parts)} parts")
        with stage.write() as file:
            counts = join_parts(file, parts)
    else:
        counts = _mine(config, stage, collection, positives, progress)
    if config.shard is None and counts["negatives"] == 0:
        stage.output.unlink(missing_ok=True)
        with recorded_state(stage.manifest_file, STAGE, stage.fingerprint):
            raise _all_dropped(counts)
    stage.commit(counts=counts, extra={"collection": _described(collection, config.output)})
    return MineNegativesResult(output=stage.output, counts=dict(counts))


def _stage(config: MineNegativesConfig, collection: Collection, queries: QuerySet) -> Stage:
    options: dict[str, Any] = {item.name: getattr(config.mining, item.name) for item in fields(MiningOptions)}
    options["drop_answers"] = config.drop_answers
    if config.run_format != "auto":
        options["run_format"] = config.run_format
    corpus = collection.corpus(full=config.verify)
    inputs = {
        "collection": collection.sha256,
        "queries": queries.sha256,
        "qrels": sha256_file(collection.qrels_file()),
        "run": run_fingerprint(config.run, full=config.verify, corpus=corpus.sha256),
    }
    if config.drop_answers:
        inputs["answers"] = questions_fingerprint(queries)
    return part_of(Stage(config.output, "file", STAGE, VERSION, options, inputs, config.force), config.shard)


def _described(collection: Collection, output: Path) -> dict[str, Any]:
    """Return what names the collection in the examples' manifest."""
    path = os.path.relpath(collection.path.resolve(), output.resolve().parent)
    return {"sha256": collection.sha256, "path": path, "name": collection.name, "split": collection.split}


def _mine(
    config: MineNegativesConfig,
    stage: Stage,
    collection: Collection,
    positives: Mapping[str, Sequence[str]],
    progress: Progress,
) -> Counter[str]:
    """Write the examples of the shard's queries; return the counts."""
    queries = collection.queries()
    shard = shard_rows(len(queries), *(config.shard or (0, 1)))
    has_answer = answer_test(queries) if config.drop_answers else None
    miner = Miner(config.mining, _passages(collection, config), has_answer)
    found = read_run(config.run, config.run_format)
    if config.mining.margin is not None or config.mining.relative_margin is not None:
        refuse_ranks(found, config.run, "a margin compares scores", "leave the margin out")
    examples = Examples(miner, queries, positives, found, shard)
    progress.start("mining", len(shard), "queries")
    with interruptible() as signals, stage.write(text=True) as file:
        for example in examples:
            file.write(example_line(example))
            progress.advance(1)
            signals.check()
    progress.finish()
    return examples.counts


def _passages(collection: Collection, config: MineNegativesConfig) -> Callable[[str], Record]:
    store = collection.corpus()

    def passage(passage_id: str) -> Record:
        record = store.find(passage_id)
        if record is None:
            raise DataError(
                f"passage {passage_id!r} of {config.run} or of the judgements is not in {collection.path}; "
                "the run belongs to another collection: search this one, or name the run's own"
            )
        return record

    return passage


def _all_dropped(counts: Mapping[str, int]) -> DataError:
    reasons = ", ".join(
        f"{counts['dropped_' + kind]:,} by {kind.replace('_', ' ')}"
        for kind in FILTERS
        if counts["dropped_" + kind]
    )
    if not reasons:
        return DataError(
            f"the run has no hits for the {counts['examples']:,} queries; give the run that was searched "
            "with the queries of --data"
        )
    return DataError(
        f"no negative is left for any of {counts['examples']:,} queries: dropped "
        f"{reasons}; search deeper, widen --depth, or lower --margin"
    )
