"""Checkpoints of the SB-MoE authors' code (FaySokli/SB-MoE) as the method `sb-moe`.

The file holds the model's tensors by name: ``doc_model.*`` the encoder, for queries too; expert i as
``specializer.<i>.query_embedding_changer_1`` and ``_4`` (the numbers between are activation and dropout); the
gate ``cls_1``, ``cls_3``; its noise ``noise_linear``. Their vector is the mean of the last states, not
divided by its length; title and text are joined by a blank. Their training lower-cases texts and their
search does not: that is left to the tokenizer.
"""

from __future__ import annotations

import re

from dretrieve.errors import DataError
from dretrieve.models.foreign.checkpoint import ForeignCheckpoint
from dretrieve.models.foreign.layout import check_sizes, fill
from dretrieve.models.sb_moe import SbMoe
from dretrieve.models.sb_moe_config import SbMoeConfig

ENCODER = "doc_model."
EXPERT = re.compile(r"specializer\.(\d+)\.query_embedding_changer_1\.weight")
OURS = "encoder.backbone."
PARTS = {"0": "query_embedding_changer_1", "2": "query_embedding_changer_4"}
GATE = {"block.network.0.": "cls_1.", "block.network.2.": "cls_3.", "block.noise.": "noise_linear."}
UNUSED = ("embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias")
MOST_TOKENS = 512  # the code's own limit


def convert(checkpoint: ForeignCheckpoint, backbone: str) -> SbMoe:
    """Return the `sb-moe` model with these weights.

    Raises:
        DataError: no such checkpoint; another backbone's; tensors that do not fit.
    """
    tensors = checkpoint.tensors
    experts = {int(found[1]): name for name in tensors if (found := EXPERT.fullmatch(name))}
    positions = tensors.get(f"{ENCODER}embeddings.position_embeddings.weight")
    if not experts or positions is None or f"{ENCODER}embeddings.word_embeddings.weight" not in tensors:
        raise DataError(
            f"{checkpoint.path} holds no specializer and {ENCODER}embeddings (its first tensor is "
            f"{next(iter(tensors))}); it was written by another code, or another --from fits it"
        )
    check_sizes(checkpoint, ENCODER, backbone)
    length = min(MOST_TOKENS, len(positions))
    config = SbMoeConfig(
        num_experts=len(experts),
        expert_hidden=len(tensors[experts[min(experts)]]),
        pooling="mean",
        normalize="no",
        query_max_len=length,
        passage_max_len=length,
        query_template="{text}",
        passage_template="{title} {text}",
        pair="no",
    )
    method = SbMoe.build(config, backbone)
    names = {ours: _theirs(ours) for ours in method.state_dict()}
    fill(method, checkpoint, names, {ENCODER + name for name in UNUSED})
    return method


def _theirs(name: str) -> str:
    """Return the authors' name of our tensor."""
    expert = re.fullmatch(r"block\.experts\.(\d+)\.(0|2)\.(weight|bias)", name)
    if expert:
        return f"specializer.{expert[1]}.{PARTS[expert[2]]}.{expert[3]}"
    for ours, theirs in (GATE | {OURS: ENCODER}).items():
        if name.startswith(ours):
            return theirs + name.removeprefix(ours)
    raise AssertionError(f"the block has a tensor {name} that the authors' has not")
