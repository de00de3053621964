"""``taser``: one encoder for both sides, in which every third layer has experts; the dot product as score.

Cheng et al., "Task-Aware Specialization for Efficient and Robust Dense Retrieval for Open-Domain Question
Answering" (2023). ``--router`` says who chooses a token's expert (appendix A of the paper):

* det (Det-R): expert 0 reads queries, expert 1 passages. Only the one expert that is needed runs, so a step
  costs what `shared` costs.
* seq, tok (Seq-R, Tok-R): a gate, on the text's [CLS] or on the token (`dretrieve.models.routing`).
* none, or one expert: the method `shared`.

Differs from the released code: segments, pooling, lengths and normalisation are the backbone's unless said
otherwise (the paper's: [CLS], 256 tokens, not normalised); each token runs through its own expert only; see
`dretrieve.models.routing` for what is amended in learned routing, `dretrieve.models.contrastive` for the
loss. The released code scales learning rates by .8 per layer (``--layer-decay .8``), the paper does not say.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn

from dretrieve.errors import UsageError
from dretrieve.models import taser_first_form
from dretrieve.models.base import Encoded, ParameterGroup, TokenBatch
from dretrieve.models.bi_encoder import BiEncoder
from dretrieve.models.config import Phase
from dretrieve.models.encoder import PooledEncoder
from dretrieve.models.encoder_method import Backbone, pack_pair, pooled_encoder
from dretrieve.models.experts import PADDING, by_rows, by_tokens
from dretrieve.models.hooks import Hooks, Layout, Run
from dretrieve.models.routing import Decision, Router, Routes, Unit
from dretrieve.models.taser_config import TaserConfig
from dretrieve.store.card import ModelCard
from dretrieve.types import Side

EXPERT: dict[Side, int] = {"query": 0, "passage": 1}


class _Fixed(Hooks):
    """Det-R: the first rows of a batch are queries, the others passages, each with its own expert."""

    def __init__(self, layers: tuple[int, ...], sizes: tuple[int, int]) -> None:
        self.layers, self.sizes = layers, sizes

    def feed_forward(self, layer: int, states: Tensor, layout: Layout, run: Run) -> Tensor | None:
        """Return the states after each text's expert."""
        if layer not in self.layers:
            return None
        if 0 in self.sizes:
            return run(states, int(self.sizes[0] == 0))
        if layout.lengths is None:
            return by_rows(run, states, self.sizes)
        experts = (torch.arange(sum(self.sizes)) >= self.sizes[0]).long().to(states.device)
        return by_tokens(run, states, layout.spread(layout.of_texts(experts)), len(self.sizes))


class _Learned(Hooks):
    """Seq-R and Tok-R: the gates choose; what they decided is kept, layer by layer.

    Attributes:
        decisions: [L] by layer, of the first time that it ran (gradient checkpointing runs it again).
        layout: of the states.
    """

    def __init__(self, router: Router, num_experts: int, *, rest: bool) -> None:
        self._router, self._count, self._rest = router, num_experts, rest
        self.decisions: dict[int, Decision] = {}
        self.layout: Layout | None = None

    def feed_forward(self, layer: int, states: Tensor, layout: Layout, run: Run) -> Tensor | None:
        """Return the states after each token's expert."""
        if layer not in self._router.layers:
            return None
        decision = self._router(layer, states, layout)
        self.decisions.setdefault(layer, decision)
        self.layout = layout
        entries = decision.entries if self._router.training else None
        return by_tokens(run, states, decision.experts, self._count, entries, rest=self._rest)


class Taser(BiEncoder):
    """One encoder with experts.

    Attributes:
        router: the gates; None for Det-R and for one expert.
        layers: numbers of the layers with experts, from 0; empty for one expert.
    """

    name = "taser"
    config_class = TaserConfig
    config: TaserConfig
    encoder: PooledEncoder

    def __init__(self, config: TaserConfig, backbone: Backbone) -> None:
        super().__init__(config, backbone)
        self.encoder = pooled_encoder(self, backbone, "query")
        self.layers = routed_layers(config, len(self.encoder.layers))
        if config.routed:
            self.encoder.add_experts(self.layers, config.num_experts)
        self.router: Router | None = None
        if config.learned:
            self.router = Router(
                self.layers,
                self.encoder.width,
                config.num_experts,
                unit=cast(Unit, config.router),
                shared=config.share_router,
            )

    @classmethod
    def structure(cls, config: TaserConfig, side: Side) -> dict[str, Any]:
        """Return which experts there are, and who chooses."""
        if not config.routed:
            return {"router": "none", "num_experts": 1}
        found = {"router": config.router, "num_experts": config.num_experts, "every": config.every}
        return found | ({"share_router": config.share_router} if config.learned else {"expert": EXPERT[side]})

    @classmethod
    def read(cls, places: Mapping[Side, Path]) -> dict[Side, nn.Module]:
        """Return the encoder for both sides, without its experts."""
        if not taser_first_form.stands_in(places["passage"]):
            return super().read(places)
        module = taser_first_form.read_backbone(places["passage"])
        return {"query": module, "passage": module}

    @classmethod
    def read_parts(cls, folder: Path, card: ModelCard) -> dict[str, Tensor]:
        """Return experts and gates."""
        place = folder / card.query.folder
        if taser_first_form.stands_in(place):
            return taser_first_form.read_parts(place)
        return super().read_parts(folder, card)

    def encode_side(self, batch: TokenBatch, side: Side) -> Encoded:
        """Return [B, dim]; Det-R uses the side, the gates do not."""
        hooks = self._hooks((len(batch), 0) if side == "query" else (0, len(batch)))
        vectors = self.encoder(batch, hooks)
        return Encoded(vectors, auxiliary=self._auxiliary(hooks))

    def encode_pair(self, query: TokenBatch, passage: TokenBatch) -> tuple[Encoded, Encoded]:
        """Return both sides from one forward."""
        hooks = self._hooks((len(query), len(passage)))
        vectors = self.encoder(pack_pair(query, passage), hooks)
        terms = self._auxiliary(hooks)

        def part(rows: slice) -> Encoded:
            return Encoded(vectors[rows], auxiliary={name: of[rows] for name, of in terms.items()})

        return part(slice(0, len(query))), part(slice(len(query), None))

    def _hooks(self, sizes: tuple[int, int]) -> Hooks | None:
        if not self.config.routed:
            return None
        if self.router is None:
            return _Fixed(self.layers, sizes)
        return _Learned(self.router, self.config.num_experts, rest=self.config.router_gradient == "all")

    def _auxiliary(self, hooks: Hooks | None) -> dict[str, Tensor]:
        """Return - beta H [B], the mean over the layers with experts; training minimises it."""
        if not isinstance(hooks, _Learned) or not self.training or self.config.entropy_weight == 0:
            return {}
        mean = torch.stack([decision.entropy for decision in hooks.decisions.values()]).mean(dim=0)
        return {"entropy": -self.config.entropy_weight * mean}

    def routes(self, batch: TokenBatch, side: Side) -> Routes | None:
        """Return who read what; None for one expert."""
        if not self.config.routed:
            return None
        assert not self.training, "training draws its routes"
        if self.router is None:
            experts = torch.full(batch.mask.shape, EXPERT[side]).masked_fill(~batch.mask.cpu(), PADDING)
            return Routes(self.layers, torch.stack([experts] * len(self.layers)), self.config.num_experts)
        hooks = self._hooks((0, 0))
        assert isinstance(hooks, _Learned)
        with torch.no_grad():
            self.encoder(batch, hooks)
        assert hooks.layout is not None
        found = [hooks.layout.padded(of.experts, PADDING).cpu() for of in hooks.decisions.values()]
        return Routes(self.layers, torch.stack(found), self.config.num_experts)

    def parameter_groups(self, phase: Phase) -> list[ParameterGroup]:
        """Return one group, or with ``--layer-decay`` d one per depth, its rate times d^(L + 2 - depth).

        L is the number of layers. Depth: 0 the embeddings, i + 1 layer i and its own gate; one gate for all
        layers stands at their mean depth, rounded up (8 of 12 in the released code).
        """
        decay = self.config.layer_decay
        if decay == 1:
            return super().parameter_groups(phase)
        layers = self.encoder.layers
        placed: list[tuple[int, nn.Module]] = [(0, self.encoder.backbone.embeddings)]
        placed += [(number + 1, layer) for number, layer in enumerate(layers)]
        placed += [(int(number) + 1, of) for number, of in self.encoder.experts.items()]
        if self.router is not None:
            depths = [layer + 1 for layer in self.layers]
            if self.config.share_router:
                depths = [math.ceil(sum(depths) / len(depths))]
            placed += zip(depths, self.router.gates, strict=True)
        groups: dict[int, list[nn.Parameter]] = {}
        for depth, part in placed:
            groups.setdefault(depth, []).extend(of for of in part.parameters() if of.requires_grad)
        return [
            ParameterGroup(f"depth {depth}", tuple(groups[depth]), scale=decay ** (len(layers) + 2 - depth))
            for depth in sorted(groups)
        ]


def routed_layers(config: TaserConfig, count: int) -> tuple[int, ...]:
    """Return the numbers, from 0, of the layers with experts: those with (i + 1) mod ``every`` = 0.

    So ``every`` 3 gives the layers 2, 5, 8, 11 of twelve: two shared blocks, then a specialised one.

    Raises:
        UsageError: no layer has such a number.
    """
    if not config.routed:
        return ()
    if config.every > count:
        raise UsageError(
            f"--every {config.every} fits no layer: this backbone has {count} layers; give 1 to {count}"
        )
    return tuple(number for number in range(count) if (number + 1) % config.every == 0)
