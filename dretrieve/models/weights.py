"""Weights that a library read: missing, left over, misshapen and broken ones are errors that name them.

What no vector depends on may be missing: the forward is asked by its gradient, not by a list of names. What
the heads of the same family hold (a language model's, a classifier's) may be left over: transformers' own
classes are asked for their names.
"""

from __future__ import annotations

import inspect
import re
import threading
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import safe_open
from torch import Tensor, nn
from transformers.models.auto import modeling_auto

from dretrieve.errors import DataError, PreconditionError

_SWITCHING = threading.Lock()
# Buffers that older versions saved and newer ones compute.
COMPUTED = re.compile(r"(^|\.)(position_ids|token_type_ids|inv_freq|masked_bias|attn\.bias|attention\.bias)$")
HEADS = (
    "PRETRAINING",
    "MASKED_LM",
    "CAUSAL_LM",
    "SEQ_TO_SEQ_CAUSAL_LM",
    "SEQUENCE_CLASSIFICATION",
    "TOKEN_CLASSIFICATION",
    "QUESTION_ANSWERING",
    "MULTIPLE_CHOICE",
    "NEXT_SENTENCE_PREDICTION",
)
# Token ids and lengths of the texts that an encoder is tried with, and how far padding may move a state.
TRIED_IDS, TRIED_LENGTHS, PADDING_SHIFT = (5, 40), (3, 11), 1e-3


def check_weights(place: Path, model: Any, module: nn.Module, report: Mapping[str, Any]) -> None:
    """Refuse a model that is not what its files say.

    ``report`` is transformers' ``output_loading_info``.

    Raises:
        DataError: tensors of another shape, missing, left over, or not finite; names the first and how many.
    """
    shapes = sorted((str(name), tuple(there), tuple(ours)) for name, there, ours in report["mismatched_keys"])
    if shapes:
        name, there, ours = shapes[0]
        raise DataError(
            f"the weights in {place} hold {counted(shapes)} of another shape than config.json says, the "
            f"first is {name}: {_shape(there)} in the file, {_shape(ours)} expected; fetch both again"
        )
    missing = _needed(model, module, sorted(map(str, report["missing_keys"])))
    if missing:
        raise DataError(
            f"the weights in {place} lack {counted(missing)} of the {model.config.model_type} encoder that "
            f"config.json describes, the first is {missing[0]}; fetch or save the model again"
        )
    left = sorted(name for name in map(str, report["unexpected_keys"]) if not COMPUTED.search(name))
    left = _unexplained(model, module, left)
    if left:
        raise DataError(
            f"the weights in {place} hold {counted(left)} for which the {model.config.model_type} encoder "
            f"has no place, the first is {left[0]}; config.json describes another model than the file holds"
        )
    _refuse_whole_numbers(place)
    refuse_broken(dict(model.named_parameters()), f"the model in {place}")


def _refuse_whole_numbers(place: Path) -> None:
    """Refuse quantised weights: loaded as they stand, without their scales, they are other weights."""
    whole = []
    for file in sorted(place.glob("model*.safetensors")):
        with safe_open(file, "pt") as tensors:
            names = [name for name in tensors.keys() if not COMPUTED.search(name)]  # no mapping
            whole += [name for name in names if tensors.get_slice(name).get_dtype()[0] in "IU"]
    if whole:
        raise DataError(
            f"the weights in {place} hold {counted(whole)} of whole numbers, the first is {whole[0]}; "
            "quantised models are not read here: take the one of floats"
        )


def lay_in(places: Mapping[str, Tensor], tensors: Mapping[str, Tensor], where: object, cure: str) -> None:
    """Copy every tensor to its place: nothing missing, nothing left over.

    ``where`` is the file, ``cure`` the end of the sentences.

    Raises:
        DataError: missing, unexpected or wrongly shaped tensors, or numbers that are none (NaN, infinity);
            names the first and how many.
    """
    refuse_lacking(places, tensors, where, cure)
    left = [name for name in tensors if name not in places]
    if left:
        raise DataError(
            f"{where} has {counted(left)} for which this method on this backbone has no place, the first is "
            f"{left[0]}; {cure}"
        )
    other = [name for name, of in places.items() if of.shape != tensors[name].shape]
    if other:
        there, ours = (_shape(of[other[0]].shape) for of in (tensors, places))
        raise DataError(
            f"{where} has {counted(other)} of another shape than this method on this backbone, the first is "
            f"{other[0]}: {there} in the file, {ours} there; {cure}"
        )
    with torch.no_grad():
        for name, of in places.items():
            of.copy_(tensors[name])
    refuse_broken(places, where)


def refuse_lacking(wanted: Iterable[str], tensors: Container[str], where: object, cure: str) -> None:
    """Refuse a file that lacks one of these.

    Raises:
        DataError: names the first and their number.
    """
    missing = [name for name in wanted if name not in tensors]
    if missing:
        raise DataError(
            f"{where} lacks {counted(missing)} that this method on this backbone has, the first is "
            f"{missing[0]}; {cure}"
        )


def refuse_broken(tensors: Mapping[str, Tensor], where: object) -> None:
    """Refuse numbers that are none.

    Raises:
        DataError: names the first tensor with NaN or infinity, and how many there are.
    """
    broken = [name for name, of in tensors.items() if not (of.sum().isfinite() or of.isfinite().all())]
    if broken:
        raise DataError(
            f"{where} holds NaN or infinity in {counted(broken)}, the first is {broken[0]}; the training "
            "went astray or the file is damaged: take another checkpoint"
        )


def counted(names: Sequence[object], unit: str = "tensor") -> str:
    """Return how many there are in words: ``1 tensor``, ``3 tensors``."""
    return f"1 {unit}" if len(names) == 1 else f"{len(names):,} {unit}s"


def _shape(shape: Sequence[int]) -> str:
    return " x ".join(map(str, shape)) or "a number"


def _needed(model: nn.Module, module: nn.Module, missing: Sequence[str]) -> list[str]:
    """Return those of the missing tensors on which a vector depends."""
    parameters = dict(model.named_parameters(remove_duplicate=False))
    buffers = [name for name in missing if name not in parameters and not COMPUTED.search(name)]
    asked = [name for name in missing if name in parameters]
    if not asked or getattr(module, "lm_head", None) is not None:  # one that generates needs everything
        return buffers + asked
    fixed = [parameters[name] for name in asked if not parameters[name].requires_grad]
    for parameter in fixed:
        parameter.requires_grad_(True)
    states = states_of(module, torch.arange(*TRIED_IDS)[None, : TRIED_LENGTHS[1]])
    found = torch.autograd.grad(states.sum(), [parameters[name] for name in asked], allow_unused=True)
    for parameter in fixed:
        parameter.requires_grad_(False)
    reached = [name for name, gradient in zip(asked, found, strict=True) if gradient is not None]
    return buffers + reached + [name for name in asked if "expert" in name and name not in reached]


def _unexplained(model: Any, module: nn.Module, left: Sequence[str]) -> list[str]:
    """Return the left-over tensors that belong neither to a head of the family nor to an unused part."""
    prefix = f"{model.base_model_prefix}."
    unused = (
        {name for name, part in model.named_children() if part is not module} if module is not model else {}
    )
    known = {"pooler", *unused}
    names = [name for name in left if name.removeprefix(prefix).partition(".")[0] not in known]
    for head in _heads(model.config) if names else ():
        own = {name for name, _ in model.named_children()} | {model.base_model_prefix}
        parts = {name for name, _ in head.named_children()} - own
        parts |= {
            name for name, _ in (*head.named_parameters(recurse=False), *head.named_buffers(recurse=False))
        }
        names = [name for name in names if name.partition(".")[0] not in parts]
        if not names:
            break
    return names


def _heads(config: Any) -> Iterator[nn.Module]:
    """Yield transformers' models of that configuration with a head, without weights; the named one first."""
    kinds: list[Any] = []
    for name in HEADS:
        found = getattr(modeling_auto, f"MODEL_FOR_{name}_MAPPING", {}).get(type(config), None)
        kinds += found if isinstance(found, tuple | list) else [found] if found is not None else []
    named = getattr(config, "architectures", None) or ()
    for kind in sorted(dict.fromkeys(kinds), key=lambda kind: kind.__name__ not in named):
        try:
            with torch.random.fork_rng(devices=[]), torch.device("meta"):
                head: nn.Module = kind(config)
        except Exception:  # a head that this configuration does not describe
            continue
        yield head


def takes(module: nn.Module, argument: str) -> bool:
    """Return whether the module's forward takes that argument by name."""
    parameters = inspect.signature(module.forward).parameters
    return argument in parameters


def states_of(
    module: nn.Module, ids: Tensor, mask: Tensor | None = None, types: Tensor | None = None
) -> Tensor:
    """Return [B, T, D], the last states of a transformers encoder, or of one wrapped by peft.

    All are [B, T]: token ids, ``mask`` (True = real token; None: all are), ``types`` of tokens or none.
    """
    inner: Any = getattr(module, "get_base_model", lambda: module)()
    given: dict[str, Tensor] = {"input_ids": ids}
    if takes(inner, "attention_mask"):
        given["attention_mask"] = torch.ones_like(ids) if mask is None else mask.long()
    if types is not None:
        given["token_type_ids"] = types
    if not hasattr(inner, "set_attention_type"):
        states: Tensor = module(**given).last_hidden_state
        return states
    with _SWITCHING:  # BigBird turns to full attention at a short text, and stays there
        inner.set_attention_type(inner.config.attention_type)
        return cast(Tensor, module(**given).last_hidden_state)


@torch.no_grad()
def heeds_padding(module: nn.Module) -> bool:
    """Return whether padding beside a text moves its states, mask or not (FNet, ConvBERT, Funnel …).

    Two texts are encoded alone and beside a longer one, on the right of which nothing is changed.

    Raises:
        PreconditionError: it cannot encode so short a text.
    """
    config: Any = module.config
    ids = torch.arange(*TRIED_IDS).unsqueeze(0) % max(int(getattr(config, "vocab_size", 0) or 0), 8)
    device = next(module.parameters()).device
    ids = ids.to(device)
    for length in TRIED_LENGTHS:
        try:
            alone = states_of(module, ids[:, :length])
        except RuntimeError as error:  # CANINE makes one piece of four characters
            raise PreconditionError(
                f"a {config.model_type} model cannot read a text of {length} tokens ({error}), and texts may "
                "be that short; give another encoder"
            ) from error
        mask = torch.arange(ids.shape[1], device=device).unsqueeze(0) < length
        beside = states_of(module, ids, mask)
        if beside.shape[1] != ids.shape[1]:
            return True
        if float((alone - beside[:, :length]).abs().max()) > PADDING_SHIFT * float(alone.abs().max()):
            return True
    return False
