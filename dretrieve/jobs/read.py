"""``read``: questions are answered out of the passages that a run found for them, one shard a call."""

from __future__ import annotations

import io
import json
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np

from dretrieve.encoding.numerics import resolve_device, resolve_precision
from dretrieve.encoding.reading import Answer, Asked, reader
from dretrieve.errors import DataError, UsageError, VerificationError
from dretrieve.jobs.configs.read import ReadConfig
from dretrieve.jobs.inputs import open_corpus
from dretrieve.models.cards import read_card
from dretrieve.models.loading import load_model
from dretrieve.models.places import find_model
from dretrieve.models.registry import METHODS, find, spelled
from dretrieve.runs.read import read_run, run_fingerprint
from dretrieve.store.card import ModelCard
from dretrieve.store.fingerprint import canonical_json
from dretrieve.store.interrupt import Signals, interruptible
from dretrieve.store.journal import Journal
from dretrieve.store.parts import finished_parts, join_parts, part_of
from dretrieve.store.shards import Shard, shard_rows
from dretrieve.store.stage import Made, Planned, Stage
from dretrieve.store.state import recorded_state
from dretrieve.store.text_store import TextStore
from dretrieve.text.collection import Collection
from dretrieve.text.queries import QuerySet
from dretrieve.types import SIDES, SILENT, Progress, Run

STAGE, VERSION = "read", 4  # 4: a padding before the end counts; a backbone's generation_config.json does not
# Questions that share their passages' states, are read together, and are kept when the rest is interrupted.
CHUNK = 32
LINES, COUNTS = "answers.jsonl", "counts.jsonl"  # of the journal: one line a question, one a chunk


@dataclass(frozen=True, slots=True)
class _Sources:
    """What is read."""

    queries: QuerySet
    corpus: TextStore
    hits: Mapping[str, Sequence[int]]  # rows of the corpus


def run(config: ReadConfig, progress: Progress = SILENT) -> Made | Planned:
    """Read the shard's questions, go on, or say that the answers stand already.

    Raises:
        UsageError: a model that cannot read; a depth beyond the run's.
        PreconditionError: model, run or collection missing; the output holds something else.
        DataError: an empty run, a run of other questions.
        VerificationError: a run of another collection; changed files.
        Interrupted: a signal came; the same command goes on.
    """
    card = reading_card(config.model)
    sources = _open(config, progress)
    stage = _stage(config, card, sources)
    shard = shard_rows(len(sources.queries), *(config.shard or (0, 1)), CHUNK)
    if config.dry_run:
        told = f"would read {len(shard):,} questions with {config.depth} passages each; output {stage.output}"
        return stage.planned(told)
    if stage.up_to_date():
        shutil.rmtree(_partial(stage), ignore_errors=True)  # of a call that was killed at its end
        return _made(config, stage, "up to date", stage.existing().counts)
    with interruptible() as signals, recorded_state(stage.manifest_file, STAGE, stage.fingerprint):
        if parts := finished_parts(stage):
            with stage.write() as file:
                counts = join_parts(file, parts)
        else:
            counts = _read(config, sources, shard, stage, progress, signals)
        said = {"lacking": "had fewer passages in the run", "alone": "had none, and were read alone"}
        for name, what in said.items():
            if counts[f"questions_{name}"]:
                progress.note(f"{counts[f'questions_{name}']:,} of {counts['questions']:,} questions {what}")
        stage.commit(counts=counts)
        shutil.rmtree(_partial(stage), ignore_errors=True)
    return _made(config, stage, "written", counts)


def _made(config: ReadConfig, stage: Stage, state: str, counts: Mapping[str, int]) -> Made:
    """Return the answer, with the next command."""
    told = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items() if count)
    then = f"dretrieve evaluate --predictions {quote(str(stage.output))} --answers {quote(config.queries)}"
    return Made(stage.output, state, {}, f"{told}\nnext: {then}", {"counts": dict(counts)})


def reading_card(model: str) -> ModelCard:
    """Return the card of a model that reads.

    Raises:
        UsageError: it cannot; names the methods that can.
    """
    card, _ = read_card(find_model(model))
    if not find(card.method).method().reads_close:
        known = ", ".join(spelled(name) for name, entry in METHODS.items() if entry.method().reads_close)
        raise UsageError(f"--model {model}: {spelled(card.method)} cannot read; methods that can: {known}")
    return card


def _open(config: ReadConfig, progress: Progress) -> _Sources:
    queries = Collection.open(config.queries, "queries", config.topic_field).queries()
    corpus = open_corpus(config.corpus, config.queries, progress, full=config.verify)
    found = read_run(config.run, config.run_format)
    if not len(found):
        raise DataError(f"--run {config.run} holds no hits; search again")
    hits = _hits(found, queries, config.depth)
    if not hits:
        raise DataError(
            f"none of the {len(queries):,} questions of {config.queries} is in --run {config.run} (it has "
            f"{found.query_ids[0]!r}, they {queries.ids(0, 1)[0]!r}); name the split that was searched"
        )
    longest = int(np.diff(found.offsets).max())
    if longest < config.depth:
        raise UsageError(
            f"--depth {config.depth}: --run {config.run} holds at most {longest} hits for a question; search "
            f"with --hits {config.depth}, or read fewer"
        )
    names = dict.fromkeys(name for of in hits.values() for name in of)
    rows = {name: row for name in names if (row := corpus.row_of(name)) is not None}
    if lost := [name for name in names if name not in rows]:
        raise VerificationError(
            f"--run {config.run}: passage {lost[0]!r} is not in the corpus; give the one that was searched"
        )
    return _Sources(queries, corpus, {query: [rows[name] for name in of] for query, of in hits.items()})


def _hits(run: Run, queries: QuerySet, depth: int) -> dict[str, list[str]]:
    rows = {name: row for row, name in enumerate(run.query_ids)}
    return {
        name: [passage for passage, _ in islice(run.hits(rows[name]), depth)]
        for name in queries.ids(0, len(queries))
        if name in rows
    }


def _stage(config: ReadConfig, card: ModelCard, sources: _Sources) -> Stage:
    options: dict[str, Any] = {
        "depth": config.depth,
        "beams": config.beams,
        "precision": resolve_precision(config.precision, resolve_device(config.device)),
    }
    if config.run_format != "auto":
        options["run_format"] = config.run_format
    inputs = {f"{side}_model": card.fingerprint(side) for side in SIDES}
    inputs |= {"run": run_fingerprint(config.run, full=config.verify, corpus=sources.corpus.sha256)}
    inputs |= {"queries": sources.queries.sha256, "corpus": sources.corpus.sha256}
    return part_of(Stage(config.output, "file", STAGE, VERSION, options, inputs, config.force), config.shard)


def _read(
    config: ReadConfig, sources: _Sources, shard: Shard, stage: Stage, progress: Progress, signals: Signals
) -> Counter[str]:
    """Write the answers to the shard's questions; return the counts."""
    chunks = shard.chunks(CHUNK)
    journal = Journal(_partial(stage), (LINES, COUNTS), stage.wanted.as_json())
    try:
        device = resolve_device(config.device)
        model = load_model(config.model, device, resolve_precision(config.precision, device))
        done = min(journal.chunks, len(chunks))
        progress.start("read", len(shard), "questions", sum(stop - start for start, stop in chunks[:done]))
        with reader(model, config.beams, signals) as answers:
            for start, stop in chunks[done:]:
                asked = [
                    Asked(of, [sources.corpus.record(row) for row in sources.hits.get(of.id, ())])
                    for of in sources.queries.records(start, stop)
                ]
                found = answers.read(asked)
                lines = [_line(*pair) for pair in zip(asked, found, strict=True)]
                counts = canonical_json(_counts(asked, found, config.depth)) + b"\n"
                journal.append({LINES: "".join(lines).encode(), COUNTS: counts})
                progress.advance(len(asked))
                signals.check()
        progress.finish()
        with stage.write() as file:
            journal.copy(LINES, file)
        total, grown = Counter[str](), io.BytesIO()
        journal.copy(COUNTS, grown)
        for line in grown.getvalue().splitlines():
            total.update(json.loads(line))
        return total
    finally:
        journal.close()


def _partial(stage: Stage) -> Path:
    return stage.output.with_name(f".{stage.output.name}.partial")


def _line(asked: Asked, answer: Answer) -> str:
    passages = [
        {"id": record.id, "attention": round(share, 6)}
        for record, share in zip(asked.passages, answer.attention, strict=True)
    ]
    said = {
        "query_id": asked.question.id,
        "prediction": answer.text,
        "log_probability": round(answer.log_probability, 6),
        "passages": passages,
    }
    return json.dumps(said, ensure_ascii=False) + "\n"


def _counts(asked: Sequence[Asked], found: Sequence[Answer], depth: int) -> dict[str, int]:
    return {
        "questions": len(asked),
        "passages": sum(len(of.passages) for of in asked),
        "passages_cut": sum(of.cut for of in found),
        "questions_lacking": sum(len(of.passages) < depth for of in asked),
        "questions_alone": sum(not of.passages for of in asked),
    }
