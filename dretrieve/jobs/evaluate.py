"""``evaluate``: runs against judgements or answers, readers against answers; a table, tests, a JSON file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from dretrieve.errors import UsageError
from dretrieve.jobs.configs.evaluate import EvaluateConfig
from dretrieve.jobs.inputs import find_qrels, open_corpus, questions_fingerprint, text_reader
from dretrieve.metrics.options import RelevanceOptions
from dretrieve.metrics.qa import (
    group_labels,
    groups_of,
    measures_of,
    parse_reader_measures,
    prepare_answers,
    read_predictions,
    score_answers,
    score_predictions,
)
from dretrieve.metrics.registry import parse_measures
from dretrieve.metrics.relevance import score_relevance
from dretrieve.metrics.scores import Scores
from dretrieve.metrics.significance import Comparison, compare
from dretrieve.metrics.top_k import parse_top_k
from dretrieve.reports.evaluation import evaluation_tables, notes_of
from dretrieve.reports.tables import indented_json, render
from dretrieve.runs.lines import forms_for
from dretrieve.runs.read import RunFile, run_fingerprint
from dretrieve.runs.write import compression
from dretrieve.store.stage import Planned, Stage
from dretrieve.store.text_store import TextStore
from dretrieve.text.cache import remember
from dretrieve.text.collection import Collection
from dretrieve.text.files import sha256_of
from dretrieve.text.qrels import read_qrels
from dretrieve.text.queries import QuerySet
from dretrieve.types import SILENT, Progress

STAGE, VERSION = "evaluate", 1
DEFAULT_METRICS = "nDCG@10 RR@10 R@100"
DEFAULT_TOP = "top1 top5 top20 top100"


@dataclass(frozen=True, kw_only=True, slots=True)
class EvaluateResult:
    """The values of every run, and the tests between them."""

    config: EvaluateConfig
    state: str
    measures: Sequence[str]
    scores: Sequence[Scores] = ()
    fingerprints: Sequence[str] = ()
    comparisons: Sequence[Comparison] = ()
    notes: Sequence[str] = ()

    def beside(self, json: bool) -> list[str]:
        """Return the notes that are not part of what is printed: on a terminal they stand below the table."""
        return notes_of(self.scores, self.notes) if json or self.config.form != "terminal" else []

    def as_json(self, per_query: bool | None = None) -> dict[str, Any]:
        """Return everything as plain data; each query's values if ``per_query`` (default: as configured)."""
        with_queries = self.config.per_query if per_query is None else per_query
        runs = []
        for scores, fingerprint in zip(self.scores, self.fingerprints, strict=True):
            entry: dict[str, Any] = {
                "name": scores.name,
                "fingerprint": fingerprint,
                "num_queries": len(scores.query_ids),
                "mean": scores.means(),
                "notes": list(scores.notes),
            }
            if scores.groups:
                entry |= {"macro": scores.macro(), "by": scores.by_group()}
            if with_queries:
                entry["per_query"] = scores.per_query()
            runs.append(entry)
        value: dict[str, Any] = {"measures": list(self.measures), "runs": runs}
        if self.notes:
            value["notes"] = list(self.notes)
        if self.config.compare:
            value["comparisons"] = [asdict(comparison) for comparison in self.comparisons]
        return value

    def render(self) -> Any:
        """Return the tables in the configured form."""
        tables = evaluation_tables(
            self.scores, self.comparisons, per_query=self.config.per_query, notes=self.notes
        )
        return render(tables, self.config.form)


def run(config: EvaluateConfig, progress: Progress = SILENT) -> EvaluateResult | Planned:
    """Measure, and write the JSON file if one is asked for.

    Raises:
        UsageError: options that do not fit together, unknown measures.
        PreconditionError: a file is missing; the output holds another result.
        DataError: broken lines, nothing in common between run and judgements.
        VerificationError: a run's bytes are not those that its manifest records.
    """
    notes: list[str] = []
    measures = _check(config, notes)
    inputs = open_inputs(config, progress)
    if config.predictions and inputs.queries is not None:
        measures = measures_of(inputs.queries, config.metrics, progress)
    stage = _stage(config, measures, inputs)
    if config.dry_run:
        where = f"write {config.output}" if config.output else "write no file"
        plan = f"read {', '.join(inputs.sources)}; measure {' '.join(measures)}; {where}"
        return stage.planned(plan) if stage is not None else Planned(text=plan)
    finished = stage is not None and stage.up_to_date()
    scores = _scores(config, measures, inputs, progress, notes)
    comparisons = _compare(config, scores, notes)
    result = EvaluateResult(
        config=config,
        state="up to date" if finished else "measured",
        measures=measures,
        scores=scores,
        fingerprints=[inputs.fingerprints[f"run {number}"] for number in range(1, len(scores) + 1)],
        comparisons=comparisons,
        notes=notes,
    )
    if stage is not None and not finished:
        with stage.write(text=True) as file:
            file.write(indented_json(result.as_json(per_query=True), levels=4) + "\n")
        stage.commit(
            counts={"runs": len(scores), "queries": len(scores[0].query_ids)},
            extra={"means": {one.name: one.means() for one in scores}},
        )
    return result


@dataclass(kw_only=True, slots=True)
class Inputs:
    """What a config names, opened.

    Attributes:
        fingerprints: role (``run 1``, ``qrels``, ``answers``, ``corpus`` …) to fingerprint.
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
        VerificationError: a run of ours was changed, or is of other passages.
    """
    inputs = Inputs()
    for number, path in enumerate(config.runs or config.predictions, 1):
        inputs.fingerprints[f"run {number}"] = run_fingerprint(path, full=config.verify)
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
        inputs.queries = Collection.open(config.answers, "queries", config.topic_field).queries()
        inputs.fingerprints["answers"] = questions_fingerprint(inputs.queries)
        inputs.sources.append(config.answers)
        if config.runs:
            inputs.corpus = open_corpus(config.corpus, config.answers, progress, full=config.verify)
            inputs.fingerprints["corpus"] = inputs.corpus.sha256
            for path in config.runs:
                run_fingerprint(path, corpus=inputs.corpus.sha256)
            inputs.sources.append(config.corpus or config.answers)
    return inputs


def _check(config: EvaluateConfig, notes: list[str]) -> list[str]:
    """Return the measures' canonical names once the options fit together; notes say what is left out."""
    if bool(config.runs) == bool(config.predictions):
        raise UsageError(
            "give --run RUN (once or several times), or --predictions FILE for a reader's answers"
        )
    if config.predictions and config.answers is None:
        raise UsageError("--predictions needs --answers DIR:split, the questions with their answers")
    if (config.qrels is None) == (config.answers is None):
        raise UsageError(
            "give either --qrels DIR:split (judgements) or --answers DIR:split (questions with answers)"
        )
    if config.corpus is not None and (config.answers is None or config.predictions):
        raise UsageError(
            "--corpus goes with --answers and --run: it holds the texts that answers are looked for in"
        )
    if config.run_format and not config.runs:
        raise UsageError("--run-format goes with --run")
    forms_for(config.run_format, len(config.runs))
    if config.answers is not None and config.options != RelevanceOptions():
        raise UsageError("--depth, --drop-self, --judged-only and --retrieved-only go with --qrels")
    if config.compare and len(config.runs) + len(config.predictions) < 2:
        raise UsageError("--compare needs two runs or more; the first is the baseline")
    if config.compare and config.options.retrieved_only:
        raise UsageError("--compare needs the same queries in all runs; leave --retrieved-only out")
    if config.predictions:
        return parse_reader_measures(config.metrics)
    if config.answers is not None:
        return [f"top{k}" for k in parse_top_k(config.metrics or DEFAULT_TOP)]
    return [str(measure) for measure in parse_measures(config.metrics or DEFAULT_METRICS, notes)]


def _stage(config: EvaluateConfig, measures: Sequence[str], inputs: Inputs) -> Stage | None:
    if config.output is None:
        return None
    options = {
        "measures": list(measures),
        "names": run_names(config.runs or config.predictions),
        "prepare": asdict(config.options),
        "by": config.by,
        "compare": config.compare,
        "seed": config.seed if config.compare else 0,
    }
    if config.run_format:
        options["run_format"] = forms_for(config.run_format, len(config.runs))
    # 2: --depth cuts first, no query is lost; answers that are patterns are matched
    patterns = config.predictions and inputs.queries is not None and any(inputs.queries.answers_are_regex)
    version = 2 if config.options.judged_only or patterns else VERSION
    return Stage(config.output, "file", STAGE, version, options, inputs.fingerprints, config.force)


def run_names(paths: Sequence[Path]) -> list[str]:
    """Return a short name for each file: without folder and endings while that tells them apart."""
    short = [path.name.removesuffix(compression(path)) for path in paths]
    stems = [name.rsplit(".", 1)[0] if "." in name.lstrip(".") else name for name in short]
    for names in (stems, short):
        if len(set(names)) == len(names):
            return names
    return [str(path) for path in paths]


def _scores(
    config: EvaluateConfig, measures: Sequence[str], inputs: Inputs, progress: Progress, notes: list[str]
) -> list[Scores]:
    paths = config.runs or config.predictions
    files = map(RunFile, paths, forms_for(config.run_format, len(paths)))
    score = _scorer(config, measures, inputs, notes)
    labels = group_labels(inputs.queries, config.by) if inputs.queries is not None and config.by else {}
    progress.start("measuring", len(paths), "runs")
    scores = []
    for name, file in zip(run_names(paths), files, strict=True):
        one = score(name, file)
        if config.by:
            one = replace(one, groups=groups_of(one.query_ids, labels, config.by))
        scores.append(one)
        progress.advance(1)
    progress.finish()
    return scores


def _scorer(
    config: EvaluateConfig, measures: Sequence[str], inputs: Inputs, notes: list[str]
) -> Callable[[str, RunFile], Scores]:
    """Return what measures one file."""
    if inputs.qrels_file is not None:
        qrels = read_qrels(inputs.qrels_file)
        wanted = parse_measures(list(measures))
        return lambda name, file: score_relevance(name, file, qrels, wanted, config.options)
    queries = inputs.queries
    assert queries is not None
    answers = prepare_answers(queries, notes)
    if config.predictions:
        return lambda name, file: score_predictions(name, read_predictions(file.path), queries, measures)
    assert inputs.corpus is not None
    text_of = text_reader(inputs.corpus)
    cutoffs = parse_top_k(" ".join(measures))
    return lambda name, file: score_answers(name, file.read(), queries, answers, text_of, cutoffs)


def _compare(config: EvaluateConfig, scores: Sequence[Scores], notes: list[str]) -> list[Comparison]:
    if not config.compare:
        return []
    others = [name for name in scores[0].values if scores[0].aggregates.get(name, "mean") != "mean"]
    if others:
        notes.append(f"{', '.join(others)}: not compared, only means over queries are")
    means = [
        (one.name, {name: values for name, values in one.values.items() if name not in others})
        for one in scores
    ]
    return compare(means, config.seed)
