"""What ``fuse-bm25`` is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from dretrieve.jobs.configs.base import ReadingRuns, Sharded, Verifying, Writing
from dretrieve.options import REQUIRED, option
from dretrieve.runs.options import FuseOptions

_tuning = partial(option, panel="Tuning")


@dataclass(frozen=True, kw_only=True)
class DevConfig:
    """What names the dev sets; the sets' runs stand in their order."""

    qrels: tuple[str, ...] = _tuning((), "Dev set with judgements; repeatable.", metavar="DIR:SPLIT")
    answers: tuple[str, ...] = _tuning((), "Dev set with answers; repeatable.", metavar="DIR:SPLIT")
    corpus: tuple[str, ...] = _tuning((), "Passages where --answers has none.", metavar="DIR")
    runs: tuple[Path, ...] = _tuning((), "Dense run of each dev set; else --run.", flag="--dev-run")
    bm25_runs: tuple[Path, ...] = _tuning(
        (), "BM25 run of each dev set; else --bm25-run.", flag="--dev-bm25-run"
    )
    metric: str | None = _tuning(None, "nDCG@10 by default; top20 with answers.")


@dataclass(frozen=True, kw_only=True)
class FuseBm25Config(Writing, ReadingRuns, Sharded, Verifying):
    """With --tune one alpha is chosen for all dev sets together.

    It is written, with the curve, into the run's manifest. Without --shard, finished parts beside the output
    are joined.

    Examples:
        dretrieve fuse-bm25 --run dense.trec --bm25-run bm25.trec --alpha 1.1 --output fused.trec
        dretrieve fuse-bm25 --run dev.trec --bm25-run dev-bm25.trec --tune 0.5:2:0.1 --qrels D:dev -o o.trec
        dretrieve fuse-bm25 --run test.trec --bm25-run test-bm25.trec --alpha-from o.trec --output fused.trec
    """

    run: Path = option(REQUIRED, "The dense run.", aliases=("--dense-run",))
    bm25_run: Path = option(REQUIRED, "The BM25 run of the same queries.")
    options: FuseOptions = field(default_factory=FuseOptions)
    tune: str | None = _tuning(None, "Try these alphas on the dev sets.", metavar="A:B:STEP")
    dev: DevConfig = field(default_factory=DevConfig)
    alpha_from: Path | None = _tuning(None, "Take the alpha tuned for that run.", metavar="RUN")
    threads: int = 1
