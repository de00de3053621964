"""The dev sets of fuse-bm25: which there are, what their bytes are, and their runs with judgements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from dretrieve.errors import UsageError, quoted
from dretrieve.jobs.inputs import find_qrels, open_corpus, questions_fingerprint, run_fingerprint
from dretrieve.metrics.answers import Answers
from dretrieve.metrics.judged import judge
from dretrieve.metrics.measure import Measure
from dretrieve.metrics.qa import judge_by_answers, prepare_answers
from dretrieve.metrics.registry import parse_measures
from dretrieve.metrics.top_k import parse_top_k
from dretrieve.runs.fuse import align
from dretrieve.runs.read import read_run, refuse_ranks
from dretrieve.runs.tune import DevSet
from dretrieve.store.text_store import TextStore
from dretrieve.text.collection import Collection
from dretrieve.text.files import sha256_of
from dretrieve.text.qrels import read_qrels
from dretrieve.text.queries import QuerySet
from dretrieve.types import Progress, Qrels, Run


@dataclass(frozen=True, kw_only=True, slots=True)
class DevConfig:
    """What names the dev sets.

    Attributes:
        qrels: sets with judgements, ``DIR:split`` or a file.
        answers: or sets of questions with answers, ``DIR:split``.
        corpus: where ``answers`` have no passages: one collection for all, or one each.
        runs: dense runs of the sets, in their order; none when the runs to fuse are the one set's.
        bm25_runs: their BM25 runs.
        metric: what is tuned; by default nDCG@10 with judgements and top20 with answers.
    """

    qrels: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    corpus: tuple[str, ...] = ()
    runs: tuple[Path, ...] = ()
    bm25_runs: tuple[Path, ...] = ()
    metric: str | None = None


@dataclass(frozen=True, slots=True)
class Questions:
    """A dev set of questions, their answers made ready, and the passages searched."""

    queries: QuerySet
    answers: Sequence[Answers]
    corpus: TextStore


@dataclass(frozen=True, slots=True)
class DevInput:
    """The dev sets, opened but not read.

    Attributes:
        names: the last part of what was given: ``squad:dev``.
        runs: dense and BM25 run of each.
        forms: of the dense runs and of the BM25 runs.
        truths: a qrels file or questions for each.
        measure: what is tuned.
        fingerprints: role to fingerprint of all of it.
    """

    names: tuple[str, ...]
    runs: tuple[tuple[Path, Path], ...]
    forms: tuple[str, str]
    truths: tuple[Path | Questions, ...]
    measure: Measure
    fingerprints: dict[str, str]

    def load(self, depth: int) -> list[DevSet]:
        """Return the sets with their runs read; answers are looked for in ``depth`` hits of each list."""
        sets = []
        for name, (dense, bm25), truth in zip(self.names, self.runs, self.truths, strict=True):
            pair = align(*read_weighed((dense, bm25), self.forms))
            qrels: Qrels
            if isinstance(truth, Path):
                qrels = read_qrels(truth)
            else:
                ids = truth.queries.ids()
                held = set(ids)
                hits = {
                    query_id: pair.passages_of(row, depth)
                    for row, query_id in enumerate(pair.query_ids)
                    if query_id in held
                }
                qrels = judge_by_answers(hits, ids, truth.answers, TextOf(truth.corpus))
            sets.append(DevSet(name, pair, qrels.query_ids, partial(_worth, qrels, self.measure)))
        return sets


def _worth(qrels: Qrels, measure: Measure, fused: Run) -> float:
    return measure.aggregate(measure.values(judge(fused, qrels)))


def read_weighed(paths: tuple[Path, Path], forms: tuple[str, str]) -> tuple[Run, Run]:
    """Return the dense and the BM25 run whose scores are to be weighed.

    Raises:
        DataError: a broken run, or one of ranks.
    """
    why, cure = "alpha weighs scores", "fuse by ranks (--method rrf)"
    dense, bm25 = (
        refuse_ranks(read_run(*each), each[0], why, cure) for each in zip(paths, forms, strict=True)
    )
    return dense, bm25


def open_dev_sets(
    config: DevConfig, fused: tuple[Path, Path], forms: tuple[str, str], progress: Progress
) -> DevInput:
    """Return the dev sets that the options name.

    Args:
        config: the options.
        fused: the dense and the BM25 run that are to be fused.
        forms: of the dense runs and of the BM25 runs.
        progress: is told when a text store is built.

    Raises:
        UsageError: judgements and answers mixed, runs that do not match the sets, an unknown measure.
        PreconditionError: something is missing.
        DataError: a set of questions without answers.
    """
    names = config.qrels or config.answers
    if config.qrels and config.answers:
        raise UsageError("tune on --qrels or on --answers, not on both: their measures cannot be averaged")
    measure = _measure(config)
    runs = _runs(config, fused, len(names))
    truths: tuple[Path | Questions, ...] = tuple(map(find_qrels, config.qrels))
    truths += _questions(config, progress)
    fingerprints = {}
    for number, ((dense, bm25), truth) in enumerate(zip(runs, truths, strict=True), 1):
        fingerprints[f"dev dense {number}"] = run_fingerprint(dense)
        fingerprints[f"dev bm25 {number}"] = run_fingerprint(bm25)
        if isinstance(truth, Path):
            fingerprints[f"dev qrels {number}"] = sha256_of(truth)
        else:
            fingerprints[f"dev answers {number}"] = questions_fingerprint(truth.queries)
            fingerprints[f"dev corpus {number}"] = truth.corpus.sha256
    return DevInput(tuple(Path(name).name for name in names), runs, forms, truths, measure, fingerprints)


def _runs(config: DevConfig, fused: tuple[Path, Path], count: int) -> tuple[tuple[Path, Path], ...]:
    if not config.runs and not config.bm25_runs and count == 1:
        return (fused,)
    given = (len(config.runs), len(config.bm25_runs))
    if given != (count, count):
        raise UsageError(
            f"{count} dev sets need as many --dev-run and --dev-bm25-run, in the same order; "
            f"there are {given[0]} and {given[1]}"
        )
    return tuple(zip(config.runs, config.bm25_runs, strict=True))


def _questions(config: DevConfig, progress: Progress) -> tuple[Questions, ...]:
    corpora: tuple[str | None, ...] = tuple(config.corpus) or (None,) * len(config.answers)
    if len(corpora) == 1:
        corpora = corpora * len(config.answers)
    if len(corpora) != len(config.answers):
        raise UsageError(
            f"there are {len(config.answers)} --answers and {len(corpora)} --corpus; give one corpus for all "
            "or one for each"
        )
    found = []
    for spec, corpus in zip(config.answers, corpora, strict=True):
        notes: list[str] = []
        queries = Collection.open(spec, "queries").queries()
        answers = prepare_answers(queries, notes)
        for note in notes:
            progress.note(f"{Path(spec).name}: {note}")
        found.append(Questions(queries, answers, open_corpus(corpus, spec, progress)))
    return tuple(found)


def _measure(config: DevConfig) -> Measure:
    if config.qrels:
        text = config.metric or "nDCG@10"
        measures = parse_measures(text)
    else:
        text = config.metric or "top20"
        measures = [measure for k in parse_top_k(text) for measure in parse_measures(f"Success@{k}")]
    if len(measures) != 1:
        raise UsageError(f"--metric {quoted(text)} names {len(measures)} measures; tuning takes one")
    if measures[0].definition.aggregate == "sum":
        raise UsageError(f"--metric {quoted(text)} is a count; tune on a mean such as nDCG@10")
    return measures[0]


@dataclass(frozen=True, slots=True)
class TextOf:
    """A passage's text by id; None when the corpus lacks it."""

    corpus: TextStore

    def __call__(self, passage_id: str) -> str | None:
        """Return the text without the title, as DPR matches answers."""
        row = self.corpus.row_of(passage_id)
        return None if row is None else self.corpus.record(row).text
