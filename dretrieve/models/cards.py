"""The card of a model folder: ours, or what a plain folder's own files say. Free of torch."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from dretrieve.errors import PreconditionError
from dretrieve.models.plain import read_plain
from dretrieve.models.plain_colbert import read_colbert
from dretrieve.models.registry import check_method
from dretrieve.store.card import CARD, ModelCard, SideCard
from dretrieve.store.fingerprint import sha256_file
from dretrieve.store.state import read_state, state_path
from dretrieve.text.cache import read_once
from dretrieve.tokens.tokenizer import AS_IT_IS, CONFIG_FILE, FAST_FILE, SAYING_FILES, overrides
from dretrieve.types import SIDES

MAKERS = ("train", "convert", "modules")  # stages whose outputs are models


def read_card(folder: Path, *, encoder: bool = True) -> tuple[ModelCard, str | None]:
    """Return the folder's card and, for a plain folder, the line that says what was read from it.

    With ``encoder`` all of a card's files are hashed, not only its method's parts.

    Raises:
        PreconditionError: no model here, or one that a command has not finished, or whose tokens would be
            others than those that it was made with.
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
        for side in SIDES:
            _check_tokens(folder, card.side(side))
        return card, None
    if state.get("stage") in MAKERS and "state" in state and not manifest.exists():
        raise PreconditionError(
            f"{folder} is what '{state['stage']}' has not finished ({state['state']}): it may hold half of a "
            f"model; run that command again, or remove {state_path(manifest)} if it holds another one"
        )
    return read_colbert(folder) or read_plain(folder)


def _check_tokens(folder: Path, side: SideCard) -> None:
    """Refuse a side that was made when tokenizer.json alone said its tokens, and now another file does."""
    place = folder / side.folder
    if FAST_FILE not in side.files or CONFIG_FILE in side.files:
        return
    saying = [place / name for name in (FAST_FILE, *SAYING_FILES) if (place / name).exists()]
    if read_once("overrides", saying, partial(overrides, place)):
        state = "asks for others" if (place / CONFIG_FILE).exists() else "is missing"
        raise PreconditionError(
            f"{folder / CARD} was made with the tokens of {FAST_FILE} alone, and {place / CONFIG_FILE} "
            f'{state}; to keep them, write "tokenizer_class": "{AS_IT_IS[0]}" there and take out what '
            "changes tokens (do_lower_case, added tokens), or train or convert the model again"
        )
