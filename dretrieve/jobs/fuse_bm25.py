"""fuse-bm25: a dense run and a BM25 run become one; the weight is given, tuned here, or taken from a run."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from dretrieve.errors import DataError, DretrieveError, PreconditionError, UsageError
from dretrieve.jobs.fuse_dev_sets import DevConfig, DevInput, open_dev_sets, read_weighed
from dretrieve.jobs.inputs import run_fingerprint
from dretrieve.metrics.measure import Measure
from dretrieve.runs.fuse import FuseOptions, Pair, align, fuse
from dretrieve.runs.lines import forms_for
from dretrieve.runs.read import read_run
from dretrieve.runs.tune import parse_alphas, tune_alpha
from dretrieve.runs.write import compressed, compression, write_run
from dretrieve.store.interrupt import interruptible
from dretrieve.store.shards import shard_rows, shard_stem
from dretrieve.store.stage import Planned, Stage, open_artefact
from dretrieve.types import Progress, Silent

STAGE, VERSION = "fuse-bm25", 1


@dataclass(frozen=True, kw_only=True, slots=True)
class FuseConfig:
    """What to fuse.

    Attributes:
        run: the dense run.
        bm25_run: the BM25 run.
        run_format: forms of the dense runs and of the BM25 runs, one for both or one for each.
        output: the fused run.
        options: the rule; its alpha holds unless tuned or taken.
        tune: candidates ``start:stop:step``, None to tune nothing.
        dev: the dev sets.
        alpha_from: a fused run whose tuned alpha is taken.
        shard: (index, count), a part of the queries; None does all, or joins the parts that stand there.
        threads: at least 1.
        force: replace a result of other options.
        dry_run: only say what would be done.
    """

    run: Path
    bm25_run: Path
    output: Path
    run_format: tuple[str, ...] = ()
    options: FuseOptions = field(default_factory=FuseOptions)
    tune: str | None = None
    dev: DevConfig = field(default_factory=DevConfig)
    alpha_from: Path | None = None
    shard: tuple[int, int] | None = None
    threads: int = 1
    force: bool = False
    dry_run: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class FuseResult:
    """What stands in the output now.

    Attributes:
        output: the run.
        state: ``written``, ``up to date`` or ``planned``.
        alpha: the weight used; None for ranks.
        counts: queries and hits.
        curve: what tuning tried, as `Curve.as_json` gives it.
    """

    output: Path
    state: str
    alpha: float | None
    counts: Mapping[str, int]
    curve: Mapping[str, Any] | None = None

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {
            "output": str(self.output),
            "state": self.state,
            "alpha": self.alpha,
            "counts": dict(self.counts),
            "tuned": dict(self.curve) if self.curve is not None else None,
        }

    def render(self) -> str:
        """Return some lines for people."""
        counts = ", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in self.counts.items())
        weight = "" if self.alpha is None else f"; alpha {self.alpha:g}"
        lines = [f"{self.output}: {self.state}; {counts}{weight}"]
        if self.curve is not None:
            lines.append(f"alpha    mean {self.curve['measure']} over {', '.join(self.curve['sets'])}")
            for alpha, mean in zip(self.curve["alphas"], self.curve["means"], strict=True):
                lines.append(f"{alpha:<8g} {mean:.4f}{' *' if alpha == self.curve['best'] else ''}")
        return "\n".join(lines)


def run(config: FuseConfig, progress: Progress | None = None) -> FuseResult | Planned:
    """Fuse; an output of the same options and inputs is up to date.

    Raises:
        UsageError: options that do not fit together, an empty range, dev sets without judgements or answers.
        PreconditionError: a run is missing.
        DataError: a run that breaks its format, dev runs of other queries.
        Interrupted: a signal came; the same command begins again.
    """
    progress = progress or Silent()
    alphas = _check(config)
    if config.alpha_from is not None:
        config = replace(config, options=replace(config.options, alpha=_alpha_of(config.alpha_from)))
    dev = (
        open_dev_sets(config.dev, (config.run, config.bm25_run), _forms(config), progress) if alphas else None
    )
    stage = _stage(config, alphas, dev)
    if config.dry_run:
        tried = f" after trying {len(alphas)} alphas" if alphas else ""
        return stage.planned(f"would fuse {config.run} with {config.bm25_run} into {stage.output}{tried}")
    if stage.up_to_date():
        known = stage.existing()
        return _result(config, "up to date", known.counts, known.extra)
    with interruptible() as signals:
        extra = _weight(config, alphas, dev, progress)
        signals.check()
        counts = _join(config, stage) or _fuse(config, stage, extra, progress)
        signals.check()
        stage.commit(counts=counts, extra=extra)
    return _result(config, "written", counts, extra)


def part_path(output: Path, index: int, count: int) -> Path:
    """Return where a part of the queries goes: ``fused.trec.shard-00000-of-00004``."""
    return output.with_name(f"{output.name}.{shard_stem(index, count)}")


def _forms(config: FuseConfig) -> tuple[str, str]:
    dense, bm25 = forms_for(config.run_format, 2)
    return dense, bm25


def _check(config: FuseConfig) -> list[float]:
    """Refuse options that do not fit together; return the alphas to try."""
    if config.output.resolve() in (config.run.resolve(), config.bm25_run.resolve()):
        raise UsageError("--output is one of the runs to fuse; choose another name")
    if config.tune is None:
        if config.dev != DevConfig():
            raise UsageError("dev sets are for tuning; add --tune start:stop:step, or leave them out")
        return []
    alphas = parse_alphas(config.tune)
    if config.options.method == "rrf":
        raise UsageError("--method rrf has no alpha; leave --tune out")
    if config.alpha_from is not None:
        raise UsageError("--tune finds an alpha and --alpha-from takes one; leave one of them out")
    if not (config.dev.qrels or config.dev.answers):
        raise UsageError("--tune needs dev sets to measure on; add --qrels DIR:dev or --answers DIR:dev")
    return alphas


def _alpha_of(path: Path) -> float:
    """Return the alpha that a fused run was made with."""
    manifest = open_artefact(path, (STAGE,))
    alpha = manifest.extra.get("alpha")
    if alpha is None:
        raise PreconditionError(f"{path} was fused by ranks and has no alpha; give --alpha")
    return float(alpha)


def _stage(config: FuseConfig, alphas: list[float], dev: DevInput | None) -> Stage:
    options: dict[str, Any] = {
        "method": config.options.method,
        "depth": config.options.depth,
        "hits": config.options.hits,
        "form": "trec" + compression(config.output),
    }
    if config.options.method == "rrf":
        options["rrf_k"] = config.options.rrf_k
    else:
        options |= {"missing": config.options.missing, "weight_on": config.options.weight_on}
        options["alpha"] = alphas or config.options.alpha
    if config.run_format:
        options["run_format"] = list(_forms(config))
    inputs = {"dense": run_fingerprint(config.run), "bm25": run_fingerprint(config.bm25_run)}
    if dev is not None:
        options["measure"] = str(dev.measure)
        inputs |= dev.fingerprints
    output = config.output
    if config.shard is not None:
        options["shard"] = list(config.shard)
        output = part_path(config.output, *config.shard)
    return Stage(output, "file", STAGE, VERSION, options, inputs, config.force)


def _weight(
    config: FuseConfig, alphas: list[float], dev: DevInput | None, progress: Progress
) -> dict[str, Any]:
    """Return the alpha, and what tuning tried, for the manifest."""
    if config.options.method == "rrf":
        return {}
    if dev is None:
        return {"alpha": config.options.alpha}
    sets = dev.load(config.options.depth)
    curve = tune_alpha(
        sets, config.options, alphas, str(dev.measure), threads=config.threads, progress=progress
    )
    if len(alphas) > 1 and min(curve.means) == max(curve.means):
        why = "no relevant passage is among the hits" if not max(curve.means) else "the dev sets do not tell"
        progress.note(
            f"all {len(alphas)} alphas give the same {dev.measure}, {curve.means[0]:.4f}: {why}; alpha "
            f"{curve.best:g} is taken as the smallest, not as the best"
        )
    elif len(alphas) > 1 and curve.best in (alphas[0], alphas[-1]):
        progress.note(
            f"the best alpha {curve.best:g} is an end of the range; a wider --tune may find a better one"
        )
    _note_depth(config, dev.measure, progress)
    return {"alpha": curve.best, "tuned": curve.as_json()}


def _note_depth(config: FuseConfig, measure: Measure, progress: Progress) -> None:
    if measure.parameters.k is not None and measure.parameters.k > config.options.hits:
        progress.note(
            f"{measure} looks at more than the {config.options.hits} hits that are written (--hits)"
        )


def _fuse(config: FuseConfig, stage: Stage, extra: Mapping[str, Any], progress: Progress) -> dict[str, int]:
    """Write the fused run of the shard's queries; return the counts."""
    paths, forms = (config.run, config.bm25_run), _forms(config)
    if config.options.method == "rrf":
        pair = align(*(read_run(*each) for each in zip(paths, forms, strict=True)))
    else:
        pair = align(*read_weighed(paths, forms))
    _note_absent(pair, config, progress)
    shard = shard_rows(len(pair.query_ids), *(config.shard or (0, 1)))
    options = replace(config.options, alpha=extra.get("alpha", config.options.alpha))
    fused = fuse(pair, options, span=(shard.start, shard.stop), threads=config.threads)
    with stage.write() as file:
        hits = write_run(file, fused, name=stage.output.name)
    return {"queries": len(fused), "hits": hits}


def _note_absent(pair: Pair, config: FuseConfig, progress: Progress) -> None:
    if not pair.query_ids:
        progress.note("neither run holds any hits; nor does the fused run")
    for count, lacking, other in zip(
        pair.absent(), (config.run, config.bm25_run), (config.bm25_run, config.run), strict=True
    ):
        if count and count == len(pair.query_ids):
            progress.note(f"{lacking} holds no hits at all; the fused run has those of {other} alone")
        elif count:
            progress.note(f"{count:,} queries are not in {lacking}; their hits are those of {other} alone")
    both = len(pair.query_ids) - sum(pair.absent())
    if both == 0 and all(len(offsets) > 1 for offsets, _, _ in (pair.dense, pair.bm25)):
        raise DataError(
            f"{config.run} and {config.bm25_run} have no query in common; give two runs of the same queries"
        )


def _join(config: FuseConfig, whole: Stage) -> dict[str, int]:
    """Write the finished parts one after the other: the bytes that one process would have written.

    Returns:
        The counts, empty when no complete set of parts stands beside the output.
    """
    if config.shard is not None:
        return {}
    found: dict[int, dict[int, tuple[Path, Mapping[str, int]]]] = {}
    for path in sorted(config.output.parent.glob(f"{config.output.name}.shard-*-of-?????")):
        try:
            manifest = open_artefact(path, (STAGE,))
        except DretrieveError:
            continue
        options = dict(manifest.options)
        index, count = options.pop("shard", (0, 0))
        if options == dict(whole.options) and dict(manifest.inputs) == dict(whole.inputs):
            found.setdefault(count, {})[index] = (path, manifest.counts)
    for count, parts in found.items():
        if len(parts) == count:
            with whole.write() as file, compressed(file, config.output.name) as inner:
                _append(inner, [parts[index][0] for index in range(count)])
            return {name: sum(part[name] for _, part in parts.values()) for name in ("queries", "hits")}
    return {}


def _append(file: IO[bytes], paths: list[Path]) -> None:
    for path in paths:
        with open(path, "rb") as part:
            shutil.copyfileobj(part, file)


def _result(
    config: FuseConfig, state: str, counts: Mapping[str, int], extra: Mapping[str, Any]
) -> FuseResult:
    output = config.output if config.shard is None else part_path(config.output, *config.shard)
    alpha = extra.get("alpha")
    return FuseResult(output=output, state=state, alpha=alpha, counts=dict(counts), curve=extra.get("tuned"))
