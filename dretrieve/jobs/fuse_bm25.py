"""fuse-bm25: a dense run and a BM25 run become one; the weight is given, tuned here, or taken from a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from dretrieve.errors import DataError, PreconditionError, UsageError, quoted
from dretrieve.jobs.configs.fuse_bm25 import DevConfig, FuseBm25Config
from dretrieve.jobs.inputs import find_qrels, open_corpus, questions_fingerprint, text_reader
from dretrieve.metrics.answers import Answers
from dretrieve.metrics.judged import judge
from dretrieve.metrics.measure import Measure
from dretrieve.metrics.qa import judge_by_answers, prepare_answers
from dretrieve.metrics.registry import parse_measures
from dretrieve.metrics.top_k import parse_top_k
from dretrieve.options import refuse_given
from dretrieve.runs.fuse import Pair, align, fuse
from dretrieve.runs.lines import forms_for
from dretrieve.runs.options import FuseOptions
from dretrieve.runs.read import RunFile, of_vectors, refuse_ranks, run_fingerprint, searched
from dretrieve.runs.tune import DevSet, parse_alphas, tune_alpha
from dretrieve.runs.write import compressed, compression, write_run
from dretrieve.store.interrupt import interruptible
from dretrieve.store.parts import finished_parts, join_parts, part_of
from dretrieve.store.shards import shard_rows
from dretrieve.store.stage import Made, Planned, Stage, open_artefact
from dretrieve.store.text_store import TextStore
from dretrieve.text.collection import Collection
from dretrieve.text.files import sha256_of
from dretrieve.text.qrels import read_qrels
from dretrieve.types import SILENT, Progress, Qrels, Run

STAGE, VERSION = "fuse-bm25", 1


def run(config: FuseBm25Config, progress: Progress = SILENT) -> Made | Planned:
    """Fuse; an output of the same options and inputs is up to date.

    Raises:
        UsageError: options that do not fit together, an empty range, dev sets without judgements or answers.
        PreconditionError: a run is missing; --alpha-from has no alpha, or one that weighs the other run.
        DataError: a run that breaks its format, dev runs of other queries.
        VerificationError: runs over different passages, or over others than answers are looked for in.
        Interrupted: a signal came; the same command begins again.
    """
    alphas = _check(config)
    files = RunFiles.of(config.run, config.bm25_run, config.run_format, full=config.verify)
    if config.alpha_from is not None:
        alpha = _alpha_of(config.alpha_from, config.options, progress)
        config = replace(config, options=replace(config.options, alpha=alpha))
    tuning = Tuning.open(config, alphas, files, progress) if alphas else None
    stage, told = _stage(config, files, tuning), searched(config.run, config.bm25_run)
    if config.dry_run:
        tried = f" after trying {len(alphas)} alphas" if alphas else ""
        return stage.planned(f"would fuse {config.run} with {config.bm25_run} into {stage.output}{tried}")
    if stage.up_to_date():
        known = stage.existing()
        return _made(stage, "up to date", known.counts, known.extra)
    with interruptible() as signals:
        extra: dict[str, Any] = {}
        counts: Mapping[str, int]
        if config.options.method != "rrf":
            extra = tuning.best(config, progress) if tuning else {"alpha": config.options.alpha}
        signals.check()
        parts = finished_parts(stage)
        if parts:
            with stage.write() as file, compressed(file, config.output.name) as inner:
                counts = join_parts(inner, parts)
        else:
            options = replace(config.options, alpha=extra.get("alpha", config.options.alpha))
            counts = _fuse(replace(config, options=options), files, stage, progress)
        signals.check()
        stage.commit(counts=counts, extra=extra | told)
    return _made(stage, "written", counts, extra)


def _check(config: FuseBm25Config) -> list[float]:
    """Refuse options that do not fit together; return the alphas to try."""
    if config.output.resolve() in (config.run.resolve(), config.bm25_run.resolve()):
        raise UsageError("--output is one of the runs to fuse; choose another name")
    rule = config.options
    if rule.method == "rrf":
        why = "is of weighted sums, and --method rrf adds reciprocal ranks; leave it out"
        refuse_given(rule, ("alpha", "missing", "weight_on"), why)
        refuse_given(config, ("tune", "alpha_from"), why)
    else:
        refuse_given(rule, ("rrf_k",), "goes with --method rrf")
    if config.tune is not None or config.alpha_from is not None:
        why = "stands beside --tune or --alpha-from, which give another; leave one of them out"
        refuse_given(rule, ("alpha",), why)
    if config.tune is None:
        if config.dev != DevConfig():
            raise UsageError("dev sets are for tuning; add --tune start:stop:step, or leave them out")
        return []
    alphas = parse_alphas(config.tune)
    if config.alpha_from is not None:
        raise UsageError("--tune finds an alpha and --alpha-from takes one; leave one of them out")
    if not (config.dev.qrels or config.dev.answers):
        raise UsageError("--tune needs dev sets to measure on; add --qrels DIR:dev or --answers DIR:dev")
    return alphas


def _alpha_of(path: Path, rule: FuseOptions, progress: Progress) -> float:
    """Return the alpha that a fused run was made with; says where that fusion was another one."""
    made = open_artefact(path, (STAGE,))
    alpha = made.extra.get("alpha")
    if alpha is None:
        raise PreconditionError(f"{path} was fused by ranks and has no alpha; give --alpha")
    weighed = made.options["weight_on"]
    if weighed != rule.weight_on:
        raise PreconditionError(
            f"the alpha of {path} weighs {weighed}; give --weight-on {weighed}, or --alpha"
        )
    others = [
        f"--{name} {made.options[name]} (here {wanted})"
        for name, wanted in (("missing", rule.missing), ("depth", rule.depth))
        if made.options[name] != wanted
    ]
    if others:
        progress.note(f"the alpha of {path} is of a fusion with {', '.join(others)}")
    return float(alpha)


def _stage(config: FuseBm25Config, files: RunFiles, tuning: Tuning | None) -> Stage:
    rule = config.options
    options: dict[str, Any] = {
        "method": rule.method,
        "depth": rule.depth,
        "hits": rule.hits,
        "form": "trec" + compression(config.output),
    }
    if rule.method == "rrf":
        options["rrf_k"] = rule.rrf_k
    else:
        alpha = tuning.alphas if tuning else rule.alpha
        options |= {"missing": rule.missing, "weight_on": rule.weight_on, "alpha": alpha}
    if config.run_format:
        options["run_format"] = [files.dense.form, files.bm25.form]
    inputs = files.fingerprints()
    if tuning is not None:
        options["measure"] = str(tuning.measure)
        for number, dev in enumerate(tuning.sets, 1):
            inputs |= dev.fingerprints(number)
    return part_of(Stage(config.output, "file", STAGE, VERSION, options, inputs, config.force), config.shard)


def _made(stage: Stage, state: str, counts: Mapping[str, int], extra: Mapping[str, Any]) -> Made:
    """Return the answer: the weight (none for ranks), and what tuning tried, as `Curve.as_json` gives it."""
    alpha, curve = extra.get("alpha"), extra.get("tuned")
    told = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items())
    lines = [told if alpha is None else f"{told}; alpha {alpha:g}"]
    if curve is not None:
        lines.append(f"alpha    mean {curve['measure']} over {', '.join(curve['sets'])}")
        for tried, mean in zip(curve["alphas"], curve["means"], strict=True):
            lines.append(f"{tried:<8g} {mean:.4f}{' *' if tried == curve['best'] else ''}")
    details = {"alpha": alpha, "counts": dict(counts), "tuned": curve}
    return Made(stage.output, state, {}, "\n".join(lines), details)


def _fuse(config: FuseBm25Config, files: RunFiles, stage: Stage, progress: Progress) -> dict[str, int]:
    """Write the fused run of the shard's queries; return the counts."""
    pair = files.aligned(weighed=config.options.method != "rrf")
    _note_absent(pair, config, progress)
    shard = shard_rows(len(pair.query_ids), *(config.shard or (0, 1)))
    fused = fuse(pair, config.options, span=(shard.start, shard.stop), threads=config.threads)
    with stage.write() as file:
        hits = write_run(file, fused, name=stage.output.name)
    return {"queries": len(fused), "hits": hits}


def _note_absent(pair: Pair, config: FuseBm25Config, progress: Progress) -> None:
    if not pair.query_ids:
        progress.note("neither run holds any hits; nor does the fused run")
    both = len(pair.query_ids) - sum(pair.absent())
    if both == 0 and all(len(run) for run in pair.runs):
        raise DataError(
            f"{config.run} and {config.bm25_run} have no query in common; give two runs of the same queries"
        )
    names = (config.run, config.bm25_run)
    for count, lacking, other in zip(pair.absent(), names, reversed(names), strict=True):
        if count and count == len(pair.query_ids):
            progress.note(f"{lacking} holds no hits at all; the fused run has those of {other} alone")
        elif count:
            progress.note(f"{count:,} queries are not in {lacking}; their hits are those of {other} alone")


@dataclass(frozen=True, slots=True)
class RunFiles:
    """The files of a dense and a BM25 run."""

    dense: RunFile
    bm25: RunFile
    full: bool = False

    @classmethod
    def of(cls, dense: Path, bm25: Path, forms: Sequence[str], *, full: bool = False) -> RunFiles:
        """Return them with their forms, none, one for both, or one for each.

        Raises:
            UsageError: BM25's run stands where the dense one is asked for, and the other way round.
        """
        if of_vectors(bm25) and of_vectors(dense) is False:
            raise UsageError(f"{dense} is BM25's run and {bm25} a model's; give them the other way round")
        dense_form, bm25_form = forms_for(forms, 2)
        return cls(RunFile(dense, dense_form), RunFile(bm25, bm25_form), full)

    def fingerprints(self, role: str = "{}", corpus: str | None = None) -> dict[str, str]:
        """Return role to fingerprint; ``role`` has a place for which of the two it is.

        Raises:
            VerificationError: one was found in other passages than ``corpus``.
        """
        files = {"dense": self.dense.path, "bm25": self.bm25.path}
        return {
            role.format(name): run_fingerprint(path, full=self.full, corpus=corpus)
            for name, path in files.items()
        }

    def aligned(self, *, weighed: bool) -> Pair:
        """Return the two runs, read.

        Raises:
            DataError: a broken run; one of ranks whose scores are to be ``weighed``.
        """
        dense, bm25 = (self._read(file, weighed) for file in (self.dense, self.bm25))
        return align(dense, bm25)

    def _read(self, file: RunFile, weighed: bool) -> Run:
        why, cure = "alpha weighs scores", "fuse by ranks (--method rrf)"
        return refuse_ranks(file.read(), file.path, why, cure) if weighed else file.read()


# ---- tuning ----


@dataclass(frozen=True, slots=True)
class DevFiles:
    """One dev set, opened but not read.

    Attributes:
        name: the last part of what was given: ``squad:dev``.
        inputs: role to fingerprint of what its hits are judged by.
        judgements: returns them; answers are looked for in so many hits of each list.
    """

    name: str
    runs: RunFiles
    inputs: Mapping[str, str]
    judgements: Callable[[Pair, int], Qrels]

    def fingerprints(self, number: int) -> dict[str, str]:
        """Return role to fingerprint of all that the set is made of.

        Raises:
            VerificationError: its runs were found in different passages, or in others than its own.
        """
        searched(self.runs.dense.path, self.runs.bm25.path)
        own = {f"dev {role} {number}": of for role, of in self.inputs.items()}
        return self.runs.fingerprints(f"dev {{}} {number}", self.inputs.get("corpus")) | own

    def read(self, measure: Measure, depth: int) -> DevSet:
        """Return the set with its runs read; answers are looked for in ``depth`` hits of each list."""
        pair = self.runs.aligned(weighed=True)
        qrels = self.judgements(pair, depth)

        def worth(fused: Run) -> float:
            return measure.aggregate(measure.values(judge(fused, qrels)))

        return DevSet(self.name, pair, qrels.query_ids, worth)


@dataclass(frozen=True, slots=True)
class Tuning:
    """The alphas to try, the dev sets to try them on, and what is measured."""

    alphas: list[float]
    sets: Sequence[DevFiles]
    measure: Measure

    @classmethod
    def open(cls, config: FuseBm25Config, alphas: list[float], fused: RunFiles, progress: Progress) -> Tuning:
        """Return the dev sets that the options name.

        Raises:
            UsageError: judgements and answers mixed, runs that do not match the sets, an unknown measure.
            PreconditionError: something is missing.
            DataError: a set of questions without answers.
        """
        dev = config.dev
        if dev.qrels and dev.answers:
            raise UsageError(
                "tune on --qrels or on --answers, not on both: their measures cannot be averaged"
            )
        if dev.qrels:
            why = "goes with --answers: it holds the texts that answers are looked for in"
            refuse_given(dev, ("corpus",), why)
        measure, runs = _measure(dev), _dev_runs(config, fused)
        if dev.qrels:
            sets = [_judged_set(*of) for of in zip(dev.qrels, runs, strict=True)]
        else:
            sets = _question_sets(dev, runs, progress)
        return cls(alphas, sets, measure)

    def best(self, config: FuseBm25Config, progress: Progress) -> dict[str, Any]:
        """Return the best alpha, and what was tried, for the manifest."""
        options, measure, alphas = config.options, self.measure, self.alphas
        sets = [files.read(measure, options.depth) for files in self.sets]
        curve = tune_alpha(sets, options, alphas, str(measure), threads=config.threads, progress=progress)
        if len(alphas) > 1 and min(curve.means) == max(curve.means):
            why = "the dev sets do not tell" if max(curve.means) else "no relevant passage is among the hits"
            progress.note(
                f"all {len(alphas)} alphas give the same {measure}, {curve.means[0]:.4f}: {why}; alpha "
                f"{curve.best:g} is taken as the smallest, not as the best"
            )
        elif len(alphas) > 1 and curve.best in (alphas[0], alphas[-1]):
            progress.note(
                f"the best alpha {curve.best:g} is an end of the range; a wider --tune may find a better one"
            )
        if measure.parameters.k is not None and measure.parameters.k > options.hits:
            progress.note(f"{measure} looks at more than the {options.hits} hits that are written (--hits)")
        return {"alpha": curve.best, "tuned": curve.as_json()}


def _dev_runs(config: FuseBm25Config, fused: RunFiles) -> list[RunFiles]:
    """Return the two runs of each dev set: those named, or the runs to fuse, which are the one set's."""
    dev = config.dev
    count = len(dev.qrels or dev.answers)
    if not dev.runs and not dev.bm25_runs and count == 1:
        return [fused]
    if (len(dev.runs), len(dev.bm25_runs)) != (count, count):
        raise UsageError(
            f"{count} dev sets need as many --dev-run and --dev-bm25-run, in the same order; "
            f"there are {len(dev.runs)} and {len(dev.bm25_runs)}"
        )
    pairs = zip(dev.runs, dev.bm25_runs, strict=True)
    return [RunFiles.of(*pair, config.run_format, full=config.verify) for pair in pairs]


def _judged_set(spec: str, runs: RunFiles) -> DevFiles:
    file = find_qrels(spec)
    return DevFiles(Path(spec).name, runs, {"qrels": sha256_of(file)}, lambda pair, depth: read_qrels(file))


def _question_sets(dev: DevConfig, runs: Sequence[RunFiles], progress: Progress) -> list[DevFiles]:
    count = len(dev.answers)
    if len(dev.corpus) not in (0, 1, count):
        raise UsageError(
            f"there are {count} --answers and {len(dev.corpus)} --corpus; give one corpus for all or one for "
            "each"
        )
    corpora: Sequence[str | None] = (
        dev.corpus if len(dev.corpus) == count else (*dev.corpus, None)[:1] * count
    )
    found = []
    for spec, corpus, pair in zip(dev.answers, corpora, runs, strict=True):
        notes: list[str] = []
        queries = Collection.open(spec, "queries").queries()
        answers = prepare_answers(queries, notes)
        for note in notes:
            progress.note(f"{Path(spec).name}: {note}")
        store = open_corpus(corpus, spec, progress, full=pair.full)
        inputs = {"answers": questions_fingerprint(queries), "corpus": store.sha256}
        judgements = partial(_judged_by_answers, queries.ids(), answers, store)
        found.append(DevFiles(Path(spec).name, pair, inputs, judgements))
    return found


def _judged_by_answers(
    ids: Sequence[str], answers: Sequence[Answers], corpus: TextStore, pair: Pair, depth: int
) -> Qrels:
    row_of = {query_id: row for row, query_id in enumerate(pair.query_ids)}
    hits = {query_id: pair.passages_of(row_of[query_id], depth) for query_id in ids if query_id in row_of}
    return judge_by_answers(hits, ids, answers, text_reader(corpus))


def _measure(dev: DevConfig) -> Measure:
    if dev.qrels:
        text = dev.metric or "nDCG@10"
        measures = parse_measures(text)
    else:
        text = dev.metric or "top20"
        measures = [measure for k in parse_top_k(text) for measure in parse_measures(f"Success@{k}")]
    if len(measures) != 1:
        raise UsageError(f"--metric {quoted(text)} names {len(measures)} measures; tuning takes one")
    if measures[0].definition.aggregate == "sum":
        raise UsageError(f"--metric {quoted(text)} is a count; tune on a mean such as nDCG@10")
    return measures[0]
