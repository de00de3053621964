"""What sentence-transformers' settings of a Transformer ask of it: obeyed, of no effect here, or refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dretrieve.errors import DataError, quoted

# What they hand on to transformers' model, tokenizer and configuration: the older name, which wins, the newer
# one, and the entries that are obeyed or move no vector here. No file can allow code of its own.
HANDED: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    (
        "model_args",
        "model_kwargs",
        (
            *("dtype", "torch_dtype", "attn_implementation", "low_cpu_mem_usage", "device_map"),
            *("use_safetensors", "add_pooling_layer", "trust_remote_code"),
        ),
    ),
    (
        "tokenizer_args",
        "processor_kwargs",
        ("model_max_length", "padding_side", "use_fast", "trust_remote_code"),
    ),
    ("config_args", "config_kwargs", ("trust_remote_code",)),
)


def refuse_settings(place: Path, settings: dict[str, Any]) -> None:
    """Refuse what the settings of the Transformer in ``place`` ask of it and that is not done here.

    Raises:
        DataError: names it.
    """
    allowed: dict[str, tuple[Any, ...]] = {
        "transformer_task": ("feature-extraction",),
        "module_output_name": ("token_embeddings",),
        "query_expansion": (),
        "processing_kwargs": (),
    }
    for name, values in allowed.items():
        value = settings.get(name)
        if value and value not in values:
            raise DataError(
                f"{place}: sentence-transformers' {name} is {quoted(str(value))}, which is not done here"
            )
    refuse_handed(place, settings)
    inputs = settings.get("modality_config") or {"text": {}}
    if "message" in inputs:
        raise DataError(
            f"{place}: sentence-transformers puts each text into the tokenizer's chat template, for "
            "modality_config names message; that is not done here: train it with text there alone"
        )
    text = inputs.get("text")
    output = text.get("method_output_name", "last_hidden_state") if isinstance(text, dict) else "no text"
    if output not in ("last_hidden_state", "encoder_last_hidden_state"):
        raise DataError(
            f"{place}: sentence-transformers reads {quoted(str(output))} of the encoder, not its last states"
        )


def refuse_handed(place: Path, settings: dict[str, Any]) -> None:
    """Refuse what the settings hand on to transformers and that could move a vector.

    Raises:
        DataError: names it.
    """
    for older, newer, known in HANDED:
        name = older if older in settings else newer
        given = settings.get(name)
        if isinstance(given, dict):
            given = {key: value for key, value in given.items() if value is not None and key not in known}
        if given:
            raise DataError(
                f"{place}: sentence-transformers' {name} is {quoted(str(given))}, which is not done here; "
                "where the vectors are the same without it, delete it there"
            )


def named_length(settings: dict[str, Any]) -> Any:
    """Return the longest input that the settings name, first to the tokenizer; None where they name none."""
    older, newer, _ = HANDED[1]
    tokenizer = settings.get(older if older in settings else newer) or {}
    return tokenizer.get("model_max_length", settings.get("max_seq_length"))
