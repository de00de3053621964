"""A checkpoint of another tool in memory: its tensors by name, and what it says about its encoder.

No code of a pickle runs: torch reads it with ``weights_only``. DPR's code, and those that stand on it, put
their configuration (hydra's, of omegaconf) beside the weights, which ``weights_only`` alone refuses. Its
classes are replaced by `Opaque`, which holds attributes and does nothing, so that omegaconf is neither
needed nor run; every other class of a pickle is refused.
"""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from dretrieve.errors import DataError, PreconditionError
from dretrieve.store.fingerprint import sha256_file
from dretrieve.text.cache import remember

Setting = str | int | float | bool
# What a configuration of hydra consists of, by the names that a pickle calls it.
REPLACED = (
    *(f"omegaconf.{name}" for name in ("dictconfig.DictConfig", "listconfig.ListConfig")),
    *(f"omegaconf.base.{name}" for name in ("ContainerMetadata", "Metadata", "SCMode")),
    *(f"omegaconf.nodes.{kind}Node" for kind in ("Any", "String", "Integer", "Float", "Boolean", "Enum")),
    *(f"builtins.{name}" for name in ("dict", "list", "int", "float", "str", "bool", "object")),
    *(f"typing.{name}" for name in ("Any", "Union", "Optional")),
    "collections.defaultdict",
)


class Opaque:
    """Stands for an object of a class that is not loaded; its attributes are what the pickle says."""

    def __new__(cls, *parts: object, **named: object) -> Self:
        """Return an empty one, whatever the real class would have been made from."""
        return object.__new__(cls)

    def __init__(self, *parts: object, **named: object) -> None:
        """Do nothing."""


@dataclass(frozen=True, slots=True)
class ForeignCheckpoint:
    """What was read.

    Attributes:
        settings: what the checkpoint says about its encoder (lengths, pooling …); {} where it says nothing.
    """

    path: Path
    tensors: Mapping[str, Tensor]
    settings: Mapping[str, Setting] = field(default_factory=dict)


def read_checkpoint(path: Path) -> ForeignCheckpoint:
    """Return the tensors of a safetensors file or of a torch checkpoint (also DPR's, ``model_dict``).

    Raises:
        PreconditionError: nothing stands there.
        DataError: no checkpoint, or a damaged one; a pickle of more than tensors, values, a configuration.
        VerificationError: other bytes than at its first use here, at the same size and time.
    """
    if not path.is_file():
        what = "is a folder; name the checkpoint's file in it" if path.is_dir() else "does not exist"
        raise PreconditionError(f"{path} {what}")
    remember({path: sha256_file(path)})
    if path.suffix == ".safetensors":
        return ForeignCheckpoint(path, _safetensors(path))
    content = _torch(path)
    weights = content.get("model_dict", content) if isinstance(content, dict) else None
    if not isinstance(weights, dict) or not any(isinstance(value, Tensor) for value in weights.values()):
        raise DataError(f"{path} holds no weights by name (neither a state dict nor a model_dict)")
    settings = _settings(content.get("encoder_params"))
    return ForeignCheckpoint(path, {str(name): value for name, value in weights.items()}, settings)


def _safetensors(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except SafetensorError as error:
        raise DataError(f"{path} cannot be read as safetensors: {error}; fetch it again") from error


def _check_sums(path: Path) -> None:
    """Hold the parts of a torch file against the checksums (CRC) of its zip, at which torch does not look."""
    if not zipfile.is_zipfile(path):
        return  # a torch file of before 1.6, one stream without checksums
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
    except Exception as error:  # of a flipped header zipfile raises whatever it stumbles on
        raise DataError(f"{path} is a damaged zip archive: {_one_line(error)}; fetch it again") from error
    if damaged is not None:
        raise DataError(
            f"{path} is damaged: its part {damaged} does not have the checksum that the archive records for "
            "it; fetch it again"
        )


def _torch(path: Path) -> Any:
    _check_sums(path)
    replaced: list[Any] = [(Opaque, name) for name in REPLACED]
    try:
        with torch.serialization.safe_globals(replaced):
            return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        found = str(error).partition("GLOBAL ")[2].split(" ")[0]
        what = f"an object of {found}" if found else "something other than weights"
        raise DataError(
            f"{path} holds {what}, which is not opened (a pickle can run any program); have its own tool "
            "write the weights as safetensors, or as a torch file of tensors only"
        ) from error
    except MemoryError:
        raise
    except Exception as error:  # of bytes that are no pickle, torch's reader raises whatever it stumbles on
        raise DataError(
            f"{path} is no torch checkpoint, or is damaged: {_one_line(error)}; fetch it again"
        ) from error


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:200]


def _settings(params: object) -> dict[str, Setting]:
    """Return the plain values of DPR's ``encoder_params``: flat (2020), or with an ``encoder`` inside."""
    if not isinstance(params, Mapping):
        return {}
    found = {**params, **_entries(params.get("encoder"))}
    values = {str(name): getattr(value, "_val", value) for name, value in found.items()}
    return {name: value for name, value in values.items() if isinstance(value, str | int | float | bool)}


def _entries(value: object) -> Mapping[Any, Any]:
    """Return a configuration's entries: of a dict, or of what stands for hydra's dict."""
    inner = getattr(value, "_content", value)
    return inner if isinstance(inner, Mapping) else {}
