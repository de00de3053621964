"""Options of `dretrieve.models.sb_moe`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from dretrieve.errors import UsageError
from dretrieve.models.bi_encoder_config import BiEncoderConfig
from dretrieve.options import option, refuse_given

MOST_EXPERTS = 256
GATES = ("noisy", "soft", "scaled", "straight", "random", "uniform")
NO_NETWORK = ("random", "uniform")  # gates that look at no text
OF_NETWORK = ("gate_layers", "balance_weight")


@dataclass(frozen=True, kw_only=True, slots=True)
class SbMoeChoices:
    """What ``encode --set`` may change."""

    activated: int = option(
        1, "Experts kept for a text: 1 the paper's TOP-1, 0 all of them, its ALL.", least=0
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class SbMoeConfig(BiEncoderConfig):
    """One encoder for both sides, and a block of experts behind its vectors."""

    num_experts: int = option(6, "Experts in the block.", least=1, most=MOST_EXPERTS)
    expert_hidden: int = option(0, "Width inside an expert; 0 half the vector's.", least=0)
    gate: str = option(
        "noisy",
        "How experts are weighted: noisy (the paper's), soft (all, in training too), scaled (noisy, and it "
        "learns), straight (one, straight through); the controls random and uniform.",
        legal=GATES,
    )
    gate_layers: int = option(2, "Linear layers of the gate.", least=1, most=3)
    activation: str = option("relu", "Inside experts and gate.", legal=("relu", "gelu", "tanh"))
    block: str = option("shared", "One block for both sides, or one for each.", legal=("shared", "sides"))
    balance_weight: float = option(0.0, "Weight of the loss that wants all experts used alike.", least=0)
    encoder_scale: float = option(
        0.01, "The encoder's share of the learning rate; 0 freezes it, without dropout.", least=0, most=1
    )

    choices: ClassVar[type] = SbMoeChoices

    def __post_init__(self) -> None:
        BiEncoderConfig.__post_init__(self)
        if self.gate in NO_NETWORK:
            why = f"is of a gate that looks at the text, and --gate {self.gate} does not"
            refuse_given(self, OF_NETWORK, f"{why}; leave it out, or give another --gate")

    def check_choices(self, chosen: Mapping[str, Any]) -> None:
        """Refuse to keep more experts than there are."""
        if chosen["activated"] > self.num_experts:
            raise UsageError(
                f"--set activated={chosen['activated']}: this model has {self.num_experts} experts; give "
                "fewer, or 0 for all"
            )
