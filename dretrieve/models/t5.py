"""A whole T5, original, v1.1 or LM-adapted: transformers' own blocks, driven one after the other.

So each layer of the encoder gets its own mask, while all share the bias table of the first; the states
between two layers can be asked for, and what the decoder looks at. Nothing of T5 is written again.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional

from dretrieve.errors import PreconditionError
from dretrieve.models.backbone import load_module
from dretrieve.models.encoder import Encoder
from dretrieve.models.plain import read_json
from dretrieve.tokens.batches import cut_batches
from dretrieve.types import Side

# Tokens that run together. Behind a batch's attention stands a mask of the size tokens x longest x heads.
BUDGETS = {"cpu": 2048, "cuda": 32768}


def load_t5(place: Path) -> nn.Module:
    """Return the T5 in a folder with its decoder, as transformers' ``T5ForConditionalGeneration``.

    Raises:
        PreconditionError: another family, an encoder that was saved without its decoder, pickled weights.
        DataError: weights missing, left over, of another shape or not finite.
    """
    family = read_json(place / "config.json").get("model_type")
    if family != "t5":
        raise PreconditionError(
            f"{place} is a model of type {family}, and this method wants a T5 with its decoder "
            "(model_type t5); give another --backbone"
        )
    names: set[str] = set()
    for file in place.glob("model*.safetensors"):
        with safe_open(file, "pt") as tensors:
            names.update(tensors.keys())
    if not names:
        raise PreconditionError(
            f"{place} has no weights as safetensors; of a folder with pickled ones make a model first: "
            "dretrieve convert FOLDER --from t5 --output MODEL"
        )
    if not any(name.startswith("decoder.block.") for name in names):
        raise PreconditionError(
            f"{place} holds the encoder of a T5 without its decoder, and this method generates; give the "
            "whole T5 as --backbone"
        )
    module: Any = load_module(place, whole=True)
    module.config.use_cache = True  # whoever opens the folder that we save generates with it
    found: nn.Module = module
    return found


class T5(Encoder):
    """A T5 in parts: states up to any layer, queries and keys of a layer's heads, the decoder over states."""

    @property
    def heads(self) -> int:
        """Heads a layer."""
        return int(self.backbone.config.num_heads)

    @property
    def layers(self) -> Sequence[Any]:
        """The encoder's blocks."""
        found: Sequence[Any] = self.backbone.encoder.block
        return found

    def embedded(self, ids: Tensor) -> Tensor:
        """Return [B, T, D], what the first layer reads of token ids [B, T]."""
        encoder = self.backbone.encoder
        found: Tensor = encoder.dropout(encoder.embed_tokens(ids))
        return found

    def through(self, states: Tensor, mask: Tensor, start: int, stop: int | None = None) -> Tensor:
        """Return the states [B, T, D] behind the encoder's layers ``start`` to ``stop`` (exclusive).

        Many texts run in batches of like length, for little of their work is then padding's. Of each text
        the tokens of ``mask`` [B, T], at least one, are read; they stand left, where positions begin.
        """
        if not self.training:
            self.ran.add(self.engine)
        budget = BUDGETS.get(states.device.type, BUDGETS["cuda"])
        if mask.numel() <= budget or not self.layers[start:stop]:
            return self._run(states, mask, start, stop)
        lengths, width = mask.sum(dim=1).cpu().numpy(), states.shape[1]
        batches = cut_batches(lengths, budget)
        parts = []
        for rows in batches:
            own, longest = torch.from_numpy(rows).to(states.device), int(lengths[rows[0]])
            found = self._run(states[own, :longest], mask[own, :longest], start, stop)
            parts.append(functional.pad(found, [0, 0, 0, width - longest]))
        order = torch.from_numpy(np.argsort(np.concatenate(batches))).to(states.device)
        return torch.cat(parts).index_select(0, order)

    def _run(self, states: Tensor, mask: Tensor, start: int, stop: int | None) -> Tensor:
        layers, width = self.layers[start:stop], states.shape[1]
        bias = self.layers[0].layer[0].SelfAttention.compute_bias(width, width, device=states.device)
        shut = _shut(bias, mask[:, None, None, :])  # once for these layers, [B, heads, T, T]
        for layer in layers:
            states = layer(states, None, shut)[0]
        return states

    def finished(self, states: Tensor) -> Tensor:
        """Return [B, T, D], the last layer's states as the decoder reads them."""
        encoder = self.backbone.encoder
        found: Tensor = encoder.dropout(encoder.final_layer_norm(states))
        return found

    def projected(self, states: Tensor, layer: int, side: Side, heads: Sequence[int]) -> Tensor:
        """Return [B, T, len(heads), d_kv]: that layer's queries of queries, keys of passages.

        It reads states [B, T, D]; its queries and keys are those before the bias; T5 does not scale them.
        """
        own = self.layers[layer].layer[0]
        weight = (own.SelfAttention.q if side == "query" else own.SelfAttention.k).weight
        some = weight.view(self.heads, -1, weight.shape[1])[list(heads)]
        found = functional.linear(own.layer_norm(states), some.flatten(0, 1))
        return found.view(*states.shape[:2], len(heads), -1)

    def decoded(self, ids: Tensor, states: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Return [B, L, V], the logits of each next token, and what the first position looks at.

        The latter are [B, heads, T] float32 without gradient: the products of the last layer's query at the
        first position with its keys, before any softmax, padding included. The decoder has read ``ids``
        [B, L], the start token first, and of the states [B, T, D] of `finished` those of ``mask`` [B, T].
        """
        decoder, length = self.backbone.decoder, ids.shape[1]
        bias = decoder.block[0].layer[0].SelfAttention.compute_bias(length, length, device=ids.device)
        before = torch.ones(length, length, dtype=torch.bool, device=ids.device).tril()
        bias = _shut(bias, before)
        reach = _shut(states.new_zeros(1, 1, 1, 1), mask[:, None, None, :])
        answer = decoder.dropout(decoder.embed_tokens(ids))
        for block in decoder.block[:-1]:
            answer = block(answer, None, bias, states, None, reach)[0]
        own, cross, feed = decoder.block[-1].layer
        answer = own(answer, position_bias=bias)[0]
        looks = _first_looks(cross, answer[:, 0], states)
        answer = feed(cross(answer, key_value_states=states, position_bias=reach)[0])
        answer = decoder.dropout(decoder.final_layer_norm(answer))
        if self.backbone.config.scale_decoder_outputs:
            answer = answer * self.backbone.config.d_model**-0.5
        return self.backbone.lm_head(answer), looks


def _shut(bias: Tensor, mask: Tensor) -> Tensor:
    """Return the bias, so low where the mask is False that nothing is seen there."""
    # half, so that bfloat16 rounds it to a number; another bias cannot reach over it
    return torch.where(mask, bias, torch.finfo(bias.dtype).min / 2)


@torch.no_grad()
def _first_looks(cross: Any, first: Tensor, states: Tensor) -> Tensor:
    attention = cross.EncDecAttention
    query = attention.q(cross.layer_norm(first)).float()
    key = attention.k.weight.float().view(attention.n_heads, -1, states.shape[-1])
    with torch.autocast(states.device.type, enabled=False):
        # (W s) · q = s · (Wᵀ q): one product a head and state, in the place of the keys themselves
        asked = torch.einsum("bhd,hdm->bhm", query.view(len(query), *key.shape[:2]), key)
        return torch.einsum("bhm,btm->bht", asked, states.float())
