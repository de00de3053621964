"""Prompts of the DDR authors' code (FreedomIntelligence/REMOP) as the method `ddr`, on the encoder given.

Their training leaves a folder: ``general_state_dict.prompt``, which is the checkpoint, and beside it a file
``lm_q_attribute_<domain>.prompt`` for each domain. Each holds an embedding [P, 2·L·D], layer by layer, keys
before values. ``lm_p_attribute_<domain>.prompt`` are not read: passages have no domain. Their vector is the
last [CLS], not divided by its length; tokens have the positions from P on; queries have 32 tokens, passages
128. They read one text a passage; here title and text are joined by a blank.

No router stands in these files. A domain's row of it is zeros here, so that the domains chosen weigh alike,
as in the code's training without a router; its encoding then halves the domains' part (``prompt_weight``),
which is not done here.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dretrieve.errors import DataError
from dretrieve.models.cards import read_card
from dretrieve.models.ddr import Ddr
from dretrieve.models.ddr_config import NAME, DdrConfig
from dretrieve.models.foreign.checkpoint import ForeignCheckpoint, read_checkpoint
from dretrieve.models.foreign.forms import FORMS
from dretrieve.models.foreign.layout import CURE
from dretrieve.models.places import find_model
from dretrieve.models.weights import lay_in

# Of both encoders, which are one: their code writes it twice.
GENERAL = tuple(f"{side}.general_prefix_encoder.embedding.weight" for side in ("lm_q", "lm_p"))
DOMAIN = "embedding.weight"
TOKENS = {"query_max_len": 32, "passage_max_len": 128}


def convert(checkpoint: ForeignCheckpoint, backbone: str) -> Ddr:
    """Return the `ddr` model with this general prefix, and the domains that stand beside its file.

    Raises:
        DataError: no such checkpoint; another backbone's; a prefix for each side; a file without a domain.
    """
    path = checkpoint.path
    found = [checkpoint.tensors[name] for name in GENERAL if name in checkpoint.tensors]
    if not found or found[0].dim() != 2:
        raise DataError(
            f"{path} holds no {GENERAL[0]} (its first tensor is {next(iter(checkpoint.tensors))}); it was "
            "written by another code, or another --from fits it"
        )
    if not torch.equal(found[0], found[-1]):
        raise DataError(f"{path} has a general prefix for each side; ddr has one, for queries and passages")
    length = len(found[0])
    card, _ = read_card(find_model(backbone))
    tokens: dict[str, Any] = {of: min(most, card.query.max_tokens - length) for of, most in TOKENS.items()}
    method = Ddr.build(
        DdrConfig(
            prefix_length=length,
            prefix_positions="shifted",
            pooling="cls",
            normalize="no",
            temperature=1.0,
            query_template="{text}",
            passage_template="{title} {text}",
            pair="no",
            **tokens,
        ),
        backbone,
    )
    places = {name: torch.empty_like(method.general.data) for name in GENERAL if name in checkpoint.tensors}
    method.general.data = _filled(places, checkpoint.tensors, path)[GENERAL[0]]
    for file in sorted(path.parent.glob(FORMS["ddr"].beside)):
        _add(method, file)
    if method.names:
        method.config = method.config.with_domains(method.names, "input")
    method.choose({})
    return method


def _add(method: Ddr, file: Path) -> None:
    """Give the method the domain of a file."""
    name = file.stem.removeprefix(FORMS["ddr"].beside.partition("*")[0])
    if not NAME.fullmatch(name):
        raise DataError(
            f"{file} is of the domain {name!r}, and a domain's name here is small letters, digits and "
            "dashes; rename the file"
        )
    domain = method.add_domain(name)
    places = {DOMAIN: torch.empty_like(domain.prefix.data)}
    domain.prefix.data = _filled(places, read_checkpoint(file).tensors, file)[DOMAIN]
    domain.router.data.zero_()


def _filled(places: Mapping[str, Tensor], tensors: Mapping[str, Tensor], path: Path) -> dict[str, Tensor]:
    """Return prefixes [L, 2, P, D] of embeddings [P, 2·L·D]."""
    flat = {name: of.new_empty(of.shape[2], of[:, :, 0].numel()) for name, of in places.items()}
    lay_in(flat, tensors, path, CURE)
    found = {}
    for name, of in places.items():
        layers, kinds, length, width = of.shape
        found[name] = flat[name].view(length, layers, kinds, width).permute(1, 2, 0, 3).contiguous()
    return found
