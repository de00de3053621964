"""Vectors that a set of training data brings: what a frozen backbone gives for its texts, computed once.

``--data path=DIR,split=train,query_vectors=EMB,passage_vectors=EMB``. They are held against the texts and the
backbone that they claim, so that training on them is training on the texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import UsageError, VerificationError
from dretrieve.index.base import Passages
from dretrieve.models.base import Method
from dretrieve.store.card import ModelCard
from dretrieve.store.embeddings import Embeddings
from dretrieve.types import Side

# What of a side's card decides its vectors beside the files.
OF_SIDE = ("template", "pair", "max_tokens", "pooling", "normalize")


def open_vectors(
    places: Mapping[Side, str], texts: Mapping[Side, str | None], word: str
) -> dict[Side, Embeddings]:
    """Return the embeddings that a set brings.

    Args:
        places: side to folder, empty where nothing is brought.
        texts: side to the hash of the set's texts; None where they are in no collection.
        word: of ``--data``, for messages.

    Raises:
        UsageError: vectors of texts that are in no collection.
        VerificationError: of the other side, of other texts, or many vectors a text.
    """
    found: dict[Side, Embeddings] = {}
    for side in get_args(Side):
        if not places[side]:
            continue
        if texts[side] is None:
            raise UsageError(
                f"--data {word}: {side}_vectors= are of a collection's split, and examples hold their "
                "queries themselves; leave it out, or give path=DIR,split="
            )
        given = Embeddings.open(Path(places[side]))
        if given.side != side or given.vectors.kind != "one":
            kind = "vectors per token" if given.vectors.kind == "many" else f"{given.side} vectors"
            raise VerificationError(f"{given.folder} holds {kind}; {side}_vectors= wants one for each {side}")
        if given.collection_sha256 != texts[side]:
            raise VerificationError(
                f"{given.folder} was encoded from other texts ({given.collection_sha256[:12]}) than the "
                f"{side} side of {word} ({str(texts[side])[:12]}); encode these with the backbone"
            )
        found[side] = given
    return found


def check_vectors(
    sets: Mapping[str, Mapping[Side, Embeddings]], method: Method, known: ModelCard, backbone: str
) -> None:
    """Refuse vectors that are not what the method's encoder gives for the texts.

    Args:
        sets: name to what it brings.
        method: as built.
        known: the backbone's card.
        backbone: its name, for messages.

    Raises:
        UsageError: the encoder is trained; the method's options change what the backbone says of itself.
        VerificationError: vectors by another model.
    """
    own = method.card()
    for name, brought in sets.items():
        for side, given in brought.items():
            word = f"--data {name}: {side}_vectors={given.folder}"
            if not method.takes_vectors():
                raise UsageError(
                    f"{word}: {method.name} trains its encoder here, and these would stay as they are"
                )
            changed = [of for of in OF_SIDE if getattr(own.side(side), of) != getattr(known.side(side), of)]
            if changed:
                raise UsageError(
                    f"{word}: the options change the backbone's {', '.join(changed)}, and the vectors were "
                    "made with its own; leave out one of the two"
                )
            made_by = given.query_fingerprint if side == "query" else given.passage_fingerprint
            if made_by != known.fingerprint(side):
                raise VerificationError(
                    f"{given.folder} was encoded by another model ({str(made_by)[:12]}) than {backbone} "
                    f"({known.fingerprint(side)[:12]}); encode the texts with the backbone"
                )


def rows_of(given: Embeddings, ids: Sequence[str], rows: Sequence[int]) -> NDArray[np.floating]:
    """Return the vectors [texts, D] of queries by their ids, of passages by their ascending rows."""
    if given.side == "passage":
        return Passages(given).gather(np.asarray(rows, dtype=np.int64)).values
    place = {text_id: row for row, text_id in enumerate(given.ids())}
    return given.all_vectors().values[[place[text_id] for text_id in ids]]
