"""The explanation ``domains``: which domains' prefixes queries read, one by one and by collection."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from dretrieve.errors import UsageError
from dretrieve.jobs.explain import Explanation
from dretrieve.jobs.explain_texts import Reading, refuse_picture, token_batches
from dretrieve.models.ddr import Ddr
from dretrieve.models.hooks import Hooks, KeysValues, Layout
from dretrieve.models.loading import LoadedModel
from dretrieve.models.prefix import RoutedPrefixes
from dretrieve.reports.domains_page import Found, Weighed, domains_data, domains_sections
from dretrieve.reports.experts import Given
from dretrieve.types import Progress, Record

SHOWN = 3  # queries of each collection that are shown one by one


class Watched(Hooks):
    """Prefixes whose weights are kept.

    Attributes:
        weights: of each layer that was asked for its prefix, [B, N] or [1, N].
    """

    def __init__(self, prefixes: RoutedPrefixes) -> None:
        self._prefixes, self.first_position = prefixes, prefixes.first_position
        self.weights: list[Tensor] = []

    def keys_values(self, layer: int, states: Tensor, layout: Layout) -> KeysValues:
        """Return those of the prefixes."""
        self.weights.append(self._prefixes.weights(states, layout))
        return self._prefixes.keys_values(layer, states, layout)


def explain(model: LoadedModel, reading: Reading, progress: Progress) -> Explanation:
    """Return the weights of the queries' domains.

    Raises:
        UsageError: a model without domains; no queries; queries that read no domain, or whose domains nothing
            says; an option of the picture, which is not made.
    """
    method = model.encoder
    assert isinstance(method, Ddr)
    refuse_picture(reading, model, allowed=("--query",))
    if not method.names:
        raise UsageError(
            f"--model {model.name} has the general prefix alone, so there are no domains to explain; train "
            "some with --train-domains"
        )
    if method.choices.routing == "none":
        raise UsageError(
            "--set routing=none: queries read the general prefix alone; choose prior, topk, soft or uniform"
        )
    if reading.drawn is None:
        raise UsageError("--queries is missing: queries alone have domains; give --queries DIR:split")
    given: list[Given] = []
    shown: list[Weighed] = []
    read: list[str] = []
    for part in reading.parts:
        asked = part.samples["query"].records
        progress.start(f"domains of {part.name}'s queries", len(asked), "texts")
        weights, read = _weights(model, asked, reading, progress)
        progress.finish()
        count = len(method.names)
        given.append(Given(part.name, "query", np.zeros(count, np.int64), np.zeros(count)))
        given[-1].add(weights)
        shown += [Weighed(part.name, *pair) for pair in zip(asked[:SHOWN], weights[:SHOWN], strict=True)]
    if reading.config.query:
        query = reading.drawn.query
        weights, _ = _weights(model, [query], reading, progress)
        shown = [Weighed(reading.drawn.part, query, weights[0])]
    choices = method.choices
    found = Found(
        domains=method.names,
        routing=choices.routing,
        read=read,
        top_k=choices.top_k,
        router=choices.router,
        given=given,
        queries=shown,
    )
    return Explanation(name="domains", data=domains_data(found), sections=domains_sections(found))


@torch.inference_mode()
def _weights(
    model: LoadedModel, records: Sequence[Record], reading: Reading, progress: Progress
) -> tuple[NDArray[np.float32], list[str]]:
    """Return b [Q, N] of queries (see `Weighed`), and the domains that they may read."""
    method = model.encoder
    assert isinstance(method, Ddr)
    found = np.zeros((len(records), len(method.names)), np.float32)
    for rows, batch in token_batches(model, "query", records):
        prefixes = method.prefixes(batch, "query")
        assert isinstance(prefixes, RoutedPrefixes)
        watched = Watched(prefixes)
        method.encoder(batch, watched)
        each = watched.weights if method.choices.router == "layer" else watched.weights[:1]
        mean = torch.stack([of.expand(len(batch), -1) for of in each]).mean(dim=0)
        read = sorted({name for names in method.wanted(batch) for name in names})
        places = np.array([method.names.index(name) for name in read])
        found[rows[:, None], places] = mean.cpu().numpy()
        progress.advance(len(batch))
        reading.check()
    return found, read
