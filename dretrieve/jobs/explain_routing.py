"""The explanation ``routing``: which expert reads which tokens and texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from dretrieve.encoding.pieces import batches_of, token_batch
from dretrieve.jobs.explain import Explanation, Sample
from dretrieve.models.base import TokenBatch
from dretrieve.models.loading import LoadedModel
from dretrieve.models.routing import Routed
from dretrieve.reports.routing import RoutingCounts
from dretrieve.reports.routing_page import NAMES, routing_data, routing_sections
from dretrieve.store.shards import CHUNK_ROWS
from dretrieve.types import Progress, Side


def explain(model: LoadedModel, samples: Mapping[Side, Sample], progress: Progress) -> Explanation | None:
    """Return the routing of the samples; None where nothing is routed."""
    assert isinstance(model.encoder, Routed)
    counts: RoutingCounts | None = None
    tokenizer = model.tokenizers["passage"]
    for side, sample in samples.items():
        progress.start(f"routing {NAMES[side]}", len(sample.records), "texts")
        for batch in _batches(model, side, sample):
            routes = model.encoder.routes(batch, side)
            if routes is None:
                progress.finish()
                return None
            if counts is None:
                counts = RoutingCounts(routes.layers, routes.num_experts, tokenizer.vocabulary)
            counts.add(side, routes.experts.cpu().numpy(), batch.input_ids.cpu().numpy())
            progress.advance(len(batch))
        progress.finish()
    if counts is None:
        return None
    return Explanation(
        name="routing",
        data=routing_data(counts, tokenizer.pieces),
        sections=routing_sections(counts, tokenizer.pieces),
    )


def _batches(model: LoadedModel, side: Side, sample: Sample) -> Iterator[TokenBatch]:
    """Yield the texts tokenised, as ``encode`` would cut them, where the engine wants them."""
    tokenizer = model.tokenizers[side]
    for start in range(0, len(sample.records), CHUNK_ROWS):
        records = sample.records[start : start + CHUNK_ROWS]
        tokens, ids = tokenizer.tokenize(records), [record.id for record in records]
        for rows in batches_of(tokens, model.device):
            batch = token_batch(tokens, rows, tokenizer.pad_id, ids)
            yield batch if model.engine.name == "packed" else batch.to(model.device)
