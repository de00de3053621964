"""The explanation ``routing``: which expert reads which tokens and texts."""

from __future__ import annotations

from dretrieve.jobs.explain import Explanation
from dretrieve.jobs.explain_texts import Reading, refuse_picture, token_batches
from dretrieve.models.loading import LoadedModel
from dretrieve.models.routing import Routed
from dretrieve.reports.routing import RoutingCounts
from dretrieve.reports.routing_page import routing_data, routing_sections
from dretrieve.types import UNITS, Progress


def explain(model: LoadedModel, reading: Reading, progress: Progress) -> Explanation | None:
    """Return the routing of the samples, of all collections together; None where nothing is routed.

    Raises:
        UsageError: an option of the picture, which is not made.
    """
    assert isinstance(model.encoder, Routed)
    refuse_picture(reading, model)
    counts: RoutingCounts | None = None
    tokenizer = model.tokenizers["passage"]
    for part in reading.parts:
        for side, sample in part.samples.items():
            progress.start(f"routing {UNITS[side]}", len(sample.records), "texts")
            for _, batch in token_batches(model, side, sample.records):
                routes = model.encoder.routes(batch, side)
                if routes is None:
                    progress.finish()
                    return None
                if counts is None:
                    counts = RoutingCounts(routes.layers, routes.num_experts, tokenizer.vocabulary)
                counts.add(side, routes.experts.cpu().numpy(), batch.input_ids.cpu().numpy())
                progress.advance(len(batch))
                reading.check()
            progress.finish()
    if counts is None:
        return None
    return Explanation(
        name="routing",
        data=routing_data(counts, tokenizer.pieces),
        sections=routing_sections(counts, tokenizer.pieces),
    )
