"""A method that changes no weight of its backbone, in one file: keys and values before those of each layer.

Every text reads a general prefix; a query whose domain is known reads the sum of it and its domain's.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dretrieve.models.base import Encoded, ParameterGroup, TokenBatch
from dretrieve.models.bi_encoder import BiEncoder
from dretrieve.models.bi_encoder_config import BiEncoderConfig
from dretrieve.models.config import Phase
from dretrieve.models.encoder import PooledEncoder
from dretrieve.models.encoder_method import Backbone, pooled_encoder
from dretrieve.models.hooks import Hooks, KeysValues, Layout
from dretrieve.options import option
from dretrieve.types import Side

DOMAINS = ("garden", "kitchen", "sea")
NONE = "none"


@dataclass(frozen=True, kw_only=True, slots=True)
class PrefixChoices:
    """What is open after training."""

    domain: str = option(NONE, "The domain of all queries.", legal=(NONE, *DOMAINS), sides=("query",))


@dataclass(frozen=True, kw_only=True, slots=True)
class PrefixConfig(BiEncoderConfig):
    """Options."""

    choices: ClassVar[type] = PrefixChoices

    prefix_length: int = option(3, "Keys, and as many values, in each layer.", least=1)


class Prefix(BiEncoder):
    """One frozen encoder, one learned vector a text."""

    name = "prefix"
    config_class = PrefixConfig
    columns = ("domain",)
    part_sides: ClassVar = {"domains": ("query",)}
    may_drop = ("late_interaction",)
    config: PrefixConfig
    encoder: PooledEncoder

    def __init__(self, config: PrefixConfig, backbone: Backbone) -> None:
        super().__init__(config, backbone)
        self.encoder = pooled_encoder(self, backbone, "query")
        shape = (len(self.encoder.layers), 2, config.prefix_length, self.encoder.width)
        self.general = nn.Parameter(torch.randn(shape) * 0.02)
        self.domains = nn.Parameter(torch.zeros(len(DOMAINS), *shape))

    @classmethod
    def structure(cls, config: Any, side: Side) -> dict[str, Any]:
        """Return the length, on which both sides depend."""
        return {"prefix_length": config.prefix_length}

    def phases(self) -> tuple[Phase, ...]:
        """Return the general prefix's phase and the domains'."""
        return Phase(name="general"), Phase(name="domain")

    def parameter_groups(self, phase: Phase) -> list[ParameterGroup]:
        """Return the one prefix that the phase trains."""
        return [ParameterGroup(phase.name, (self.general if phase.name == "general" else self.domains,))]

    def encode_side(self, batch: TokenBatch, side: Side) -> Encoded:
        """Return [B, dim]."""
        prefixes = self.general.unsqueeze(0)
        if side == "query":
            names = batch.columns.get("domain", (self.choices.domain,) * len(batch))
            chosen = torch.tensor([[name == known for known in DOMAINS] for name in names])
            weights = chosen.to(self.domains.dtype).to(self.domains.device)
            prefixes = prefixes + torch.einsum("bn,nlkpd->blkpd", weights, self.domains)
        return Encoded(self.encoder(batch, Prefixes(prefixes)))


class Prefixes(Hooks):
    """Keys and values of each layer, for each text or for all: [B or 1, layers, 2, P, D]."""

    def __init__(self, prefixes: Tensor) -> None:
        self._prefixes = prefixes

    def keys_values(self, layer: int, states: Tensor, layout: Layout) -> KeysValues | None:
        """Return those of the layer."""
        both = self._prefixes[:, layer]
        keys, values = (both[0] if len(both) == 1 else layout.of_texts(both)).unbind(dim=-3)
        return keys, values
