"""Options of `dretrieve.models.ddr`."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

from dretrieve.errors import UsageError
from dretrieve.models.bi_encoder_config import AUTO, BiEncoderConfig
from dretrieve.options import option, refuse_given

ROUTINGS = ("prior", "topk", "soft", "uniform")
ROUTERS = ("input", "layer")
OF_DOMAINS = ("routing", "top_k", "domains", "router", "general_rate", "router_rate")
# What an option is that neither the command line nor the backbone says.
ELSE: dict[str, Any] = {
    "prefix_length": 128,
    "prefix_positions": "zero",
    "routing": "prior",
    "top_k": 2,
    "router": "input",
}
NAME = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


def names_of(text: str, where: str) -> tuple[str, ...]:
    """Return the domains of ``medical+science``; ``where`` they were given, for messages.

    Raises:
        UsageError: one twice, or what is no name.
    """
    found = tuple(text.split("+")) if text else ()
    for name in found:
        if not NAME.fullmatch(name):
            raise UsageError(
                f"{where}{text}: {name!r} is no domain's name; give small letters, digits and dashes, "
                "several names with + between them"
            )
        if found.count(name) > 1:
            raise UsageError(f"{where}{text}: {name} is given twice")
    return found


@dataclass(frozen=True, kw_only=True, slots=True)
class DdrChoices:
    """What ``encode --set`` may change: how queries are routed. Passages read the general prefix alone."""

    routing: str = option(
        "none",
        "Whose prefixes a query reads: prior those of domains=, topk the top_k with the largest weights, "
        "soft all, uniform those of domains= (else all) with equal weights, none the general prefix alone.",
        legal=(*ROUTINGS, "none"),
        sides=("query",),
    )
    domains: str = option("", "The queries' domains, as in medical+science.", sides=("query",))
    top_k: int = option(2, "Domains of topk.", least=1, sides=("query",))
    router: str = option("input", "What the router reads: see --router.", legal=ROUTERS, sides=("query",))


@dataclass(frozen=True, kw_only=True, slots=True)
class DdrConfig(BiEncoderConfig):
    """A general prefix, or the prefixes of domains and their router, on a frozen encoder."""

    choices: ClassVar[type] = DdrChoices

    prefix_length: int = option(
        0, "Keys, and as many values, before each layer's own; 0 as the backbone's, else 128.", least=0
    )
    prefix_dropout: float = option(0.1, "Dropout of the summed prefix.", least=0, below=1)
    prefix_positions: str = option(
        AUTO,
        "The first token's position: zero, or shifted by the length, as in the authors' code.",
        legal=(AUTO, "zero", "shifted"),
    )
    train_domains: str = option(
        "",
        "Train these domains' prefixes, as in medical+science, on a ddr model; without it the general one.",
    )
    routing: str = option(AUTO, "How queries are routed; auto prior.", legal=(AUTO, *ROUTINGS))
    top_k: int = option(0, "Domains of topk; 0: 2.", least=0)
    domains: str = option("", "Domains of queries that say none: of --dev, and later the default of --set.")
    router: str = option(
        AUTO, "The router reads the mean of the input embeddings, or of each layer.", legal=(AUTO, *ROUTERS)
    )
    general_rate: float = option(
        0.0, "The general prefix's rate while domains are trained (7e-6 in the paper); 0 freezes it.", least=0
    )
    router_rate: float = option(5e-5, "The router's learning rate.", above=0)

    def __post_init__(self) -> None:
        BiEncoderConfig.__post_init__(self)
        names_of(self.domains, "--domains ")
        if self.routing == "uniform":
            refuse_given(self, ("router_rate",), "teaches the router, which --routing uniform does not ask")
        if not names_of(self.train_domains, "--train-domains "):
            refuse_given(
                self, OF_DOMAINS, "is of the training of domains; give --train-domains too, or leave it out"
            )

    def defaults(self) -> DdrChoices:
        """Return the choices with which it was trained; a model of the general prefix reads that alone."""
        if not self.train_domains:
            return DdrChoices()
        return DdrChoices(routing=self.routing, domains=self.domains, top_k=self.top_k, router=self.router)

    def with_domains(self, names: Sequence[str], router: str) -> DdrConfig:
        """Return the config of the model when these are its domains, without what they make illegal."""
        if not names:
            free: dict[str, Any] = {of.name: of.default for of in fields(self) if of.name in OF_DOMAINS}
            return replace(self, train_domains="", **free)
        routing = ELSE["routing"] if self.routing == AUTO else self.routing
        top_k = self.top_k or ELSE["top_k"]
        return replace(
            self,
            train_domains="+".join(names),
            routing=routing,
            domains="+".join(name for name in names_of(self.domains, "") if name in names),
            top_k=min(top_k, len(names)) if routing == "topk" else top_k,
            router=router,
        )
