"""A whole T5 whose weights are pickles (google/t5-large-lm-adapt): the same folder in safetensors."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from dretrieve.errors import DataError, PreconditionError
from dretrieve.models.backbone import WEIGHTS
from dretrieve.models.foreign.checkpoint import read_checkpoint
from dretrieve.models.model_folder import CONFIG, TOKENIZER_FILES
from dretrieve.models.plain import read_json
from dretrieve.models.t5 import load_t5
from dretrieve.store.atomic import filling

FILES = (CONFIG, "generation_config.json", *TOKENIZER_FILES)
PICKLES = ("pytorch_model.bin", "pytorch_model-*-of-*.bin")
BIAS = re.compile(
    r"(encoder|decoder)\.block\.\d+\.(layer\.0\.SelfAttention\.relative_attention_bias\.weight)"
)
# Saved beside the tensor that they are, or never read.
EMBEDDINGS = ("encoder.embed_tokens.weight", "decoder.embed_tokens.weight")
UNUSED = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"


def weight_files(folder: Path) -> list[Path]:
    """Return the pickles that hold the folder's weights.

    Raises:
        PreconditionError: no T5's folder, or none in it.
    """
    if read_json(folder / CONFIG).get("model_type") != "t5":
        raise PreconditionError(f"{folder} is not the folder of a T5 (config.json with model_type t5)")
    found = [file for pattern in PICKLES for file in sorted(folder.glob(pattern))]
    if not found:
        raise PreconditionError(
            f"{folder} holds no pytorch_model.bin; a folder with model.safetensors is a --backbone as it is"
        )
    return found


@dataclass(frozen=True, slots=True)
class WholeT5:
    """A T5 in memory.

    Attributes:
        folder: that it was read from; its configuration and tokenizer go with it.
        tensors: by T5's names, none twice.
    """

    folder: Path
    tensors: Mapping[str, Tensor]

    def parameters(self) -> Iterable[Tensor]:
        """Return all numbers."""
        return self.tensors.values()

    def save(self, output: Path) -> None:
        """Write the folder with its weights in safetensors, and open it.

        Raises:
            DataError: weights missing, left over, of another shape than config.json says, not finite.
        """
        with filling(output) as place:
            alone = {name: of.clone() for name, of in self.tensors.items()}  # of storages that are shared
            save_file(alone, place / WEIGHTS, {"format": "pt"})
            for name in FILES:
                if (self.folder / name).is_file():
                    shutil.copyfile(self.folder / name, place / name)
        load_t5(output)


def convert(folder: Path) -> WholeT5:
    """Return the T5 of a folder of pickles.

    Raises:
        PreconditionError: as `weight_files`; no tokenizer beside them.
        DataError: pickles of more than tensors; copies of a tensor that differ from it.
    """
    if not any((folder / name).is_file() for name in TOKENIZER_FILES):
        raise PreconditionError(f"{folder} holds no tokenizer; fetch its tokenizer's files too")
    tensors = {
        name: of for file in weight_files(folder) for name, of in read_checkpoint(file).tensors.items()
    }
    tensors.pop(UNUSED, None)
    for name in [of for of in tensors if of in EMBEDDINGS or BIAS.fullmatch(of)]:
        bias = BIAS.fullmatch(name)
        first = f"{bias[1]}.block.0.{bias[2]}" if bias else "shared.weight"
        if name != first and not (first in tensors and torch.equal(tensors.pop(name), tensors[first])):
            raise DataError(
                f"{folder} has {name}, which should be a copy of {first} and is not; fetch it again"
            )
    return WholeT5(folder, tensors)
