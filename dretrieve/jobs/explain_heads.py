"""The explanation ``heads``: how well the relevance of each head tells judged passages from a run's others.

ReAtt, section 2.3: over a query's first 100 hits (of BM25, there) the correlation of r_h with the judgement,
for each head h of layer B + 1. The paper does not say whether pairs of all queries are correlated together;
scores of two queries are not comparable, so ours is Pearson's correlation over one query's hits, averaged
over queries, and the other stands beside it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dretrieve.errors import UsageError
from dretrieve.jobs.explain import Explanation
from dretrieve.jobs.explain_texts import Part, Reading, hit_record, refuse_picture, token_batches
from dretrieve.models.loading import LoadedModel
from dretrieve.models.reatt import Reatt
from dretrieve.reports.html import Figure, Section
from dretrieve.reports.plots import Axes, bars
from dretrieve.reports.routing_page import rounded
from dretrieve.reports.tables import Cell, Table
from dretrieve.runs.read import read_run
from dretrieve.types import Progress, Record, Run, Side

DEPTH, AT_ONCE = 100, 16  # hits of a query; queries whose passages are encoded together


@dataclass(frozen=True, slots=True)
class Candidates:
    """A query with its hits of the run, and which of them are relevant."""

    query: Record
    hits: Sequence[str]
    relevant: NDArray[np.bool_]


def explain(model: LoadedModel, reading: Reading, progress: Progress) -> Explanation:
    """Return the correlation of each head's relevance with the judgement.

    Raises:
        UsageError: no run, queries or judgements; no query has both relevant and other hits.
        VerificationError: a run of another collection.
    """
    method = model.encoder
    assert isinstance(method, Reatt)
    refuse_picture(reading, model, allowed=("--run",))
    if reading.config.run is None or reading.drawn is None:
        raise UsageError("give --queries DIR:split and --run RUN: heads are told apart over a run's hits")
    run = read_run(reading.config.run)
    scores: list[NDArray[np.float64]] = []
    labels: list[NDArray[np.bool_]] = []
    asked = 0
    for part in reading.parts:
        records = part.samples["query"].records
        asked += len(records)
        found = list(_candidates(run, records, part.positives))
        progress.start(f"heads over {part.name}'s hits", len(found), "queries")
        for start in range(0, len(found), AT_ONCE):
            some = found[start : start + AT_ONCE]
            scores += _scores(model, some, part, reading)
            labels += [of.relevant for of in some]
            progress.advance(len(some))
        progress.finish()
    if not scores:
        raise UsageError(
            f"--run {reading.config.run}: none of the {asked:,} queries has both relevant and other passages "
            f"among its first {DEPTH} hits; give judgements of these queries (--queries DIR:split), or a "
            "deeper run"
        )
    return _explanation(method, scores, labels, asked)


def _candidates(
    run: Run, queries: Sequence[Record], positives: Mapping[str, Sequence[str]]
) -> Iterator[Candidates]:
    """Yield the queries whose hits a judgement tells apart."""
    rows = {name: row for row, name in enumerate(run.query_ids)}
    for query in queries:
        if query.id not in rows:
            continue
        hits = [name for name, _ in islice(run.hits(rows[query.id]), DEPTH)]
        relevant = np.isin(hits, positives.get(query.id, ()))
        if relevant.any() and not relevant.all():
            yield Candidates(query, hits, relevant)


@torch.inference_mode()
def _scores(
    model: LoadedModel, asked: Sequence[Candidates], part: Part, reading: Reading
) -> list[NDArray[np.float64]]:
    """Return r [hits, heads] of each query."""
    names = list(dict.fromkeys(name for of in asked for name in of.hits))
    passages = [hit_record(part, name, reading.config.run) for name in names]
    keys = dict(zip(names, _vectors(model, "passage", passages, reading), strict=True))
    questions = _vectors(model, "query", [of.query for of in asked], reading)
    return [
        np.stack([_relevance(question, keys[name]) for name in of.hits])
        for of, question in zip(asked, questions, strict=True)
    ]


def _relevance(query: Tensor, passage: Tensor) -> NDArray[np.float64]:
    """Return r [heads], mean over query tokens of the largest product; of [n, heads, d], [m, heads, d]."""
    products = torch.einsum("nhd,mhd->hnm", query, passage)
    return products.amax(dim=2).mean(dim=1).double().numpy()


def _vectors(model: LoadedModel, side: Side, records: Sequence[Record], reading: Reading) -> list[Tensor]:
    """Return [tokens, heads, d] of each text: queries of questions, keys of passages, of every head."""
    method = model.encoder
    assert isinstance(method, Reatt)
    found: dict[int, Tensor] = {}
    for rows, batch in token_batches(model, side, records):
        batch = batch.to(model.device)
        every = range(method.encoder.heads)
        vectors = method.encoder.projected(method.bi_states(batch), method.config.bi_layers, side, every)
        for row, of, mask in zip(rows.tolist(), vectors.float().cpu(), batch.mask.cpu(), strict=True):
            found[row] = of[mask]
        reading.check()
    return [found[row] for row in range(len(records))]


def correlation(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return Pearson's r of each column with the labels; 0 for a column of equal numbers."""
    centred, told = scores - scores.mean(axis=0), labels - labels.mean()
    sizes = np.sqrt((centred**2).sum(axis=0) * (told**2).sum())
    found = np.zeros(scores.shape[1])
    np.divide(told @ centred, sizes, out=found, where=sizes > 0)
    return found


def _explanation(
    method: Reatt, scores: Sequence[NDArray[np.float64]], labels: Sequence[NDArray[np.bool_]], asked: int
) -> Explanation:
    each = np.stack([correlation(*pair) for pair in zip(scores, labels, strict=True)])
    means, pooled = each.mean(axis=0), correlation(np.concatenate(scores), np.concatenate(labels))
    shares = method.head_shares().detach().double().cpu().numpy()
    order = np.argsort(-means, kind="stable")
    layer = method.config.bi_layers
    data: dict[str, Any] = {
        "layer": layer + 1,
        "depth": DEPTH,
        "queries": len(scores),
        "queries_left_out": asked - len(scores),
        "pairs": sum(map(len, labels)),
        "correlation": rounded(means),
        "correlation_of_all_pairs": rounded(pooled),
        "weight": rounded(shares),
        "best_head": int(order[0]),
    }
    title = f"Correlation of each head's relevance with the judgement, layer {layer + 1}"
    rows: list[list[Cell]] = [
        [int(head), float(means[head]), float(pooled[head]), float(shares[head])] for head in order
    ]
    notes = ["by query: mean of the correlations over one query's hits; weight: of the head in the model"]
    names = [f"head {head}" for head in order]
    svg = bars(names, means[order].tolist(), Axes(title=title, x="correlation by query", y=""))
    text = (
        f"{len(scores):,} queries with both relevant and other passages among their first {DEPTH} hits, "
        f"{data['pairs']:,} pairs; {data['queries_left_out']:,} queries have not. Heads count from 0."
    )
    section = Section(
        title=title,
        text=[text],
        tables=[Table(columns=["head", "by query", "all pairs", "weight"], rows=rows, notes=notes)],
        figures=[Figure(name="heads", svg=svg, caption="A bar is a head, the best one first.")],
    )
    best = {str(place): data["correlation"][head] for place, head in enumerate(order, 1)}
    found = {"head": data["best_head"], "correlation": best}
    return Explanation(name="heads", data=data, sections=[section], found=found)
