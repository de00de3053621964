"""``convert`` of a run: from any form that is read to any that is written."""

from __future__ import annotations

import io
from typing import IO

from dretrieve.jobs.configs.convert_run import NEEDS_PASSAGES, NEEDS_QUERIES, ConvertRunConfig
from dretrieve.jobs.inputs import answer_test, open_corpus, questions_fingerprint
from dretrieve.runs.json_forms import write_json_run
from dretrieve.runs.read import read_run, run_fingerprint, searched
from dretrieve.runs.write import WRITTEN_FORMS, compressed, write_run
from dretrieve.store.stage import Made, Planned, Stage
from dretrieve.store.text_store import TextStore
from dretrieve.text.collection import Collection
from dretrieve.text.queries import QuerySet
from dretrieve.types import SILENT, Progress, Run

STAGE, VERSION = "convert-run", 1


def run(config: ConvertRunConfig, progress: Progress = SILENT) -> Made | Planned:
    """Read the run, write it in the other form; an output of the same options and run is up to date.

    Raises:
        PreconditionError: no such run or collection; an output that is not ours.
        DataError: a broken run, an id that the form cannot carry, a query or passage without text.
        VerificationError: the run was found in other passages than those whose texts are to be written.
    """
    inputs, extra = {"run": run_fingerprint(config.run, full=config.verify)}, searched(config.run)
    queries, corpus = None, None
    if config.output_format in NEEDS_QUERIES and config.queries is not None:
        queries = Collection.open(config.queries, "queries", config.topic_field).queries()
        inputs["queries"] = questions_fingerprint(queries)
        if config.output_format in NEEDS_PASSAGES or any(queries.answers):
            corpus = open_corpus(config.corpus, config.queries, progress, full=config.verify)
            inputs["corpus"] = corpus.sha256
            run_fingerprint(config.run, corpus=corpus.sha256)
    options = {"form": config.output_format, "run_format": config.run_format}
    if config.topic_field:
        options["topic_field"] = config.topic_field
    stage = Stage(config.output, "file", STAGE, VERSION, options, inputs, config.force)
    told = config.output_format, {"form": config.output_format}
    if stage.up_to_date(look=config.dry_run):
        counts = stage.existing().counts
        return stage.planned("") if config.dry_run else Made(config.output, "up to date", counts, *told)
    found = read_run(config.run, config.run_format)
    counts = {"queries": len(found), "hits": len(found.scores)}
    if found.by_rank and config.output_format != "msmarco":
        progress.note(
            f"{config.run} holds ranks and no scores: 1 / rank is written, which keeps the order; do not "
            "weigh it against other scores"
        )
    if config.dry_run:
        return stage.planned(f"would convert {config.run}", counts)
    with stage.write() as file:
        _write(file, found, config, queries, corpus)
    stage.commit(counts=counts, extra=extra)
    return Made(config.output, "converted", counts, *told)


def _write(
    file: IO[bytes], found: Run, config: ConvertRunConfig, queries: QuerySet | None, corpus: TextStore | None
) -> None:
    if config.output_format in WRITTEN_FORMS:
        write_run(file, found, form=config.output_format, name=config.output.name)
        return
    questions = {query.id: query for query in queries.queries} if queries is not None else {}
    holds_answer = None
    if corpus is not None and queries is not None and any(queries.answers):
        holds_answer = answer_test(queries)
    with compressed(file, config.output.name) as inner:
        text = io.TextIOWrapper(inner, encoding="utf-8", newline="\n", write_through=True)
        write_json_run(
            text,
            found,
            questions,
            corpus.find if corpus is not None else lambda passage_id: None,
            dialect=config.output_format,
            holds_answer=holds_answer,
        )
        text.detach()
