"""Options of `dretrieve.models.taser`."""

from __future__ import annotations

from dataclasses import dataclass

from dretrieve.errors import UsageError
from dretrieve.models.bi_encoder_config import BiEncoderConfig
from dretrieve.options import option, refuse_given

MOST_EXPERTS = 64
DETERMINISTIC_EXPERTS = 2
OF_GATES = ("share_router", "entropy_weight", "router_gradient")


@dataclass(frozen=True, kw_only=True, slots=True)
class TaserConfig(BiEncoderConfig):
    """One encoder for both sides, some of whose feed-forward layers are several experts.

    ``router none`` and one expert are the method `shared`.
    """

    router: str = option(
        "det",
        "Who chooses a token's expert: det (its side), seq (a gate on [CLS]), tok (a gate on it), none.",
        legal=("det", "seq", "tok", "none"),
    )
    num_experts: int = option(
        2, "Experts in each specialised layer; 1 is the method shared.", least=1, most=MOST_EXPERTS
    )
    every: int = option(
        3, "Layers from one specialised to the next; 3: two shared, one specialised.", least=1
    )
    share_router: bool = option(True, "One gate for all specialised layers, or one for each (seq, tok).")
    entropy_weight: float = option(
        0.01, "Weight of the gates' entropy, which training raises (seq, tok).", least=0
    )
    router_gradient: str = option(
        "chosen",
        "Which gate entries learn (seq, tok): chosen costs nothing; all also runs the experts not chosen.",
        legal=("chosen", "all"),
    )
    layer_decay: float = option(
        1.0, "Multiplies the learning rate per layer downwards; the authors' is .8.", above=0, most=1
    )

    def __post_init__(self) -> None:
        BiEncoderConfig.__post_init__(self)
        if self.router == "det" and self.num_experts not in (1, DETERMINISTIC_EXPERTS):
            raise UsageError(
                f"--router det has one expert for queries and one for passages, not {self.num_experts} (with "
                "more, the authors' code draws one at random); give --num-experts 2, or --router seq or tok"
            )
        if self.router in ("det", "none"):
            why = f"is of a gate, and --router {self.router} has none"
            refuse_given(self, OF_GATES, f"{why}; leave it out, or give --router seq or tok")

    @property
    def routed(self) -> bool:
        """Whether there is a choice between experts at all."""
        return self.router != "none" and self.num_experts > 1

    @property
    def learned(self) -> bool:
        """Whether gates choose."""
        return self.routed and self.router in ("seq", "tok")
