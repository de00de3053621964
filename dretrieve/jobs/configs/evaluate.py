"""What ``evaluate`` is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from dretrieve.errors import UsageError
from dretrieve.jobs.configs.base import Careful, ReadingRuns, ReadingTopics, Verifying, given
from dretrieve.metrics.options import RelevanceOptions
from dretrieve.options import check, option

_measures = partial(option, panel="Measures")
_shown = partial(option, panel="Output")


@dataclass(frozen=True, kw_only=True)
class EvaluateConfig(Careful, ReadingRuns, ReadingTopics, Verifying):
    """Values are trec_eval's; queries that the run lacks count as 0.

    Measures of judgements: AP, Bpref, ERR, GMAP, IPrec, Judged, nDCG, NumQ, NumRel, NumRelRet, NumRet, P, R,
    RBP, Rprec, RR, SetAP, SetF, SetP, SetR, Success, trec_eval's sets official, set and all_trec; of answers:
    top1, top20 and so on; of predictions: EM, F1, and EM alone where the answers are patterns (CuratedTREC).

    Examples:
        dretrieve evaluate --run run.trec --qrels work/pydocs:test --metrics "nDCG@10 R@100"
        dretrieve evaluate --run bm25.trec --run dense.trec --qrels work/pydocs:test --compare
        dretrieve evaluate --run run.trec --answers nq:test --corpus wiki --metrics "top20 top100"
    """

    runs: tuple[Path, ...] = given(
        (),
        "A run in any form (TREC, MS MARCO, DPR JSON …); the first is the baseline.",
        flag="--run",
        aliases=("--runs", "--retrieval"),
    )
    qrels: str | None = given(None, "Judgements, or a qrels file.", metavar="DIR[:SPLIT]")
    answers: str | None = given(None, "Questions with answers, for top20.", metavar="DIR[:SPLIT]")
    corpus: str | None = given(None, "Passages searched (with --answers).", metavar="DIR")
    predictions: tuple[Path, ...] = given((), "A reader's answers by query id, for EM and F1.")
    metrics: str = _measures(
        "",
        'As ir_measures names them: "nDCG@10 RR@10 R@100" when nothing is said, P(rel=2)@5 and the like; '
        "trec_eval's ndcg_cut.10 too; of answers top1, top5, top20 and top100.",
        repeated=True,
        parse=" ".join,
        aliases=("--metric", "-m"),
    )
    options: RelevanceOptions = field(default_factory=RelevanceOptions)
    complete: bool = option(False, "The default, as trec_eval -c.", aliases=("-c",), hidden=True)
    level: int | None = option(None, "Explained: write AP(rel=2).", aliases=("-l",), hidden=True)
    by: str | None = _measures(None, "Also by this field of the queries: macro, micro.", metavar="FIELD")
    compare: bool = _measures(False, "Test every run against the first.")
    seed: int = _measures(0, "Seed of the randomisation test.")
    output: Path | None = _shown(None, "JSON file with means and every query.", aliases=("-o",))
    per_query: bool = _shown(False, "Show every query too (trec_eval's -q, which is --quiet here).")
    form: str = _shown(
        "terminal",
        "How it is printed.",
        legal=("terminal", "markdown", "latex", "tsv", "json"),
        flag="--format",
    )

    def __post_init__(self) -> None:
        check(self)
        if self.complete and self.options.retrieved_only:
            raise UsageError("--complete and --retrieved-only exclude each other; leave one out")
        if self.topic_field and self.answers is None:
            raise UsageError("--topic-field goes with --answers: judgements are by id")
        if self.level is not None:
            raise UsageError(
                "the lowest relevant grade belongs to the measure, as in ir_measures: write "
                f"AP(rel={self.level}) or P(rel={self.level})@10 instead of -l {self.level}"
            )
