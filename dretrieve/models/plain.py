"""A plain Hugging Face or sentence-transformers folder read as it is, without torch: what its card would be.

sentence-transformers says everything in its own files: modules, pooling, normalisation, length, prompts.
What they say is done or refused. A bare Hugging Face folder says nothing about pooling: a causal model has
one reading, the last token; for any other, `UNSAID` in the card's source says that it must be told.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

from dretrieve.errors import DataError, PreconditionError, quoted
from dretrieve.models import bi_encoder_config
from dretrieve.models.places import find_model
from dretrieve.models.plain_transformer import named_length, refuse_settings
from dretrieve.store.card import ModelCard, SideCard
from dretrieve.store.fingerprint import canonical_json, sha256_bytes, sha256_file
from dretrieve.text.cache import remember
from dretrieve.tokens.template import literal
from dretrieve.tokens.tokenizer import CONFIG_FILE, FAST_FILE, OTHER_FILES, SAYING_FILES, overrides, unsaid
from dretrieve.types import SIDES, VectorSpec

# sentence-transformers' names of the poolings, by ours; its older ones.
POOLINGS = {"lasttoken": "last", "mean_sqrt_len_tokens": "mean_sqrt_len"}
POOLINGS |= {name: name for name in bi_encoder_config.POOLINGS}
LEGACY_POOLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "last",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}
# The names that sentence-transformers' settings of a Transformer had, in its own order of search.
TRANSFORMER_FILES = tuple(
    f"sentence_{family}_config.json"
    for family in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
# Encoder-decoders of which sentence-transformers loads the encoder alone.
ENCODER_ONLY = frozenset(
    "t5 mt5 umt5 longt5 switch_transformers t5gemma prophetnet blenderbot blenderbot-small m2m_100 pegasus "
    "pegasus_x marian".split()
)
# Families whose first positions, up to the padding token's number, no token gets; loading asks the module.
OFFSET_POSITIONS = frozenset(
    "roberta xlm-roberta camembert mpnet xlm-roberta-xl xmod data2vec-text longformer ibert luke mluke esm "
    "roberta-prelayernorm markuplm bridgetower_text_model".split()
)
# Modules behind the pooling: they take one vector and give one.
HEAD_KINDS = ("Dense", "LayerNorm", "Normalize", "Dropout")
# Longest input of a bare folder that names none; a tokenizer's "no limit" is a number above the other.
USUAL_TOKENS, NO_LIMIT = 512, 10**9
SETTINGS_FILES = (
    *("config*.json", "modules.json", "sentence_*_config.json", "[0-9]*_*/config.json"),
    *("tokenizer_config.json", "special_tokens_map.json"),
)
QUERY_PROMPTS = ("query", "search_query")
PASSAGE_PROMPTS = ("document", "passage", "corpus", "search_document")
INDEX = "model.safetensors.index.json"  # of weights in several files
ADAPTER, ADAPTER_WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
UNSAID = "unsaid"  # in a card's source: what the folder does not say
UNNAMED = "it names no similarity: dot is taken (sentence-transformers: cosine)"
TYPED = {"model_type": str, "prompts": dict, "default_prompt_name": str}  # of entries in those files
POINTER = b"version https://git-lfs.github.com/spec/"


class PlainModel(NamedTuple):
    """The card that the folder would have, and one line for the user: its settings, where they come from."""

    card: ModelCard
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class _Settings:
    pooling: str
    normalize: bool
    max_tokens: tuple[int, int]  # of queries and passages
    prompts: tuple[str, str] = ("", "")
    place: str = "."
    source: str
    head: tuple[str, ...] = ()  # folders of the modules behind the pooling, relative to the side's folder
    lowercase: bool = False
    unsaid: str = ""
    unused: tuple[str, ...] = ()  # names of prompts that belong to neither side
    assumed: str = ""  # what was taken where the folder names nothing


def read_plain(folder: Path) -> PlainModel:
    """Return the card of a plain folder; its weights are used unchanged, on both sides.

    Raises:
        PreconditionError: no model here, weights that are pickles, files that are git-lfs pointers.
        DataError: a module, pooling, similarity or length that has no counterpart here; broken JSON.
        VerificationError: other bytes than at the folder's first use here, at the same size and time.
    """
    if (folder / "modules.json").exists():
        settings = _sentence_transformer(folder)
    elif (folder / "config.json").exists() or (folder / ADAPTER).exists():
        settings = _hugging_face(folder)
    else:
        raise PreconditionError(
            f"{folder} is no model: it has neither card.json nor config.json nor modules.json"
        )
    place = folder / settings.place
    config = _model_config(place)
    extra = unsaid(place) | ({"lowercase": True} if settings.lowercase else {})
    if _cuts_left(place):
        extra["truncation_side"] = "left"
    if settings.head:
        extra["head"] = list(settings.head)
    if (place / ADAPTER).exists():
        base = adapter_base(place)
        hashes = {name: sha256_file(base / name) for name in side_files(base)}
        extra["base"] = sha256_bytes(canonical_json(hashes))
    shared = SideCard(
        folder=settings.place,
        pooling=settings.pooling,  # type: ignore[arg-type]  # checked against POOLINGS
        normalize=settings.normalize,
        settings=extra,
    ).with_hashes(folder, side_files(place, settings.head))
    others = [file for pattern in SETTINGS_FILES for base in {folder, place} for file in base.glob(pattern)]
    remember(
        {file: sha256_file(file) for file in others}
        | {place / name: digest for name, digest in shared.files.items()}
    )
    (query, passage), lengths = settings.prompts, settings.max_tokens
    card = ModelCard(
        method="shared",
        vectors=VectorSpec(dim=_dim(config, place, settings.head), kind="one", score="dot"),
        query=replace(shared, template=literal(query) + "{text}", max_tokens=lengths[0]),
        passage=replace(shared, template=literal(passage) + "{title} {text}", max_tokens=lengths[1]),
        source={
            "form": settings.source,
            "model_type": config.get("model_type"),
            **({UNSAID: settings.unsaid} if settings.unsaid else {}),
        },
    )
    return PlainModel(card, _note(settings))


def side_files(place: Path, head: Sequence[str] = ()) -> tuple[str, ...]:
    """Return the names of the files that an encoder's vectors depend on, those of its head's folders too.

    Raises:
        PreconditionError: there are no safetensors weights, or a file is a git-lfs pointer.
    """
    weights = sorted(file.name for file in place.glob("*.safetensors"))
    weights = [name for name in weights if name.startswith(("model", "adapter_model"))]
    if not weights:
        kind = "weights as pickles only" if any(place.glob("*.bin")) else "no weights (model.safetensors)"
        raise PreconditionError(
            f"{place} holds {kind}; load pickles that you trust with transformers and write them again with "
            "model.save_pretrained(DIR), which makes safetensors"
        )
    others = ("config.json", INDEX, ADAPTER)
    named = [*(name for name in others if (place / name).exists()), *weights]
    fast = (place / FAST_FILE).exists()
    tokens = [FAST_FILE] if fast else [*OTHER_FILES]
    tokens += SAYING_FILES if not fast or overrides(place) else ()
    named += [name for name in tokens if (place / name).exists()]
    for name in named:
        _refuse_pointer(place / name)
    return (*named, *(name for path in head for name in head_files(place, path)))


def head_files(place: Path, path: str) -> tuple[str, ...]:
    """Return the files of one module behind the pooling, relative to the side's folder."""
    names = [f"{path}/config.json", f"{path}/model.safetensors"]
    for name in names:
        if not (place / name).exists():
            raise PreconditionError(
                f"{place / name} does not exist; save the model again with sentence-transformers "
                "(its model.save(DIR) writes safetensors)"
            )
        _refuse_pointer(place / name)
    return tuple(names)


def adapter_base(place: Path) -> Path:
    """Return the folder of the base model that the adapters in ``place`` name.

    Raises:
        PreconditionError: they name none, or it is not here.
    """
    name = read_json(place / ADAPTER).get("base_model_name_or_path")
    if not isinstance(name, str) or not name:
        raise PreconditionError(
            f"{place / ADAPTER} names no base_model_name_or_path; write the base's folder there"
        )
    try:
        return find_model(name)
    except PreconditionError as error:
        raise PreconditionError(f"the base of the adapters in {place}: {error}") from error


def transformer_settings(place: Path) -> dict[str, Any]:
    """Return what sentence-transformers' file beside a Transformer says; {} where there is none."""
    return next((found for name in TRANSFORMER_FILES if (found := read_json(place / name))), {})


def hidden_size(config: dict[str, Any], place: Path) -> int:
    """Return the width of the encoder's states.

    Raises:
        DataError: the configuration does not say.
    """
    names = ("word_embed_proj_dim", "hidden_size", "d_model", "dim", "n_embd", "n_embed", "emb_dim")
    for name in names:
        if isinstance(config.get(name), int):
            return int(config[name])
    inner = next(
        (config[name] for name in ("encoder", "text_config") if isinstance(config.get(name), dict)), None
    )
    if inner is not None:
        return hidden_size(inner, place)
    if not config:
        raise DataError(f"{place / 'config.json'} is missing or empty; fetch it too")
    raise DataError(f"{place / 'config.json'} names no hidden_size; is it an encoder?")


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object, {} where the file is missing.

    Raises:
        DataError: it cannot be read.
        PreconditionError: it is a git-lfs pointer.
    """
    try:
        value = json.loads(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as error:
        _refuse_pointer(path)
        raise DataError(f"{path} cannot be read: {error}") from error
    if not isinstance(value, dict):
        raise DataError(f"{path} is not a JSON object")
    for name, kind in TYPED.items():
        if not isinstance(value.get(name), kind | None):
            raise DataError(f"{path}: {name} is {quoted(str(value[name]))}, and that is no {kind.__name__}")
    return value


def _refuse_pointer(path: Path) -> None:
    """Refuse what git writes where the large file itself was not fetched."""
    if path.is_file():
        with open(path, "rb") as file:
            if file.read(len(POINTER)) == POINTER:
                raise PreconditionError(
                    f"{path} is a git-lfs pointer, not the file itself; fetch it: git lfs pull"
                )


def _model_config(place: Path) -> dict[str, Any]:
    """Return config.json, of adapters that of their base."""
    own = read_json(place / "config.json")
    return own if own or not (place / ADAPTER).exists() else read_json(adapter_base(place) / "config.json")


def _cuts_left(place: Path) -> bool:
    """Return whether the tokenizer cuts a longer text's beginning off: tokenizer.json says it last."""
    said, file = read_json(place / CONFIG_FILE).get("truncation_side"), place / FAST_FILE
    if said or not file.exists():
        return bool(said == "left")
    with open(file, encoding="utf-8", errors="replace") as text:
        return bool(re.search(r'"truncation":\s*\{[^}]*"direction":\s*"Left"', text.read(1000)))


def _dim(config: dict[str, Any], place: Path, head: Sequence[str]) -> int:
    """Return how many numbers a vector has: as many as the last Dense gives, else the encoder's width."""
    widths = [read_json(place / path / "config.json").get("out_features") for path in head]
    found = [width for width in widths if width is not None]
    return int(found[-1]) if found else hidden_size(config, place)


def told_prompts(prompts: Sequence[str], unused: Sequence[str]) -> list[str]:
    """Return what a note says of the prompts of queries and passages and of the names of unused ones."""
    told = [f'{side} prompt "{prompt}"' for side, prompt in zip(SIDES, prompts, strict=True) if prompt]
    return told + [f"prompts not used: {', '.join(unused)}"] * bool(unused)


def _note(settings: _Settings) -> str:
    prompts = told_prompts(settings.prompts, settings.unused)
    query, passage = settings.max_tokens
    parts = [
        f"{settings.pooling} pooling",
        *(["a head of " + ", ".join(Path(path).name for path in settings.head)] if settings.head else []),
        "unit length" if settings.normalize else "length kept",
        f"{query} tokens" if query == passage else f"{query} and {passage} tokens",
        *(prompts or ["no prompts"]),
        *([settings.assumed] if settings.assumed else []),
    ]
    return f"settings from {settings.source}: {', '.join(parts)}"


def _hugging_face(folder: Path) -> _Settings:
    config = _model_config(folder)
    _refuse_layer(folder)
    family = str(config.get("model_type", ""))
    name = f"{folder.resolve().name} {config.get('_name_or_path', '')}".lower()
    if family == "dpr":
        half = "ctx" if "DPRContextEncoder" in (config.get("architectures") or ()) else "question"
        raise PreconditionError(
            f"{folder} holds one half of a DPR model (model_type dpr); save its inner BERT with "
            f"model.{half}_encoder.bert_model.save_pretrained(DIR), or train both with `dretrieve train dpr`"
        )
    if _is_causal(family, config):
        pooling, why, unsaid = "last", "of a causal model only the last token has read the text", ""
    else:
        mean = "contriever" in name or family in ENCODER_ONLY
        pooling, unsaid = "mean" if mean else "cls", "pooling"
        why = "the custom of this family is taken" if mean else "the custom of BERT-like retrievers is taken"
    length = _longest(folder, config) or USUAL_TOKENS
    return _Settings(
        pooling=pooling,
        normalize=False,
        max_tokens=(min(length, USUAL_TOKENS),) * 2,
        source=f"config.json (it names no pooling; {why})",
        unsaid=unsaid,
    )


def _refuse_layer(folder: Path) -> None:
    """Refuse a folder whose vectors another tool sends through a linear layer in a file of its own."""
    pooler = (folder / "pooler_config.json").exists()  # pooler.pt beside it, which the hub is not asked for
    if pooler or read_json(folder / "openmatch_config.json").get("linear_head"):
        raise DataError(
            f"{folder} holds a linear layer behind the pooling, as {'Tevatron' if pooler else 'OpenMatch'} "
            "saves it, which is not read here; save the model as a SentenceTransformer of Transformer, "
            "Pooling and Dense"
        )


def _is_causal(family: str, config: dict[str, Any]) -> bool:
    """Return whether the family reads from left to right: transformers knows no other head for it.

    A configuration may turn that off (EmbeddingGemma's).
    """
    if config.get("is_causal") is False or config.get("use_bidirectional_attention") in (True, "all"):
        return False
    if any("ForCausalLM" in str(name) for name in config.get("architectures") or ()):
        return True
    from transformers.models.auto import modeling_auto

    others = ("MASKED_LM", "SEQ_TO_SEQ_CAUSAL_LM")
    known = {
        name: getattr(modeling_auto, f"MODEL_FOR_{name}_MAPPING_NAMES") for name in ("CAUSAL_LM", *others)
    }
    return family in known["CAUSAL_LM"] and not any(family in known[name] for name in others)


def _sentence_transformer(folder: Path) -> _Settings:
    modules = _modules(folder)
    place, pooling_file = modules[0][1] or ".", folder / modules[1][1] / "config.json"
    pooling, top = read_json(pooling_file), read_json(folder / "config_sentence_transformers.json")
    if not pooling:
        raise DataError(
            f"{pooling_file} is missing or empty, and nothing else says how the tokens of a text become one "
            "vector; fetch that file too"
        )
    bert = transformer_settings(folder / place)
    refuse_settings(folder / place, bert)
    if top.get("truncate_dim") is not None:
        raise DataError(
            f"{folder / 'config_sentence_transformers.json'} cuts vectors (truncate_dim "
            f"{top['truncate_dim']}), which is not done here; without that line whole vectors are used"
        )
    prompts, unused = prompts_of(folder, top)
    if any(prompts) and pooling.get("include_prompt") is False:
        raise DataError(f"{folder} leaves its prompts out of the pooling, which is not done here")
    head, unit = _head(modules[2:], place)
    similarity = _similarity(folder, top)
    return _Settings(
        pooling=_pooling(pooling_file, pooling),
        normalize=unit or similarity == "cosine",
        max_tokens=_lengths(folder / place, bert),
        prompts=prompts,
        lowercase=bool(bert.get("do_lower_case")),
        place=place,
        head=head,
        source="its sentence-transformers files",
        unused=unused,
        assumed="" if unit or similarity else UNNAMED,
    )


def _modules(folder: Path) -> list[tuple[str, str]]:
    """Return kind and path of the modules: a Transformer, a Pooling, and what stands behind them."""
    file = folder / "modules.json"
    try:
        value = json.loads(file.read_bytes())
        entries = [(str(entry["type"]), str(entry.get("path", ""))) for entry in value]
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        _refuse_pointer(file)
        raise DataError(f"{file} cannot be read: {error}") from error
    foreign = [kind for kind, _ in entries if not kind.startswith("sentence_transformers.")]
    if foreign:
        raise DataError(f"{file} names the module {quoted(foreign[0])}, code of its own, which is never run")
    found = [(kind.rpartition(".")[2], path) for kind, path in entries]
    kinds = [kind for kind, _ in found]
    if kinds[:2] != ["Transformer", "Pooling"] or not set(kinds[2:]) <= set(HEAD_KINDS):
        raise DataError(
            f"{file} lists the modules {', '.join(kinds)}; a Transformer, a Pooling and behind them "
            f"{', '.join(HEAD_KINDS)} can be read here"
        )
    return found


def _head(modules: Sequence[tuple[str, str]], place: str) -> tuple[tuple[str, ...], bool]:
    """Return the folders of Dense and LayerNorm modules, and whether vectors get unit length at the end."""
    kinds = [kind for kind, _ in modules if kind != "Dropout"]  # which only training does
    if "Normalize" in kinds and set(kinds[kinds.index("Normalize") :]) != {"Normalize"}:
        raise DataError("modules.json has a Normalize before another module; it can be read at the end only")
    up = "../" * len(Path(place).parts)
    return tuple(
        f"{up}{path}" for kind, path in modules if kind in ("Dense", "LayerNorm")
    ), "Normalize" in kinds


def _similarity(folder: Path, top: dict[str, Any]) -> str | None:
    """Return the similarity that the folder names, None where it names none."""
    name: str | None = top.get("similarity_fn_name") or None
    if name not in ("cosine", "dot", None):
        raise DataError(
            f"{folder / 'config_sentence_transformers.json'} compares vectors by {quoted(str(name))} "
            "(similarity_fn_name); vectors are compared by dot or cosine here"
        )
    return name


def prompts_of(folder: Path, top: dict[str, Any]) -> tuple[tuple[str, str], tuple[str, ...]]:
    """Return the prompts of queries and passages (one said to be empty is) and the names of unused ones."""
    known = {str(name): str(text or "") for name, text in (top.get("prompts") or {}).items()}
    default = top.get("default_prompt_name")
    if default is not None and default not in known:
        raise DataError(
            f"{folder / 'config_sentence_transformers.json'} names the default prompt "
            f"{quoted(default)}, but has only {', '.join(known) or 'none'}"
        )
    chosen = [
        next((name for name in names if name in known), default) for names in (QUERY_PROMPTS, PASSAGE_PROMPTS)
    ]
    query, passage = ("" if name is None else known[name] for name in chosen)
    return (query, passage), tuple(name for name, text in known.items() if text and name not in chosen)


def _pooling(file: Path, config: dict[str, Any]) -> str:
    modes = config.get("pooling_mode")
    if modes is None:
        modes = [mode for key, mode in LEGACY_POOLINGS.items() if config.get(key)]
    modes = modes if isinstance(modes, list) else [modes]
    if len(modes) != 1 or str(modes[0]) not in POOLINGS:
        raise DataError(
            f"{file} pools by {' + '.join(map(str, modes)) or 'nothing'}; one of "
            f"{', '.join(name for name in POOLINGS if POOLINGS[name] == name)} is done here"
        )
    return POOLINGS[modes[0]]


def _lengths(place: Path, bert: dict[str, Any]) -> tuple[int, int]:
    """Return the longest query and passage."""
    given = named_length(bert)
    length = _longest(place, _model_config(place)) if given is None else given
    if length is None:
        raise DataError(
            f"{place} names no longest input (max_seq_length), and its model takes any; write "
            '"max_seq_length" into its sentence_bert_config.json'
        )
    pair = [length if bert.get(name) is None else bert[name] for name in ("query_length", "document_length")]
    for value in pair:
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise DataError(
                f"{place} names {quoted(str(value))} as its longest input; write a number of tokens there"
            )
    return int(pair[0]), int(pair[1])


def _longest(place: Path, config: dict[str, Any]) -> int | None:
    """Return the longest input: the lesser of the tokenizer's and the positions; None where neither says."""
    limit = read_json(place / CONFIG_FILE).get("model_max_length")
    names = ("max_position_embeddings", "n_positions", "max_seq_len")
    positions = next((config[name] for name in names if isinstance(config.get(name), int)), None)
    if config.get("model_type") == "t5":
        positions = None  # its n_positions is a number of older versions; its positions are relative
    if positions is not None and config.get("model_type") in OFFSET_POSITIONS:
        positions -= int(config.get("pad_token_id") or 1) + 1
    known = [
        int(value) for value in (limit, positions) if isinstance(value, int | float) and 0 < value < NO_LIMIT
    ]
    return min(known, default=None)
