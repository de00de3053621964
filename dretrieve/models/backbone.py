"""Loading a transformers encoder from its folder, without the reports that nobody asked for."""

from __future__ import annotations

import inspect
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from transformers import AutoConfig
from transformers.activations import NewGELUActivation
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING,
    MODEL_FOR_TEXT_ENCODING_MAPPING,
    MODEL_MAPPING,
)

from dretrieve.errors import DataError, PreconditionError, quoted
from dretrieve.models.plain import ADAPTER, ADAPTER_WEIGHTS, ENCODER_ONLY, adapter_base, transformer_settings
from dretrieve.models.plain import read_json as _json
from dretrieve.models.weights import check_weights, counted, refuse_broken

WEIGHTS = "model.safetensors"
ADAPTED = "base_model.model."  # what peft's names begin with


@contextmanager
def quiet() -> Iterator[None]:
    """Silence transformers' load report and progress bars for the block."""
    from transformers.utils import logging as their_logging

    bars = their_logging.is_progress_bar_enabled()
    level = their_logging.get_verbosity()
    their_logging.set_verbosity(logging.ERROR)
    their_logging.disable_progress_bar()
    try:
        yield
    finally:
        their_logging.set_verbosity(level)
        if bars:
            their_logging.enable_progress_bar()


def load_module(place: Path, *, whole: bool = False, beside: Sequence[str] = ()) -> nn.Module:
    """Return the encoder saved in a folder: float32, evaluation mode, of an encoder-decoder the encoder.

    Adapters of peft are merged into the base model that they name. An encoder-decoder whose decoder states
    sentence-transformers pools (BART, where its files do not say otherwise) is returned whole; with ``whole``
    any is, as the model that generates. Tensors of the names ``beside`` may be left over. A GELU that
    transformers computes in several steps is torch's, in one.

    Raises:
        PreconditionError: transformers cannot read it; code of its own, which is never run.
        DataError: weights missing, left over, of another shape or not finite.
    """
    if (place / ADAPTER).exists():
        return _adapted(place)
    refuse_code(place)
    with _explained_reading(place), quiet():
        config = AutoConfig.from_pretrained(
            str(place), trust_remote_code=False, use_safetensors=True, local_files_only=True
        )
        kind: Any = MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING[type(config)] if whole else _class_of(config)
        wanted: dict[str, Any] = {"attn_implementation": "sdpa" if kind._supports_sdpa else "eager"}
        if "add_pooling_layer" in inspect.signature(kind.__init__).parameters:
            wanted["add_pooling_layer"] = False
        model, report = kind.from_pretrained(
            str(place),
            config=config,
            dtype=torch.float32,
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,
            **wanted,
        )
    model.eval()
    encoder, decoder = getattr(model, "encoder", None), getattr(model, "decoder", None)
    alone = not whole and None not in (encoder, decoder) and not _pools_decoder(place)
    module: Any = encoder if alone else model
    report["unexpected_keys"] = set(report["unexpected_keys"]) - set(beside)
    check_weights(place, model, module, report)
    for part in list(module.modules()):
        for name, inner in part.named_children():
            if isinstance(inner, NewGELUActivation):
                setattr(part, name, nn.GELU(approximate="tanh"))
    if hasattr(config, "use_cache"):
        model.config.use_cache = False  # of generation; a text is read once
    found: nn.Module = module
    return found


@contextmanager
def _explained_reading(place: Path) -> Iterator[None]:
    try:
        yield
    except MemoryError:
        raise
    except Exception as error:  # whatever a strange configuration makes transformers stumble on
        reason = " ".join(str(error).split())[:300]
        raise PreconditionError(f"transformers cannot load the model in {place}: {reason}") from error


def _class_of(config: Any) -> Any:
    """Return transformers' class for that configuration: of T5 and its like the encoder alone."""
    encoder: Any = MODEL_FOR_TEXT_ENCODING_MAPPING.get(type(config), None)
    if encoder is not None and encoder.__name__.endswith("EncoderModel"):
        return encoder
    found: Any = MODEL_MAPPING[type(config)]
    kinds: tuple[Any, ...] = tuple(found) if isinstance(found, tuple | list) else (found,)
    named = getattr(config, "architectures", None) or ()
    beside = vars(sys.modules[kinds[0].__module__])  # a stack saved by itself (PegasusEncoder)
    kinds = (*(beside[of] for of in named if of.endswith("Encoder") and of in beside), *kinds)
    return next((kind for kind in kinds if kind.__name__ in named), kinds[0])


def _pools_decoder(place: Path) -> bool:
    """Return whether sentence-transformers pools the decoder's states of this encoder-decoder."""
    if not (place / "modules.json").exists() and not (place.parent / "modules.json").exists():
        return False
    config = _json(place / "config.json")
    if config.get("model_type") in ENCODER_ONLY:
        return False
    asked = transformer_settings(place).get("modality_config", {}).get("text", {})
    return bool(asked.get("method_output_name", "last_hidden_state") == "last_hidden_state")


def refuse_code(place: Path) -> None:
    """Refuse a folder whose model is a program of its own: it is never run, and never asked for.

    Raises:
        PreconditionError: config.json names such a program.
    """
    programs = _json(place / "config.json").get("auto_map") or {}
    own = next((programs[name] for name in ("AutoModel", "AutoModelForCausalLM") if name in programs), None)
    if own is not None:
        raise PreconditionError(
            f"{place / 'config.json'} says (auto_map) that the model is the program {own}, which is never "
            "run; where transformers' own class of that type gives the same vectors, delete auto_map there"
        )


def _adapted(place: Path) -> nn.Module:
    """Return the base model with the folder's adapters merged into it."""
    from peft import get_peft_model, set_peft_model_state_dict

    config = _adapter_config(place)
    module: Any = load_module(adapter_base(place))
    with _explained_reading(place), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # Of the model with a head that it was trained in, whose names have one part more.
        config.task_type = None
        model = get_peft_model(module, config)
        head = f"{ADAPTED}{module.base_model_prefix}."
        tensors = {
            ADAPTED + name.removeprefix(head) if name.startswith(head) else name: of
            for name, of in load_file(place / ADAPTER_WEIGHTS).items()
        }
        result: Any = set_peft_model_state_dict(model, tensors)
        prefix = getattr(model.base_model, "prefix", "lora_")
    lacking = [name for name in result.missing_keys if prefix in name]
    left = [name for name in result.unexpected_keys if ".pooler." not in name]  # no vector depends on it
    for names, what in ((lacking, "lacks"), (left, "has left over")):
        if names:
            raise DataError(
                f"{place / ADAPTER_WEIGHTS} {what} {counted(names)} for its base "
                f"{adapter_base(place)}, the first is {names[0]}; give the base that it was trained on"
            )
    refuse_broken(tensors, place / ADAPTER_WEIGHTS)
    try:
        merged: nn.Module = model.merge_and_unload()
    except NotImplementedError:  # peft's answer for layers without a way to merge
        raise _unmerged(place, config) from None
    return merged.eval().requires_grad_(True)  # peft has frozen the base


def _adapter_config(place: Path) -> Any:
    """Return peft's configuration of the adapters in a folder."""
    import peft

    said = _json(place / ADAPTER)
    with _explained_reading(place), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of settings that it drops: they are refused below
        config: Any = peft.PeftConfig.from_peft_type(**said)
    if config.is_prompt_learning:
        raise _unmerged(place, config)
    known = inspect.signature(type(config)).parameters
    dropped = sorted(name for name, value in said.items() if value and name not in known)
    if dropped:
        raise DataError(
            f"{place / ADAPTER} sets {quoted(', '.join(dropped))}, which peft {peft.__version__} does not "
            "know; install the one that wrote it (its peft_version)"
        )
    return config


def _unmerged(place: Path, config: Any) -> DataError:
    return DataError(
        f"{place / ADAPTER} holds adapters of the type {config.peft_type.value}, which no weights can take "
        "in; only those that can be merged into the weights, as LoRA's, are read here"
    )


@contextmanager
def explained_weights(place: Path) -> Iterator[None]:
    """Turn what loading a file or a folder of our own weights raises into one sentence.

    Raises:
        PreconditionError: they are not there, are damaged, or do not fit the folder's configuration.
    """
    try:
        yield
    except (RuntimeError, OSError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:300]
        raise PreconditionError(f"{place} holds weights that do not fit the model: {reason}") from error
