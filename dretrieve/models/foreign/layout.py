"""Foreign tensors laid into a method of ours, name by name: nothing missing, nothing left over."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor, nn

from dretrieve.errors import DataError
from dretrieve.models.foreign.checkpoint import ForeignCheckpoint
from dretrieve.models.places import find_model, read_card


def fill(
    module: nn.Module, checkpoint: ForeignCheckpoint, names: Mapping[str, str], unused: Collection[str]
) -> None:
    """Copy every tensor of the checkpoint to its place.

    Args:
        module: whose whole state is replaced.
        checkpoint: the tensors.
        names: our name to theirs, one for each tensor of ``module``.
        unused: their names that no vector depends on.

    Raises:
        DataError: missing, unexpected or wrongly shaped tensors; names the first and their number.
    """
    places = module.state_dict()
    assert set(names) == set(places), "the form names every tensor of the method"
    theirs = checkpoint.tensors
    missing = [name for name in names.values() if name not in theirs]
    if missing:
        raise DataError(
            f"{checkpoint.path} lacks {_count(missing)} that this method on this backbone has, "
            f"the first is {missing[0]}; give the backbone that it was trained from, or another --from"
        )
    known = {*names.values(), *unused}
    unexpected = [name for name in theirs if name not in known]
    if unexpected:
        raise DataError(
            f"{checkpoint.path} has {_count(unexpected)} for which this method on this backbone has no "
            f"place, the first is {unexpected[0]}; give the backbone that it was trained from, or another "
            "--from"
        )
    other = [ours for ours, name in names.items() if places[ours].shape != theirs[name].shape]
    if other:
        first = names[other[0]]
        raise DataError(
            f"{checkpoint.path} has {_count(other)} of another shape than the backbone, the first is "
            f"{first}: {_shape(theirs[first])} in the checkpoint, {_shape(places[other[0]])} there; "
            "give the backbone that it was trained from"
        )
    with torch.no_grad():
        for ours, name in names.items():
            places[ours].copy_(theirs[name])


def check_sizes(checkpoint: ForeignCheckpoint, embeddings: tuple[Tensor, Tensor], backbone: str) -> None:
    """Refuse a backbone of other sizes before it is loaded.

    Args:
        checkpoint: for the message.
        embeddings: of its words [V, D] and positions [P, D].
        backbone: name or folder.

    Raises:
        DataError: vocabulary, positions or width differ.
    """
    folder = find_model(backbone)
    card, _ = read_card(folder)
    config = json.loads((folder / card.query.folder / "config.json").read_bytes())
    words, positions = embeddings
    ours = [config.get(name) for name in ("vocab_size", "max_position_embeddings", "hidden_size")]
    theirs = [len(words), len(positions), words.shape[1]]
    if ours != theirs:
        raise DataError(
            f"{checkpoint.path} has {_sizes(theirs)}, the backbone {backbone} {_sizes(ours)}; "
            "give the backbone that it was trained from"
        )


def _sizes(sizes: Sequence[int | None]) -> str:
    return "{} words, {} positions, {} dimensions".format(*sizes)


def _count(names: Sequence[str]) -> str:
    return "1 tensor" if len(names) == 1 else f"{len(names):,} tensors"


def _shape(tensor: Tensor) -> str:
    return " x ".join(map(str, tensor.shape)) or "a number"
