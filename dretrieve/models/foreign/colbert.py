"""A `colbert` model as another tool's folder: PyLate's, which sentence-transformers reads too, or Stanford's.

`models.plain_colbert` reads both. Neither has a place for everything that a card may say; what has none is
refused, so that the folder gives the model's own token vectors.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from string import punctuation
from typing import Any

from safetensors.torch import save_file
from tokenizers import Tokenizer
from torch import Tensor

from dretrieve.errors import UsageError
from dretrieve.models.backbone import WEIGHTS
from dretrieve.models.colbert import THEIRS, Colbert
from dretrieve.models.model_folder import save_encoder, save_tokenizer
from dretrieve.models.plain_colbert import METADATA, SETTINGS
from dretrieve.store.atomic import filling, make_folder, write_json
from dretrieve.tokens.template import literal
from dretrieve.tokens.tokenizer import FAST_FILE
from dretrieve.types import SIDES, Side

Markers = Mapping[Side, str]


def write_colbert(method: Colbert, form: str, folder: Path) -> None:
    """Write the model in that form."""
    markers = _markers(method)
    write: Callable[[Colbert, Markers, Tensor, Path], None] = _pylate if form == "pylate" else _stanford
    projection = method.encoder.projection.weight.detach().cpu().contiguous()
    write(method, markers, projection, make_folder(folder))
    file = folder / FAST_FILE
    if file.exists():  # tools put markers before a text as words: the tokenizer must not cut them
        backend = Tokenizer.from_file(str(file))
        backend.add_special_tokens([marker for marker in markers.values() if marker])
        with filling(folder) as place:
            backend.save(str(place / FAST_FILE))


def check_sayable(method: Colbert, form: str) -> None:
    """Refuse a model that does what the form cannot say.

    Raises:
        UsageError: names it.
    """
    config, cards, markers = method.config, method.cards, _markers(method)
    texts = {"query": "{text}", "passage": "{title} {text}"}
    rule, family = config.query_augmentation, str(getattr(method.encoder.backbone.config, "model_type", ""))
    lacking = {
        "vectors of other lengths than 1 (--normalize no)": config.normalize != "yes",
        "title and text as a pair": cards["passage"].pair,
        **{
            f"the {side} template {of.template!r}": of.template != literal(markers[side]) + texts[side]
            for side, of in cards.items()
        },
    }
    if form == "stanford":
        lacking |= {
            "queries that are not filled up (--query-augmentation no)": rule == "no",
            "a side without a marker": not all(markers.values()),
            f"a {family} backbone": family != "bert",
            "texts in lower case before the tokenizer": bool(cards["query"].settings.get("lowercase")),
        }
    if found := [what for what, is_so in lacking.items() if is_so]:
        raise UsageError(
            f"--to {form}: that folder cannot say {', '.join(found)}; train without, or keep the model's own "
            "folder"
        )


def _markers(method: Colbert) -> Markers:
    return {side: method.structure(method.config, side)["marker"] or "" for side in SIDES}


def _pylate(method: Colbert, markers: Markers, projection: Tensor, folder: Path) -> None:
    """Write a Transformer at the top and a Dense beside it."""
    save_encoder(folder, method.encoder.backbone, method.tokenizers["passage"], dict(method.cards))
    kinds = ("sentence_transformers.models.Transformer", "pylate.models.Dense.Dense")
    modules = [
        {"idx": number, "name": str(number), "path": path, "type": kind}
        for number, (path, kind) in enumerate(zip(("", "1_Dense"), kinds, strict=True))
    ]
    dense = {
        "in_features": projection.shape[1],
        "out_features": projection.shape[0],
        "bias": False,
        "activation_function": "torch.nn.modules.linear.Identity",
        "use_residual": False,
    }
    with filling(make_folder(folder / "1_Dense")) as place:
        save_file({THEIRS: projection}, place / WEIGHTS, metadata={"format": "pt"})
    write_json(folder / "1_Dense" / "config.json", dense)
    write_json(folder / "modules.json", modules)
    config, cards = method.config, method.cards
    settings = {
        "max_seq_length": max(config.query_max_len, config.passage_max_len),
        "do_lower_case": bool(cards["passage"].settings.get("lowercase")),
    }
    write_json(folder / "sentence_bert_config.json", settings)
    said: dict[str, Any] = {
        "model_type": "ColBERT",
        "similarity_fn_name": "MaxSim",
        "query_prefix": markers["query"],
        "document_prefix": markers["passage"],
        "query_length": config.query_max_len,
        "document_length": config.passage_max_len,
        "do_query_expansion": config.query_augmentation != "no",
        "attend_to_expansion_tokens": config.query_augmentation == "attended",
        "skiplist_words": list(punctuation) if config.skip_punctuation == "yes" else [],
    }
    write_json(folder / SETTINGS, said)


def _stanford(method: Colbert, markers: Markers, projection: Tensor, folder: Path) -> None:
    """Write a BERT's folder with the projection among its weights, the rest in a file of settings."""
    backbone: Any = method.encoder.backbone
    tensors = {f"bert.{name}": of.detach().cpu().contiguous() for name, of in backbone.state_dict().items()}
    architecture = backbone.config.to_dict() | {"architectures": ["HF_ColBERT"]}
    with filling(folder) as place:
        save_file(tensors | {THEIRS: projection}, place / WEIGHTS, metadata={"format": "pt"})
        write_json(place / "config.json", architecture)
    longest = max(method.cards.values(), key=lambda of: of.max_tokens)
    save_tokenizer(folder, method.tokenizers["passage"], longest)
    config = method.config
    said = {
        "query_token_id": markers["query"],
        "doc_token_id": markers["passage"],
        "query_maxlen": config.query_max_len,
        "doc_maxlen": config.passage_max_len,
        "attend_to_mask_tokens": config.query_augmentation == "attended",
        "mask_punctuation": config.skip_punctuation == "yes",
        "dim": config.dim,
        "similarity": "cosine",
    }
    write_json(folder / METADATA, said)
