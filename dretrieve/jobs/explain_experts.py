"""The explanation ``experts``: what the experts of a block behind the encoder do; a picture."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import add

import numpy as np
import torch
from numpy.typing import NDArray

from dretrieve.errors import UsageError
from dretrieve.jobs.explain import Explanation
from dretrieve.jobs.explain_texts import MOST_DRAWN, Drawn, Part, Reading, refuse_picture, token_batches
from dretrieve.models.loading import LoadedModel
from dretrieve.models.mixture import Mixture
from dretrieve.models.pooling import unit
from dretrieve.models.sb_moe import SbMoe
from dretrieve.models.sb_moe_config import NO_NETWORK
from dretrieve.order import id_ranks, top_k
from dretrieve.reports.experts import Agreement, Found, Given, Picture, agreement, warnings_of
from dretrieve.reports.experts_page import experts_data, experts_sections
from dretrieve.reports.projection import LEAST_FOR_TSNE, check_tsne, pca, tsne
from dretrieve.scoring.dot import dot_matrix
from dretrieve.store.shards import CHUNK_ROWS
from dretrieve.types import SIDES, UNITS, Progress, Record, Side

AT_ONCE = 64  # texts whose vectors by all experts are held at a time


@dataclass(frozen=True, slots=True)
class Seen:
    """Some texts through the block.

    Attributes:
        ids: [B].
        before: [B, d] float32, x.
        after: [B, d] float32, what is searched.
        weights: [B, N].
    """

    ids: Sequence[str]
    before: NDArray[np.float32]
    after: NDArray[np.float32]
    weights: NDArray[np.float32]

    def take(self, rows: NDArray[np.int64]) -> Seen:
        """Return those rows."""
        ids = [self.ids[row] for row in rows.tolist()]
        return Seen(ids, self.before[rows], self.after[rows], self.weights[rows])

    def __add__(self, other: Seen) -> Seen:
        pairs = ((self.before, other.before), (self.after, other.after), (self.weights, other.weights))
        return Seen([*self.ids, *other.ids], *(np.concatenate(pair) for pair in pairs))


@dataclass(slots=True)
class _Block:
    """The block of a model, and what its texts have shown.

    Attributes:
        likeness: name of a block to Σ over texts of the cosines [N, N] of its experts' outputs.
        texts: how many those are.
    """

    model: LoadedModel
    reading: Reading
    progress: Progress
    likeness: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    texts: dict[str, int] = field(default_factory=dict)

    @property
    def method(self) -> SbMoe:
        assert isinstance(self.model.encoder, SbMoe)
        return self.model.encoder

    def seen(self, side: Side, records: Sequence[Record], *, sampled: bool = False) -> Iterator[Seen]:
        """Yield the texts through the block, chunk by chunk, in their order; sampled ones are compared."""
        if not records:
            return
        self.progress.start(f"{UNITS[side]} through the experts", len(records), "texts")
        for start in range(0, len(records), CHUNK_ROWS):
            yield self._chunk(side, records[start : start + CHUNK_ROWS], sampled)
        self.progress.finish()

    def joined(self, side: Side, records: Sequence[Record]) -> Seen | None:
        """Return the texts through the block; None of no texts."""
        parts = list(self.seen(side, records))
        return reduce(add, parts) if parts else None

    @torch.inference_mode()
    def _chunk(self, side: Side, records: Sequence[Record], sampled: bool) -> Seen:
        dim, count = self.method.dim, self.method.config.num_experts
        ids = [record.id for record in records]
        shapes = ((len(ids), dim), (len(ids), dim), (len(ids), count))
        before, after, weights = (np.empty(shape, dtype=np.float32) for shape in shapes)
        for rows, batch in token_batches(self.model, side, records):
            vectors = self.method.encoder(batch)
            given = replace(batch, vectors=vectors)
            before[rows] = vectors.cpu().numpy()
            after[rows] = self.method.encode_side(given, side).vectors.cpu().numpy()
            weights[rows] = self.method.mixed(vectors, side, batch.text_ids).weights.cpu().numpy()
            if sampled:
                self._compare(vectors, side)
            self.progress.advance(len(batch))
            self.reading.check()
        return Seen(ids, before, after, weights)

    def _compare(self, vectors: torch.Tensor, side: Side) -> None:
        """Add the cosines of the experts' outputs for vectors [B, d]."""
        block: Mixture = self.method.mixture(side)
        name = "both" if self.method.config.block == "shared" else UNITS[side]
        found = self.likeness.setdefault(name, np.zeros((block.num_experts,) * 2))
        self.texts[name] = self.texts.get(name, 0) + len(vectors)
        for some in vectors.float().split(AT_ONCE):
            outputs = unit(torch.stack([expert(some) for expert in block.experts])).double()
            found += torch.einsum("ibd,jbd->ij", outputs, outputs).cpu().numpy()


def explain(model: LoadedModel, reading: Reading, progress: Progress) -> Explanation | None:
    """Return what the experts do with the samples; None where there is one expert.

    Raises:
        PreconditionError: t-SNE is asked for and scikit-learn is not installed.
        UsageError: t-SNE of too few texts; options of another explanation.
    """
    refuse_picture(reading, model, allowed=("--query", "--run", "--tsne"))
    block = _Block(model, reading, progress)
    config = block.method.config
    if config.num_experts == 1:
        return None
    if reading.config.tsne:
        check_tsne()
    looks = config.gate not in NO_NETWORK
    given: list[Given] = []
    agreements: dict[str, Agreement] = {}
    picture: Picture | None = None
    for part in reading.parts:
        drawn = reading.drawn if reading.drawn is not None and reading.drawn.part == part.name else None
        found, one, drawing = _part(block, part, drawn)
        given += found if looks else []
        agreements |= {part.name: one} if looks and "query" in part.samples else {}
        picture = drawing or picture
    result = Found(
        num_experts=config.num_experts,
        gate=config.gate,
        activated=block.method.choices.activated,
        given=given,
        agreements=agreements,
        likeness={name: of / block.texts[name] for name, of in block.likeness.items()},
        texts=block.texts,
        picture=picture,
    )
    warnings = warnings_of(given)
    data, sections = experts_data(result), experts_sections(result)
    return Explanation(name="experts", data=data, sections=sections, warnings=warnings)


def _part(block: _Block, part: Part, drawn: Drawn | None) -> tuple[list[Given], Agreement, Picture | None]:
    """Return what the texts of a collection show, with the picture where its query is drawn."""
    count = block.method.config.num_experts
    hits = drawn.hits if drawn is not None else ()
    query = block.joined("query", [drawn.query] if drawn is not None else ())
    best = block.joined("passage", hits)
    given: list[Given] = []
    chosen: dict[Side, dict[str, int]] = {"query": {}, "passage": {}}
    for side, sample in part.samples.items():
        given.append(Given(part.name, side, np.zeros(count, np.int64), np.zeros(count)))
        beside = part.beside if side == "passage" else ()
        for records, sampled in ((sample.records, True), (beside, False)):
            for seen in block.seen(side, records, sampled=sampled):
                if sampled:
                    given[-1].add(seen.weights)
                chosen[side] |= dict(zip(seen.ids, seen.weights.argmax(axis=1).tolist(), strict=True))
                if query is not None and not hits and side == "passage":
                    best = _best(query, seen if best is None else best + seen)
    picture = None
    if drawn is not None and query is not None and best is not None:
        read, total = len(chosen["passage"]), part.samples["passage"].total
        among = f"of the {read:,} that were read, by this model's score"
        among += f"; --limit 0 reads all {total:,}" if read < total else ""
        picture = _picture(block, drawn, query + best, "of the run" if hits else among)
    return given, _agreement(part, chosen, count), picture


def _best(query: Seen, passages: Seen) -> Seen:
    """Return the query's best passages, best first."""
    scores = dot_matrix(query.after, passages.after)[0]
    return passages.take(top_k(scores, id_ranks(passages.ids), MOST_DRAWN))


def _agreement(part: Part, chosen: Mapping[Side, Mapping[str, int]], count: int) -> Agreement:
    if not part.pairs:
        return Agreement(unpaired=part.unpaired)
    queries, passages = (
        np.array([chosen[side][pair[place]] for pair in part.pairs]) for place, side in enumerate(SIDES)
    )
    agree, chance = agreement(queries, passages, count)
    return Agreement(
        pairs=len(part.pairs), judged=part.judged, agree=agree, chance=chance, unpaired=part.unpaired
    )


def _picture(block: _Block, drawn: Drawn, shown: Seen, among: str) -> Picture:
    sides = {"before": shown.before, "after": shown.after}
    found = {name: pca(vectors) for name, vectors in sides.items()}
    points = {"pca": {name: of[0] for name, of in found.items()}}
    if block.reading.config.tsne:
        if len(shown.ids) < LEAST_FOR_TSNE:
            raise UsageError(f"--tsne places {LEAST_FOR_TSNE} texts or more, and here are {len(shown.ids)}")
        points["tsne"] = {name: tsne(vectors, block.reading.config.seed) for name, vectors in sides.items()}
    marked = [row for row, text_id in enumerate(shown.ids) if row and text_id in drawn.relevant]
    return Picture(
        collection=drawn.part,
        ids=shown.ids,
        text=drawn.query.text,
        experts=None if block.method.config.gate == "uniform" else shown.weights.argmax(axis=1),
        relevant=np.array(marked, dtype=np.int64),
        among=among,
        points=points,
        variance={name: of[1] for name, of in found.items()},
    )
