"""Checkpoints of the TASER authors' code (microsoft/taser) as the method `taser` with ``--router det``.

The file is laid out as DPR's (`dretrieve.models.foreign.dpr`), each side's encoder one level deeper and both
sides the same weights. A specialised layer holds ``moe_layer.interm_layers.<expert>`` and
``moe_layer.output_layers.<expert>`` where BERT has ``intermediate`` and ``output``. Expert 0 reads
questions, expert 1 passages. The released checkpoints have two experts in every third layer and no gate.

Refused, because the vectors would not be the authors': gates (their code feeds the gate the block's input,
`taser` what the expert reads), experts in the attention, four experts without a gate (one is drawn).
"""

from __future__ import annotations

import re

import torch

from dretrieve.errors import DataError
from dretrieve.models.foreign.checkpoint import ForeignCheckpoint
from dretrieve.models.foreign.dpr import CONTEXT, QUESTION, UNUSED, ask_as_dpr, side_options
from dretrieve.models.foreign.layout import depth, fill, refuse_missing
from dretrieve.models.taser import Taser
from dretrieve.models.taser_config import DETERMINISTIC_EXPERTS, TaserConfig
from dretrieve.models.weights import counted

INNER = "encoder."
OURS = "encoder.backbone."
EXPERT = re.compile(r"encoder\.layer\.(\d+)\.moe_layer\.interm_layers\.(\d+)\.dense\.weight")
PARTS = {"intermediate": "interm_layers", "output": "output_layers"}


def convert(checkpoint: ForeignCheckpoint, backbone: str) -> Taser:
    """Return the `taser` model with these weights.

    Raises:
        DataError: tensors that do not fit; gates or experts that have no counterpart; two encoders.
    """
    options = side_options(checkpoint, backbone, INNER)
    method = Taser.build(TaserConfig(router="det", every=_every(checkpoint), **options), backbone)
    ask_as_dpr(method)
    names = {ours: QUESTION + INNER + _theirs(ours, method.layers) for ours in method.state_dict()}
    twins = {name: CONTEXT + name.removeprefix(QUESTION) for name in names.values()}
    unused = {side + INNER + name for side in (QUESTION, CONTEXT) for name in UNUSED}
    fill(method, checkpoint, names, unused | set(twins.values()))
    if any(name.startswith(CONTEXT) for name in checkpoint.tensors):  # else one side was saved for both
        refuse_missing(checkpoint, twins.values())
        tensors = checkpoint.tensors
        other = [name for name, twin in twins.items() if not torch.equal(tensors[name], tensors[twin])]
        if other:
            raise DataError(
                f"{checkpoint.path} has an encoder for each side (they differ in {counted(other)}, the first "
                f"is {other[0]}); taser has one for both, as all released checkpoints of its authors"
            )
    return method


def _theirs(name: str, layers: tuple[int, ...]) -> str:
    """Return the authors' name of our tensor: of an expert's another, of the rest the same."""
    beside = re.fullmatch(r"encoder\.experts\.(\d+)\.(\d+)\.(intermediate|output)\.(.*)", name)
    if beside:
        number, expert, part, rest = beside[1], int(beside[2]) + 1, beside[3], beside[4]
        return f"encoder.layer.{number}.moe_layer.{PARTS[part]}.{expert}.{rest}"
    own = re.fullmatch(r"(encoder\.layer\.(\d+))\.(intermediate|output)\.(.*)", name.removeprefix(OURS))
    if own and int(own[2]) in layers:
        return f"{own[1]}.moe_layer.{PARTS[own[3]]}.0.{own[4]}"
    return name.removeprefix(OURS)


def _every(checkpoint: ForeignCheckpoint) -> int:
    """Return the distance of the layers with experts."""
    path = checkpoint.path
    for word, what in (("expert_gate", "gates"), ("moe_query", "experts in the attention")):
        first = next((name for name in checkpoint.tensors if f".{word}." in name), None)
        if first is not None:
            raise DataError(
                f"{path} has {what} ({first}); only TASER with fixed experts (Det-R) is converted, as its "
                "authors released it: theirs compute otherwise than `dretrieve train taser --router seq`"
            )
    start = QUESTION + INNER
    inner = [name.removeprefix(start) for name in checkpoint.tensors if name.startswith(start)]
    found = [(int(match[1]), int(match[2])) for match in map(EXPERT.fullmatch, inner) if match]
    if not found:
        raise DataError(f"{path} has no experts (moe_layer): an encoder without them is no TASER checkpoint")
    layers, experts = sorted({layer for layer, _ in found}), {expert for _, expert in found}
    if len(experts) != DETERMINISTIC_EXPERTS:
        raise DataError(
            f"{path} has {counted(sorted(map(str, experts)), 'expert')} in a layer and no gate; the authors' "
            f"code then draws one at random, and {DETERMINISTIC_EXPERTS} are converted"
        )
    total, every = depth(checkpoint, start), layers[0] + 1
    if layers != list(range(layers[0], total, every)):
        raise DataError(
            f"{path} has experts in the layers {', '.join(map(str, layers))} (from 0) of {total}, which are "
            "not every n-th; such patterns have no counterpart here"
        )
    return every
