"""``ddr``: prefixes before every layer of a frozen encoder: a general one, and one for each domain.

"Dynamic Dense Retrieval" (arXiv 2602.22547). Passages read the general prefix alone (equation 2), so that
domains come and go over one index; queries the sum of it and their domains' prefixes (equations 3 and 4, in
`dretrieve.models.prefix`). The encoder is frozen with its norms and without dropout. With domains' prefixes
of zero the method is its general prefix.

There are two trainings, and ``--train-domains`` says which:

- Without it the general prefix is trained, on a plain encoder or further on a ddr model without domains.
- ``--train-domains medical+science --backbone G`` trains these domains' prefixes and rows of the router on
  the ddr model G; domains that G lacks are added, others stay as they are. A query's domains are those that
  the data say (``domains=medical+science`` in ``--data``, or a field of the queries). The general prefix is
  frozen, and then passages have no dropout and may be given by their vectors (``passage_vectors=``), or it
  learns at ``--general-rate``. The paper's sentence "7e-3 for general, 7e-6 for domain" has its rates
  swapped: by the authors' code they are the domains' and the general prefix's in this training.

Where the paper is silent or we differ: weights are a softmax over the chosen domains alone (its table says
so: with one domain its scores with and without routing are the same); tokens have the positions from 0, the
authors' code from the prefix's length on (``--prefix-positions shifted``); domains begin with zeros, there
with N(0, 1); a domain's row of the router stands in its own file, so that adding a domain is adding a file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import torch
from safetensors import safe_open
from torch import Tensor, nn

from dretrieve.errors import PreconditionError, UsageError
from dretrieve.models.backbone import WEIGHTS, explained_weights
from dretrieve.models.base import Encoded, ParameterGroup, TokenBatch
from dretrieve.models.bi_encoder import BiEncoder
from dretrieve.models.cards import read_card
from dretrieve.models.config import Phase
from dretrieve.models.ddr_config import ELSE, OF_DOMAINS, DdrChoices, DdrConfig, names_of
from dretrieve.models.encoder import PooledEncoder
from dretrieve.models.encoder_method import (
    INNER,
    Backbone,
    Sides,
    check_positions,
    completed,
    pack_pair,
    pooled_encoder,
)
from dretrieve.models.places import find_model
from dretrieve.models.prefix import Domain, Prefixes, RoutedPrefixes, new_prefix
from dretrieve.store.card import ModelCard
from dretrieve.store.fingerprint import sha256_file
from dretrieve.types import SIDES, Side

GENERAL = "general.safetensors"
MODULES = "modules"
RATE = {"learning_rate": 7e-3}  # of prefixes, in the paper
PHASES = {
    "general": Phase(name="general", options=RATE),
    "domains": Phase(name="domains", options=RATE),
}


def module_file(domain: str) -> str:
    """Return a domain's file in a model's folder."""
    return f"{MODULES}/{domain}.safetensors"


class Ddr(BiEncoder):
    """A frozen encoder with prefixes.

    Attributes:
        general: [layers, 2, length, width], keys before values.
    """

    name = "ddr"
    config_class = DdrConfig
    columns: ClassVar[tuple[str, ...]] = ("domains",)
    own_rate: ClassVar[bool] = True
    inside: ClassVar[bool] = True
    config: DdrConfig
    encoder: PooledEncoder

    def __init__(self, config: DdrConfig, backbone: Backbone) -> None:
        super().__init__(config, backbone)
        self.encoder = pooled_encoder(self, backbone, "query")
        self.general = new_prefix(len(self.encoder.layers), config.prefix_length, self.encoder.width)
        self.domains = nn.ModuleDict()
        if self._shifted:
            for card in self.cards.values():
                check_positions(self.encoder.backbone, card, config.prefix_length)

    @classmethod
    def build(cls, config: DdrConfig, backbone: str) -> Self:
        """Return the method on an encoder, or with the domains to be trained on a ddr model.

        Raises:
            PreconditionError: domains on what is no ddr model; a general prefix under domains that were
                trained on it; another prefix than the model's.
            UsageError: a rate of the general prefix, or another router, beside domains that are not trained;
                see `choose`.
        """
        known, _ = read_card(find_model(backbone))
        asked = names_of(config.train_domains, "--train-domains ")
        if asked and known.method != cls.name:
            raise PreconditionError(
                f"{backbone} has no general prefix to train domains on; first dretrieve train ddr without "
                "--train-domains, then give its output as --backbone"
            )
        open_ones = {of: ELSE[of] for of in ELSE if asked or of not in OF_DOMAINS}
        method = super().build(completed(config, known, cls.name, open_ones), backbone)
        if not asked and method.domains:
            raise PreconditionError(
                f"{backbone} has the domains {', '.join(method.names)}, trained on its general prefix; say "
                "with --train-domains which to train"
            )
        others = sorted({*method.domains} - set(asked))
        if config.general_rate and others:
            raise UsageError(
                f"--general-rate {config.general_rate:g} changes the general prefix, on which {backbone}'s "
                f"domains {', '.join(others)} were trained; leave it out, or train them too: --train-domains "
                f"{'+'.join(sorted({*others, *asked}))}"
            )
        read = known.method_config.get("router")
        if others and method.config.router != read:
            raise UsageError(
                f"--router {method.config.router}: {backbone}'s domains {', '.join(others)} learned their "
                f"rows of the router with {read}; leave it out, or train them too: --train-domains "
                f"{'+'.join(sorted({*others, *asked}))}"
            )
        for name in sorted(set(asked) - {*method.domains}):
            method.add_domain(name)
        method.choose({})
        return method

    def add_domain(self, name: str) -> Domain:
        """Add a domain, its prefix zeros; return it."""
        if hasattr(self.domains, name):
            raise UsageError(f"no domain can be called {name}; give it another name")
        layers, _, length, width = self.general.shape
        self.domains[name] = found = Domain(layers, length, width)
        return found

    @property
    def names(self) -> tuple[str, ...]:
        """The domains, in the order in which they are summed."""
        return tuple(sorted(self.domains))

    @property
    def _shifted(self) -> bool:
        return self.config.prefix_positions == "shifted"

    @classmethod
    def structure(cls, config: DdrConfig, side: Side) -> dict[str, Any]:
        """Return the prefix's length and the tokens' positions behind it."""
        return {"prefix_length": config.prefix_length, "prefix_positions": config.prefix_positions}

    @classmethod
    def place_of(cls, name: str) -> tuple[Sides, str]:
        """Return the sides that depend on a part, and its file: one for each domain."""
        if name.startswith("domains."):
            return ("query",), module_file(name.split(".")[1])
        return SIDES, GENERAL

    def about(self, folder: Path, file: str) -> dict[str, str]:
        """Return a module's card: what it is, and what it was trained on."""
        if file == GENERAL:
            return super().about(folder, file)
        name = Path(file).stem
        domain = self.domains[name]
        assert isinstance(domain, Domain)
        found = {
            **domain.record,
            "domain": name,
            "prefix_length": self.config.prefix_length,
            "prefix_positions": self.config.prefix_positions,
            "router": self.default_choices().router,
            "encoder": sha256_file(folder / INNER / WEIGHTS),
            "general": sha256_file(folder / GENERAL),
        }
        return {"card": json.dumps(found, sort_keys=True)}

    def _fill(self, folder: Path, card: ModelCard, parts: Mapping[str, Tensor]) -> None:
        for file in sorted(set(card.query.parts) - {GENERAL}):
            self.add_domain(Path(file).stem).record = module_card(folder / file)
        super()._fill(folder, card, parts)

    def default_choices(self) -> DdrChoices:
        """Return the config's."""
        return self.config.defaults()

    def choose(self, inference: Mapping[str, str | int | float | bool]) -> None:
        """Take the inference choices.

        Raises:
            UsageError: a domain that it does not have, a choice that the routing does not look at, more
                domains of topk than there are.
        """
        super().choose(inference)
        chosen = self.choices
        if chosen.routing != "none" and not self.domains:
            raise UsageError(
                f"routing={chosen.routing}: this model has no domains; leave it out, or train some with "
                "--train-domains"
            )
        self._known(chosen.domains, "domains=")
        if chosen.domains not in ("", self.config.domains) and chosen.routing not in ("prior", "uniform"):
            raise UsageError(
                f"domains={chosen.domains}: routing {chosen.routing} does not look at them; leave them out, "
                "or choose prior or uniform"
            )
        for name, routings in (("top_k", ("topk",)), ("router", ("prior", "topk", "soft"))):
            value = getattr(chosen, name)
            if chosen.routing not in routings and value != getattr(self.default_choices(), name):
                raise UsageError(
                    f"{name}={value}: routing {chosen.routing} does not ask for it; leave it out, or choose "
                    f"routing={' or '.join(routings)}"
                )
        if chosen.routing == "topk" and chosen.top_k > len(self.domains):
            raise UsageError(
                f"top_k={chosen.top_k}: this model has {len(self.domains)} domains "
                f"({', '.join(self.names)}); give fewer"
            )

    def _known(self, domains: Any, where: str) -> tuple[str, ...]:
        """Return the domains that a text names: none, ``medical+science``, or a list."""
        text = "+".join(map(str, domains)) if isinstance(domains, list | tuple) else str(domains or "")
        names = names_of(text, where)
        for name in names:
            if name not in self.domains:
                raise UsageError(
                    f"{where}{text}: this model has no domain {name!r}; it has "
                    f"{', '.join(self.names) or 'none'}"
                )
        return names

    def check_fields(self, name: str, fields: Mapping[str, Sequence[Any]]) -> str:
        """Return how many queries of a set have no domain, where that matters, or that theirs do not.

        The trained domains that its queries may read keep the set's name.
        """
        trained = names_of(self.config.train_domains, "")
        if not trained:
            told = any(fields["domains"])
            return f"{name}: domains= is for --train-domains, and changes nothing without" if told else ""
        labels = [self._known(of, f"--data {name}: domains=") for of in fields["domains"]]
        bare, routing = sum(not of for of in labels), self.config.routing
        read_all = routing in ("soft", "topk") or (routing == "uniform" and bare)
        for domain in trained:
            if read_all or any(domain in of for of in labels):
                module: Any = self.domains[domain]
                sets = {*module.record.get("data", ()), name}
                module.record = {**module.record, "data": sorted(sets)}
        if not bare or routing != "prior":
            return ""
        return (
            f"{name}: {bare:,} of {len(labels):,} queries have no domains= and read the general prefix alone"
        )

    @property
    def keeps_encoder(self) -> bool:
        """Always: prefixes and router are what is trained."""
        return True

    @classmethod
    def takes_vectors(cls, config: DdrConfig, side: Side) -> bool:
        """Return whether nothing that is trained stands behind the side's vectors."""
        return side == "passage" and bool(config.train_domains) and config.general_rate == 0

    def phases(self) -> tuple[Phase, ...]:
        """Return the one training."""
        return (PHASES["domains" if self.config.train_domains else "general"],)

    def parameter_groups(self, phase: Phase) -> list[ParameterGroup]:
        """Return the general prefix, or the trained domains' prefixes and rows of the router."""
        config = self.config
        if not config.train_domains:
            return [ParameterGroup("general", (self.general,))]
        modules: list[Any] = [self.domains[name] for name in sorted(names_of(config.train_domains, ""))]
        groups = [
            ParameterGroup("domains", tuple(of.prefix for of in modules)),
            ParameterGroup("router", tuple(of.router for of in modules), config.router_rate),
        ]
        if config.general_rate:
            groups.append(ParameterGroup("general", (self.general,), config.general_rate))
        return groups

    def encode_side(self, batch: TokenBatch, side: Side) -> Encoded:
        """Return [B, dim] of texts; passages' vectors that were given stay as they are.

        Raises:
            UsageError: queries whose domains nothing says, under prior; an unknown domain.
        """
        if batch.vectors is not None:
            return Encoded(batch.vectors)
        return Encoded(self.encoder(batch, self.prefixes(batch, side)))

    def encode_pair(self, query: TokenBatch, passage: TokenBatch) -> tuple[Encoded, Encoded]:
        """Return both sides, from one forward while the general prefix alone is trained."""
        if self.config.train_domains:
            return self.encode_side(query, "query"), self.encode_side(passage, "passage")
        both = self.encoder(pack_pair(query, passage), self.prefixes(passage, "passage"))
        return Encoded(both[: len(query)]), Encoded(both[len(query) :])

    def prefixes(self, batch: TokenBatch, side: Side) -> Prefixes:
        """Return what a side's texts read; passages' constants get no dropout."""
        constant = self.takes_vectors(self.config, side)
        more: dict[str, Any] = {
            "dropout": self.config.prefix_dropout if self.training and not constant else 0.0,
            "shifted": self._shifted,
        }
        wanted = self.wanted(batch) if side == "query" else []
        used = sorted({name for names in wanted for name in names})
        if not used:
            return Prefixes(self.general, **more)
        chosen, domains = self.choices, [self.domains[name] for name in used]
        return RoutedPrefixes(
            self.general,
            domains,  # type: ignore[arg-type]  # a ModuleDict does not say of what
            torch.tensor([[name in names for name in used] for names in wanted]),
            top_k=chosen.top_k if chosen.routing == "topk" else 0,
            uniform=chosen.routing == "uniform",
            each_layer=chosen.router == "layer",
            **more,
        )

    def wanted(self, batch: TokenBatch) -> list[tuple[str, ...]]:
        """Return the domains that each query may read."""
        routing, every, said = self.choices.routing, self.names, self.choices.domains
        if routing == "none" or not every:
            return []
        if routing in ("soft", "topk"):
            return [every] * len(batch)
        if routing == "prior" and not said and "domains" not in batch.columns:
            raise UsageError(
                "queries are routed by their prior domains, and nothing says which; give --set "
                f"domains=… with one or more of {', '.join(every)} joined by + (in training --domains for "
                "--dev), or another --set routing="
            )
        given = batch.columns.get("domains", [said] * len(batch))
        found = [self._known(of, "domains=") for of in given]
        return found if routing == "prior" else [of or every for of in found]


def module_card(file: Path) -> dict[str, Any]:
    """Return the card of a domain's file."""
    with explained_weights(file), safe_open(file, "pt") as opened:
        card: dict[str, Any] = json.loads((opened.metadata() or {}).get("card", "{}"))
    return card
