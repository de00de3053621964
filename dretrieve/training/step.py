"""One step: the pieces of a batch encoded, compared, and its gradient on the parameters.

The gradient cache (Gao et al., "Scaling Deep Contrastive Learning Batch Size under Memory Limited Setup",
2021) takes the gradient of a loss over all vectors while only one piece's graph is in memory: with vectors
v = f(x), dL/dθ = Σ_pieces (dL/dv_piece) · dv_piece/dθ. Pass 1 computes v without a graph; the loss over the
detached v gives dL/dv; pass 2 computes each piece again, with the same dropout seed, and pulls its part of
dL/dv through. Cost: one more forward. Both ways run through `Stepper.backward`: without the cache pass 1
keeps its graphs and pass 2 is skipped, the same products in the same order, so a test can ask for equality.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor
from torch.nn import functional

from dretrieve.models.base import (
    Compared,
    Encoded,
    Group,
    Loss,
    Method,
    Outcome,
    Stepped,
    Targets,
    TokenBatch,
)
from dretrieve.training.batches import Batch
from dretrieve.training.device import seed_dropout
from dretrieve.training.pieces import Layout, Prepared, StepOptions
from dretrieve.training.processes import Processes

Pair = tuple[Encoded | None, Encoded | None]
Piece = Callable[[], Outcome]


@dataclass(frozen=True, slots=True)
class StepValue:
    """``loss`` is what was minimised (with the pieces' own terms); ``parts`` are logged beside it."""

    loss: Tensor
    parts: Mapping[str, Tensor]


class Stepper:
    """Adds a batch's gradient to a method's parameters."""

    def __init__(
        self, method: Method, processes: Processes, options: StepOptions, device: torch.device
    ) -> None:
        self.method, self.processes, self.options, self.device = method, processes, options, device
        self._cached = options.cache_tokens > 0
        self._parameters = [parameter for parameter in method.parameters() if parameter.requires_grad]

    def run(self, prepared: Prepared) -> StepValue:
        """Return the batch's loss after adding its gradient, summed over the processes."""
        if isinstance(self.method, Stepped):
            found = self.method.training_step(OwnStep.of(prepared, self))
        else:
            found = _contrastive(prepared, self)
        self.processes.sum_gradients(self._parameters)
        return StepValue(found.total, found.parts)

    def targets(self, batch: Batch) -> Targets:
        """Return what the batch's loss compares with, on the device."""
        taught = None if batch.teacher_scores is None else torch.from_numpy(batch.teacher_scores)
        return Targets(
            torch.from_numpy(batch.positives).to(self.device),
            torch.from_numpy(batch.allowed).to(self.device),
            None if taught is None else taught.to(self.device),
            self.options.distillation,
        )

    def backward(
        self, step: int, pieces: Sequence[Piece], loss: Callable[[list[tuple[Tensor, ...]]], Loss]
    ) -> Loss:
        """Add the gradient of ``loss + Σ terms`` to the parameters; return both together, detached.

        A piece is a forward over a part of the batch, called once (twice with the gradient cache); the loss
        is of the detached cached tensors of all, in order.
        """
        outcomes = [self._forward(step, index, piece) for index, piece in enumerate(pieces)]
        leaves = [
            tuple(tensor.detach().requires_grad_(tensor.is_floating_point()) for tensor in outcome.cached)
            for outcome in outcomes
        ]
        found = loss(leaves)
        if found.total.requires_grad:
            found.total.backward()
        self._share_loss()
        terms = torch.zeros((), device=found.total.device)
        for index, piece in enumerate(pieces):
            outcome = outcomes[index]
            outcomes[index] = Outcome(())  # the graph of one piece at a time
            if self._cached:
                outcome = self._forward(step, index, piece, again=True)
            if outcome.term is not None:
                terms = terms + outcome.term.detach()
            _pull(outcome, leaves[index])
        return Loss(found.total.detach() + self.processes.sum(terms), found.parts)

    def _forward(self, step: int, index: int, piece: Piece, *, again: bool = False) -> Outcome:
        """Return the piece's outcome, cached tensors in fp32 so that their gradients are too."""
        seed_dropout(self.options.seed, "dropout", step, self.processes.rank, index)
        lower = self.options.precision == "bf16"
        with (
            torch.set_grad_enabled(again or not self._cached),
            torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=lower),
        ):
            outcome = piece()
        cached = tuple(of.float() if of.is_floating_point() else of for of in outcome.cached)
        return Outcome(cached, outcome.term)

    def _share_loss(self) -> None:
        """Divide what the loss itself left on parameters: every process computed all of it."""
        if self.processes.count > 1:
            for parameter in self._parameters:
                if parameter.grad is not None:
                    parameter.grad /= self.processes.count


def _pull(outcome: Outcome, leaves: tuple[Tensor, ...]) -> None:
    """Backward through one piece from the cached gradients and its own term together."""
    tensors = [tensor for tensor, leaf in zip(outcome.cached, leaves, strict=True) if leaf.grad is not None]
    gradients: list[Tensor | None] = [leaf.grad for leaf in leaves if leaf.grad is not None]
    if outcome.term is not None and outcome.term.requires_grad:
        tensors.append(outcome.term)
        gradients.append(None)
    pairs = [(tensor, grad) for tensor, grad in zip(tensors, gradients, strict=True) if tensor.requires_grad]
    if pairs:
        torch.autograd.backward([tensor for tensor, _ in pairs], [grad for _, grad in pairs])


@dataclass(slots=True)
class OwnStep:
    """What a method's own training step is given (`models.base.Step`)."""

    phase: str
    number: int
    seed: int
    num_queries: int
    groups: Sequence[Group]
    targets: Targets
    _stepper: Stepper = field(repr=False)

    @classmethod
    def of(cls, prepared: Prepared, stepper: Stepper) -> OwnStep:
        """Return the step of a batch."""
        batch, device = prepared.batch, stepper.device
        groups = [
            replace(
                group,
                queries=group.queries.to(device),
                passages=group.passages.to(device),
                owners=group.owners.to(device),
                query_rows=group.query_rows.to(device),
                passage_rows=group.passage_rows.to(device),
            )
            for group in prepared.groups
        ]
        options, asked = stepper.options, len(batch.query_rows)
        return cls(options.phase, batch.step, options.seed, asked, groups, stepper.targets(batch), stepper)

    def backward(self, pieces: Sequence[Piece], loss: Callable[[list[tuple[Tensor, ...]]], Loss]) -> Loss:
        """Add the gradient; see `models.base.Step`."""
        return self._stepper.backward(self.number, pieces, loss)

    def gather(self, parts: list[Tensor]) -> list[Tensor]:
        """Return the rows of all processes; see `models.base.Step`."""
        processes = self._stepper.processes
        if processes.count == 1:
            return parts
        rows = torch.cat(parts)
        return [processes.gather_rows(rows, processes.each(len(rows)))]


def _contrastive(prepared: Prepared, stepper: Stepper) -> Loss:
    """Do the step of a method that compares vectors: every query with every passage of the batch."""
    method, device = stepper.method, stepper.device
    assert isinstance(method, Compared), f"{type(method).__name__} has neither a loss nor a training step"
    encoded: list[Pair] = [(None, None)] * len(prepared.pieces)

    def piece(index: int) -> Piece:
        def forward() -> Outcome:
            encoded[index] = pair = _encode(method, prepared.pieces[index], device)
            cached = [tensor for side in pair if side is not None for tensor in side.cached()]
            return Outcome(tuple(cached), _terms(pair, prepared.layouts))

        return forward

    def loss(leaves: list[tuple[Tensor, ...]]) -> Loss:
        pairs = [_filled(pair, of) for pair, of in zip(encoded, leaves, strict=True)]
        query, passage = (
            join([side for pair in pairs if (side := pair[index]) is not None], layout, stepper.processes)
            for index, layout in enumerate(prepared.layouts)
        )
        return method.loss(query, passage, stepper.targets(prepared.batch))

    return stepper.backward(prepared.batch.step, [piece(index) for index in range(len(encoded))], loss)


def _encode(method: Method, texts: tuple[TokenBatch | None, TokenBatch | None], device: torch.device) -> Pair:
    query, passage = texts
    if query is not None and passage is not None:
        return method.encode_pair(query.to(device), passage.to(device))
    if query is not None:
        return method.encode_side(query.to(device), "query"), None
    assert passage is not None, "a piece holds texts of one side at least"
    return None, method.encode_side(passage.to(device), "passage")


def _terms(pair: Pair, layouts: Sequence[Layout]) -> Tensor | None:
    """Return the piece's part of the auxiliary terms: the mean over each side's texts counts half."""
    total: Tensor | None = None
    for side, layout in zip(pair, layouts, strict=True):
        for values in side.auxiliary.values() if side is not None else ():
            term = values.float().sum() / (2 * sum(layout.counts))
            total = term if total is None else total + term
    return total


def _filled(pair: Pair, leaves: tuple[Tensor, ...]) -> Pair:
    """Return the pair with the leaves in the places of the cached tensors."""
    left = iter(leaves)
    query, passage = (
        None if side is None else side.replace_cached([next(left) for _ in side.cached()]) for side in pair
    )
    return query, passage


def join(parts: Sequence[Encoded], layout: Layout, processes: Processes) -> Encoded:
    """Return all rows of a side, of all pieces and processes, in batch order.

    Only this process's rows carry gradient.
    """
    device = parts[0].vectors.device
    local, batch = layout.local.to(device), layout.batch.to(device)

    def arranged(pieces: Sequence[Tensor | None], width: int | None = None) -> Tensor:
        rows = [of if width is None else widen(of, width) for of in pieces if of is not None]
        own = torch.cat(rows).index_select(0, local)
        return processes.gather_rows(own, layout.counts).index_select(0, batch)

    vectors = [part.vectors for part in parts]
    if parts[0].mask is None:
        return Encoded(arranged(vectors))
    width = max(processes.each(max(of.shape[1] for of in vectors)))
    salience = [part.salience for part in parts]
    return Encoded(
        arranged(vectors, width),
        arranged([part.mask for part in parts], width),
        None if salience[0] is None else arranged(salience, width),
    )


def widen(tensor: Tensor, width: int) -> Tensor:
    """Return [B, T, …] with zeros (False) added on the right up to ``width`` columns."""
    missing = width - tensor.shape[1]
    if missing <= 0:
        return tensor
    return functional.pad(tensor, [0, 0] * (tensor.dim() - 2) + [0, missing])
