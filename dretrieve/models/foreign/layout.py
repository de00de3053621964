"""Foreign tensors laid into a method of ours, name by name: nothing missing, nothing left over."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping, Sequence

from torch import nn

from dretrieve.errors import DataError
from dretrieve.models.cards import read_card
from dretrieve.models.foreign.checkpoint import ForeignCheckpoint
from dretrieve.models.places import find_model
from dretrieve.models.weights import lay_in, refuse_lacking

CURE = "give the backbone that it was trained from, or another --from"


def fill(
    module: nn.Module, checkpoint: ForeignCheckpoint, names: Mapping[str, str], unused: Collection[str]
) -> None:
    """Copy every tensor of the checkpoint to its place.

    ``names`` lead from ours to theirs, one for each tensor of the module, whose whole state is replaced; no
    vector depends on the ``unused``.

    Raises:
        DataError: missing, unexpected or wrongly shaped tensors, or numbers that are none (NaN, infinity);
            names the first and how many.
    """
    places = module.state_dict()
    assert set(names) == set(places), "the form names every tensor of the method"
    tensors = {name: of for name, of in checkpoint.tensors.items() if name not in unused}
    lay_in({theirs: places[ours] for ours, theirs in names.items()}, tensors, checkpoint.path, CURE)


def refuse_missing(checkpoint: ForeignCheckpoint, names: Iterable[str]) -> None:
    """Refuse a checkpoint that lacks one of these.

    Raises:
        DataError: names the first and their number.
    """
    refuse_lacking(names, checkpoint.tensors, checkpoint.path, CURE)


def check_sizes(checkpoint: ForeignCheckpoint, prefix: str, backbone: str) -> None:
    """Refuse a backbone of other sizes before it is loaded.

    Raises:
        DataError: vocabulary, positions, width or number of layers differ.
    """
    folder = find_model(backbone)
    card, _ = read_card(folder)
    config = json.loads((folder / card.query.folder / "config.json").read_bytes())
    sizes = ("vocab_size", "max_position_embeddings", "hidden_size", "num_hidden_layers")
    ours = [config.get(name) for name in sizes]
    words = checkpoint.tensors[f"{prefix}embeddings.word_embeddings.weight"]
    positions = checkpoint.tensors[f"{prefix}embeddings.position_embeddings.weight"]
    theirs = [*words.shape[:1], *positions.shape, depth(checkpoint, prefix)]
    if ours != theirs:
        raise DataError(
            f"{checkpoint.path} has {_sizes(theirs)}, the backbone {backbone} {_sizes(ours)}; "
            "give the backbone that it was trained from"
        )


def depth(checkpoint: ForeignCheckpoint, prefix: str) -> int:
    """Return how many layers the encoder of those names has."""
    start = f"{prefix}encoder.layer."
    numbers = (
        name.removeprefix(start).partition(".")[0] for name in checkpoint.tensors if name.startswith(start)
    )
    return 1 + max((int(number) for number in numbers if number.isdigit()), default=-1)


def _sizes(sizes: Sequence[int | None]) -> str:
    return "{} words, {} positions, {} dimensions, {} layers".format(*sizes)
