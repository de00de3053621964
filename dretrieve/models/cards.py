"""The card of a model folder: ours, or what a plain folder's own files say. Free of torch."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from dretrieve.errors import PreconditionError
from dretrieve.models.plain import read_plain
from dretrieve.models.plain_colbert import read_colbert
from dretrieve.models.registry import check_method
from dretrieve.store.card import CARD, ModelCard
from dretrieve.store.fingerprint import sha256_file
from dretrieve.store.state import read_state, state_path
from dretrieve.text.cache import read_once

MAKERS = ("train", "convert", "modules")  # stages whose outputs are models


def read_card(folder: Path, *, encoder: bool = True) -> tuple[ModelCard, str | None]:
    """Return the folder's card and, for a plain folder, the line that says what was read from it.

    With ``encoder`` all of a card's files are hashed, not only its method's parts.

    Raises:
        PreconditionError: no model here, or one that a command has not finished.
        DataError: a card or a plain folder's file that does not say what it must.
        VerificationError: files that are not those of the card.
    """
    manifest = folder / "manifest.json"
    state = read_state(manifest) or {}  # before the card, for it goes after that has come
    if (folder / CARD).exists():
        card = ModelCard.load(folder)
        check_method(folder / CARD, card)
        # what was trained stands in a checkpoint where others have their encoder
        encoder = encoder or bool(card.source.get("checkpoint"))
        card.verify(
            folder, lambda file: read_once("sha256", [file], partial(sha256_file, file)), encoder=encoder
        )
        return card, None
    if state.get("stage") in MAKERS and "state" in state and not manifest.exists():
        raise PreconditionError(
            f"{folder} is what '{state['stage']}' has not finished ({state['state']}): it may hold half of a "
            f"model; run that command again, or remove {state_path(manifest)} if it holds another one"
        )
    return read_colbert(folder) or read_plain(folder)
