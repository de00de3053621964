"""Checkpoints of DPR's own code (facebookresearch/DPR, ``hf_bert``) as the method `dpr`.

The file is a dict with ``model_dict``: the tensors of ``question_model`` and ``ctx_model``, each a BERT by
transformers' names; ``encoder_params`` says length and projection. In its code a question is a single
text whose typographic apostrophes are made straight, a passage the pair (title, text), the vector the last
layer's [CLS], the score a dot product. Layouts of transformers' own DPR classes are another form.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dretrieve.errors import DataError
from dretrieve.models.bi_encoder import BiEncoder
from dretrieve.models.cards import read_card
from dretrieve.models.dpr import Dpr
from dretrieve.models.dpr_config import DprConfig
from dretrieve.models.foreign.checkpoint import ForeignCheckpoint
from dretrieve.models.foreign.layout import check_sizes, fill
from dretrieve.models.places import find_model
from dretrieve.tokens.tokenizer import lowers

QUESTION, CONTEXT = "question_model.", "ctx_model."
USUAL_TOKENS = 256  # the default of the code, for a checkpoint that does not say
UNUSED = ("embeddings.position_ids", "pooler.dense.weight", "pooler.dense.bias")


def convert(checkpoint: ForeignCheckpoint, backbone: str) -> Dpr:
    """Return the `dpr` model with these weights.

    Raises:
        DataError: tensors that do not fit; a projection, for which `dpr` has no place.
    """
    method = Dpr.build(DprConfig(**side_options(checkpoint, backbone)), backbone)
    ask_as_dpr(method)
    parts = {"query_encoder.backbone.": QUESTION, "passage_encoder.backbone.": CONTEXT}
    names = {
        ours: theirs + ours.removeprefix(part)
        for part, theirs in parts.items()
        for ours in method.state_dict()
        if ours.startswith(part)
    }
    fill(method, checkpoint, names, {side + name for side in parts.values() for name in UNUSED})
    return method


def side_options(checkpoint: ForeignCheckpoint, backbone: str, inner: str = "") -> Mapping[str, Any]:
    """Return the options of `BiEncoderConfig` that say what DPR's code does with texts and states.

    ``inner`` is the name of the transformers encoder inside each side's model, with its dot.

    Raises:
        DataError: no such checkpoint; another backbone's; a choice of the code that has no counterpart here.
    """
    settings, tensors = checkpoint.settings, checkpoint.tensors
    start = f"{QUESTION}{inner}"
    matrices = [tensors.get(f"{start}embeddings.{kind}_embeddings.weight") for kind in ("word", "position")]
    if any(matrix is None or matrix.dim() != 2 for matrix in matrices):
        first = next(iter(tensors))
        raise DataError(
            f"{checkpoint.path} holds no {start}embeddings (its first tensor is {first}); it was written by "
            "another code, or another --from fits it"
        )
    check_sizes(checkpoint, start, backbone)
    projected = any(name.startswith(f"{QUESTION}encode_proj.") for name in tensors)
    refused = ("factor_rep", "mean_pool_ctx_only") if settings.get("mean_pool") else ("factor_rep",)
    without = [name for name in refused if settings.get(name)] + ["a projection (encode_proj)"] * projected
    if without:
        raise DataError(f"{checkpoint.path} was trained with {without[0]}, which has no counterpart here")
    _check_case(checkpoint, backbone)
    positions = len(tensors[f"{start}embeddings.position_embeddings.weight"])
    length = int(settings.get("sequence_length", min(USUAL_TOKENS, positions)))
    titled = bool(settings.get("use_title", True))
    return {
        "pooling": "mean" if settings.get("mean_pool") else "cls",
        "normalize": "no",
        "temperature": 1.0,
        "query_max_len": length,
        "passage_max_len": length,
        "query_template": "{text}",
        "passage_template": "{title} {text}" if titled else "{text}",
        "pair": "yes" if titled else "no",
    }


def _check_case(checkpoint: ForeignCheckpoint, backbone: str) -> None:
    """Refuse a backbone whose tokenizer treats capitals otherwise: theirs is told (do_lower_case)."""
    folder, said = find_model(backbone), checkpoint.settings.get("do_lower_case")
    does = lowers(folder / read_card(folder)[0].query.folder)
    if None not in (said, does) and bool(said) != does:
        raise DataError(
            f"{checkpoint.path} says do_lower_case {said}, and the tokenizer of {folder} does otherwise; "
            f'write "do_lower_case": {str(bool(said)).lower()} into its tokenizer_config.json'
        )


def ask_as_dpr(method: BiEncoder) -> None:
    """Let questions be read as DPR's code reads them: with straight apostrophes."""
    card = method.cards["query"]
    method.cards["query"] = replace(card, settings={**card.settings, "straight_quotes": True})
