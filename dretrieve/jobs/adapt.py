"""adapt: the alignment of tokens that is best for a few labelled queries, measured on the others."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import DataError, UsageError
from dretrieve.index.base import Passages
from dretrieve.index.exact import ExactOptions
from dretrieve.index.registry import kind_at, open_vector_index
from dretrieve.index.token import TokenIndex, search_each
from dretrieve.index.top_k import TopK
from dretrieve.jobs.configs.adapt import AdaptConfig
from dretrieve.jobs.inputs import find_qrels
from dretrieve.jobs.search import open_queries, resolved_device, settings_of
from dretrieve.metrics.measure import Measure
from dretrieve.metrics.options import RelevanceOptions
from dretrieve.metrics.registry import parse_measures
from dretrieve.metrics.relevance import score_relevance
from dretrieve.reports.tables import indented_json
from dretrieve.runs.adapt import Adapted, adapted, best_of
from dretrieve.runs.checkpoint import Checkpoint, discard_checkpoint
from dretrieve.runs.search import Queries, as_run, check_queries
from dretrieve.scoring.alignment import Alignment, doubts, parse_grid
from dretrieve.store.atomic import make_folder
from dretrieve.store.interrupt import Signals, interruptible
from dretrieve.store.stage import Made, Planned, Stage
from dretrieve.store.state import recorded_state
from dretrieve.text.files import sha256_of
from dretrieve.text.qrels import read_qrels
from dretrieve.types import SILENT, Progress, Qrels, Vectors

STAGE, VERSION = "adapt", 4
DRAWS = 10  # of folds, for the spread of their standard deviation
QUERIES_AT_ONCE = 128  # where a search is not exact; then what was found is saved


def _made(output: Path, state: str, found: Mapping[str, Any]) -> Made:
    """Return the answer: ``found`` is what stands in the file, but for single queries and folds."""
    lines = [f"alignment {found['alignment']}"]
    lines += [_said(found["metric"], of) for of in found["folds"].values() if of["mean"] is not None]
    grid = ", ".join(f"{name} {value:.4f}" for name, value in found["grid"].items())
    lines.append(f"over all {found['num_queries']:,} labelled queries: {grid}")
    lines.append(f"next: dretrieve search … --hits {found['hits']} --set alignment={quote(str(output))}")
    return Made(output, state, {}, "\n".join(lines), found)


def _said(metric: str, of: Mapping[str, Any]) -> str:
    """Return what folds of one size are worth outside themselves."""
    if of["std"] is None:
        about = f"outside one fold of {of['examples']} examples, which has no standard deviation"
        return f"{metric} {of['mean']:.4f} {about}"
    folds = f"{of['num_folds']:,} folds of {of['examples']} examples"
    return f"{metric} {of['mean']:.4f} ± {of['std']:.4f} outside {folds}"


def run(config: AdaptConfig, progress: Progress = SILENT) -> Made | Planned:
    """Search by every alignment of the grid, choose, measure, and write the file.

    Raises:
        UsageError: a grid or measure that there is not; an index whose score aligns in one way only.
        DataError: fewer labelled queries than a fold has; judged passages that are not in the index.
        PreconditionError: an input is missing; the output holds something else.
        VerificationError: queries and passages of different models; changed bytes.
        Interrupted: a signal came; the same command continues.
    """
    with interruptible() as signals:
        work = _opened(config, progress, signals)
        stage = work.stage
        if config.dry_run:
            rows, count = work.index.passages.rows, len(work.queries.ids)
            plan = f"would search {rows:,} passages with {count:,} queries by {len(work.grid)} alignments"
            return stage.planned(plan, {"queries": count, "passages": rows})
        if stage.up_to_date():
            discard_checkpoint(config.output)
            return _made(config.output, "up to date", stage.existing().extra["found"])
        ids = _labelled(work, progress)
        make_folder(stage.folder)
        with recorded_state(stage.manifest_file, STAGE, stage.fingerprint):
            started = time.monotonic()
            values = _values(work, ids, progress, signals)
            seconds = time.monotonic() - started
            whole, found = _described(work, ids, values)
            with stage.write(text=True) as file:
                file.write(indented_json(whole, levels=4) + "\n")
            folds = sum(of["num_folds"] for of in found["folds"].values())
            counts = {"queries": len(ids), "folds": folds}
            stage.commit(counts, {"found": found}, {"search_seconds": round(seconds, 3)})
        discard_checkpoint(config.output)
    return _made(config.output, "written", found)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Work:
    """A config with everything in it opened and checked."""

    config: AdaptConfig
    grid: Sequence[Alignment]
    measure: Measure
    index: TokenIndex
    queries: Queries
    qrels: Qrels
    stage: Stage


def _opened(config: AdaptConfig, progress: Progress, signals: Signals) -> _Work:
    grid, measure = parse_grid(config.grid), _measure(config.metric)
    of_index, of_model = settings_of(config, config.settings)
    index = _index(config, of_index)
    qrels_file = find_qrels(config.qrels)
    queries = open_queries(config, of_model, index.passages, progress, signals)
    options = {
        "grid": [str(of) for of in grid],
        "metric": str(measure),
        "examples": list(config.examples),
        "drop_self": config.drop_self,
        "seed": config.seed,
        **{name: value for name, value in index.search_options.items() if name != "alignment"},
    }
    inputs = {
        "passages": index.passages.embeddings.fingerprint,
        "queries": queries.fingerprint,
        "qrels": sha256_of(qrels_file),
        **({"query_model": queries.query_model} if queries.query_model else {}),
    }
    return _Work(
        config=config,
        grid=grid,
        measure=measure,
        index=index,
        queries=queries,
        qrels=read_qrels(qrels_file),
        stage=Stage(config.output, "file", STAGE, VERSION, options, inputs, config.force),
    )


def _measure(word: str) -> Measure:
    measures = parse_measures(word)
    if len(measures) != 1 or measures[0].definition.aggregate != "mean":
        raise UsageError(f"--metric {word}: alignments are chosen by the mean of one measure")
    return measures[0]


def _index(config: AdaptConfig, settings: Mapping[str, Any]) -> TokenIndex:
    kind, full = kind_at(config.index), config.verify
    index = open_vector_index(config.index, full=full, settings=settings) if kind == "token" else None
    if not isinstance(index, TokenIndex) or not index.score.alignment:
        what = (
            f"an index of type {kind}" if index is None else f"compared by {index.passages.embeddings.score}"
        )
        raise UsageError(
            f"{config.index} is {what}, where no alignment of tokens can be chosen; give an index over the "
            "vectors of an aligner model"
        )
    return index


def _labelled(work: _Work, progress: Progress) -> list[str]:
    """Return the queries that have a relevant passage; say what makes the grid doubtful."""
    config, asked = work.config, work.queries.ids
    positives = work.qrels.positives()
    ids = [query_id for query_id in asked if positives.get(query_id)]
    if len(ids) < max(config.examples):
        raise DataError(
            f"{config.qrels} has a relevant passage for {len(ids):,} of the {len(asked):,} queries, and a "
            f"fold takes {max(config.examples)}; label more, or give fewer --examples"
        )
    passages = work.index.passages
    judged = {passage_id for query_id in ids for passage_id in positives[query_id]}
    missing = sorted(judged.difference(passages.ids(np.arange(passages.rows))))
    if len(missing) == len(judged):
        raise DataError(
            f"none of the {len(judged):,} relevant passages of {config.qrels} (such as '{missing[0]}') is in "
            f"{config.index}; give the judgements of the collection that was encoded"
        )
    if missing:
        progress.note(f"{len(missing):,} of {len(judged):,} relevant passages are not in {config.index}")
    for note in filter(None, (doubts(of, passages.lengths()) for of in work.grid)):
        progress.note(note)
    return ids


def _values(work: _Work, ids: Sequence[str], progress: Progress, signals: Signals) -> NDArray[np.float64]:
    """Return [S, Q], what each alignment is worth for each labelled query."""
    passages, vectors, measure = work.index.passages, work.queries.load(), work.measure
    check_queries(work.queries, vectors, passages)
    drop = work.config.drop_self
    places = {query_id: row for row, query_id in enumerate(work.queries.ids)}
    asked = vectors.take(np.array([places[query_id] for query_id in ids]))
    kept = _searched(work, asked, min(_depth(work), passages.rows), progress, signals)
    values = np.empty((len(kept), len(ids)))
    for number, hits in enumerate(kept):
        found = as_run(ids, hits, passages)
        how = RelevanceOptions(drop_self=drop)
        scores = score_relevance(str(work.grid[number]), found, work.qrels, [measure], how)
        of = dict(zip(scores.query_ids, scores.values[str(measure)].tolist(), strict=True))
        values[number] = [of[query_id] for query_id in ids]
    return values


def _depth(work: _Work) -> int:
    """Return how many hits the measure looks at, and one more where the query itself may be one."""
    return work.measure.depth + work.config.drop_self


def _searched(work: _Work, asked: Vectors, depth: int, progress: Progress, signals: Signals) -> list[TopK]:
    """Return the hits by each alignment, saving what was found from time to time."""
    index, passages, count, size = work.index, work.index.passages, len(work.grid), len(asked)
    ways = [index.by(str(of), work.config.index) for of in work.grid]
    whole, unit = (passages.rows, "passages") if index.exact else (size, "queries")
    checkpoint = Checkpoint.of(work.config.output, f"{work.stage.fingerprint} {unit}", passages, asked)
    # the heaps of all alignments below each other, so that they are saved as those of one search
    every, reached = checkpoint.load(TopK.empty(count * size, depth), 0)
    kept = [every.part(slice(start, start + size)) for start in range(0, count * size, size)]
    progress.start("search", whole, unit, reached)

    def after(done: int, _: TopK | None = None) -> None:
        nonlocal reached
        progress.advance(done - reached)
        reached = done
        checkpoint.save(every, done, now=signals.received is not None)
        signals.check()

    least = min(ways, key=lambda by: min(by.tuned.measured.values()) if by.tuned else 1.0)
    if said := least.search_options.get("said"):
        progress.note(f"{least.score.alignment}, the least sure of the grid: {said}")
    options = ExactOptions(
        threads=work.config.threads,
        device=resolved_device(work.config.device),
        after_block=lambda row, _: signals.check(),
        reached=lambda found: signals.check(),
    )
    if index.exact:
        saving = ExactOptions(threads=options.threads, after_block=after)
        search_each(ways, asked, kept, (reached, whole), saving)
    for start in range(reached, size, QUERIES_AT_ONCE) if not index.exact else ():
        some = slice(start, min(start + QUERIES_AT_ONCE, size))
        # heaps of their own, so that what is saved never holds a part of the hits
        found = [TopK.empty(some.stop - start, depth) for _ in ways]
        search_each(ways, asked[some], found, (0, passages.rows), options)
        for own, hits in zip(kept, found, strict=True):
            own.part(some).take(hits)
        after(some.stop)
    progress.finish()
    return kept


def _described(
    work: _Work, ids: Sequence[str], values: NDArray[np.float64]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return what the file holds, and the part of it without single queries and folds."""
    config, grid, passages = work.config, work.grid, work.index.passages
    costs, name = _costs(grid, passages), str(work.measure)
    names = ["adapted", *(f"adapted{size}" for size in config.examples[1:])]
    seeds = range(config.seed, config.seed + DRAWS)
    drawn = [[adapted(values, costs, size, seed) for seed in seeds] for size in config.examples]
    by_size = [draws[0] for draws in drawn]
    best = best_of(values, costs)
    found: dict[str, Any] = {
        "alignment": str(grid[best]),
        "hits": _depth(work),
        "passage_model": passages.embeddings.passage_fingerprint,
        "metric": name,
        "num_queries": len(ids),
        "folds": {
            run: _spread(draws, size) for run, draws, size in zip(names, drawn, config.examples, strict=True)
        },
        "grid": {str(of): float(row.mean()) for of, row in zip(grid, values, strict=True)},
    }
    folds = {
        run: {**found["folds"][run], "each": _each_fold(choice, grid, ids)}
        for run, choice in zip(names, by_size, strict=True)
    }
    by_name = dict(zip(names, (choice.by_query for choice in by_size), strict=True))
    by_name |= {"oracle": values[best]} | {str(of): row for of, row in zip(grid, values, strict=True)}
    runs = [_entry(run, name, ids, of) for run, of in by_name.items() if not np.isnan(of).all()]
    return {**found, "folds": folds, "measures": [name], "runs": runs}, found


def _spread(draws: Sequence[Adapted], size: int) -> dict[str, Any]:
    """Return what folds of one size are worth, as first drawn, and their deviation in each draw.

    None where nothing is outside, where there is one fold.
    """
    outside = draws[0].outside
    stds = [float(draw.outside.std(ddof=1)) for draw in draws] if len(outside) > 1 else None
    return {
        "examples": size,
        "num_folds": len(outside),
        "mean": None if np.isnan(outside).any() else float(outside.mean()),
        "std": stds and stds[0],
        "stds": stds,
    }


def _each_fold(choice: Adapted, grid: Sequence[Alignment], ids: Sequence[str]) -> list[dict[str, Any]]:
    return [
        {
            "alignment": str(grid[strategy]),
            "outside": None if np.isnan(value) else float(value),
            "examples": [ids[query] for query in fold.tolist()],
        }
        for fold, strategy, value in zip(choice.folds, choice.chosen, choice.outside, strict=True)
    ]


def _entry(run: str, measure: str, ids: Sequence[str], values: NDArray[np.float64]) -> dict[str, Any]:
    """Return a run in the form of ``evaluate --output``, so that runs can be compared with it."""
    known = np.flatnonzero(~np.isnan(values)).tolist()
    each = {ids[query]: {measure: float(values[query])} for query in known}
    mean = {measure: float(values[known].mean())}
    return {"name": run, "num_queries": len(each), "mean": mean, "notes": [], "per_query": each}


def _costs(grid: Sequence[Alignment], passages: Passages) -> NDArray[np.float64]:
    """Return [S], with how many tokens of a passage each alignment compares a query token on average."""
    lengths = passages.lengths()
    lengths = lengths[lengths > 0]
    return np.array([of.counts(lengths).mean() if len(lengths) else 0.0 for of in grid])
