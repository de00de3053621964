"""The card of a model folder: ours, or what a plain folder's own files say. Free of torch."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from dretrieve.models.plain import read_plain
from dretrieve.models.plain_colbert import read_colbert
from dretrieve.models.registry import check_method
from dretrieve.store.card import CARD, ModelCard
from dretrieve.store.fingerprint import sha256_file
from dretrieve.text.cache import read_once


def read_card(folder: Path, *, encoder: bool = True) -> tuple[ModelCard, str | None]:
    """Return the folder's card and, for a plain folder, the line that says what was read from it.

    Args:
        folder: of the model.
        encoder: a card's files are hashed, those of its encoders too, not only its method's parts.

    Raises:
        PreconditionError: no model here.
        DataError: a card or a plain folder's file that does not say what it must.
        VerificationError: files that are not those of the card.
    """
    if (folder / CARD).exists():
        card = ModelCard.load(folder)
        check_method(folder / CARD, card)
        # what was trained stands in a checkpoint where others have their encoder
        encoder = encoder or bool(card.source.get("checkpoint"))
        card.verify(
            folder, lambda file: read_once("sha256", [file], partial(sha256_file, file)), encoder=encoder
        )
        return card, None
    return read_colbert(folder) or read_plain(folder)
