"""``tokens``: exactly what a model sees of a text. Loads no weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from dretrieve.jobs.configs.tokens import TokensConfig
from dretrieve.models.cards import read_card
from dretrieve.models.places import find_model
from dretrieve.store.card import SideCard
from dretrieve.tokens.tokenizer import Shown, SideTokenizer
from dretrieve.types import SILENT, Progress, Record, Side

SHOWN_IDS = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class TokensResult:
    """What is encoded."""

    side: Side
    card: SideCard
    shown: Shown
    fingerprint: str

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {
            "side": self.side,
            "template": self.card.template,
            "pair": self.card.pair,
            "text": self.shown.text,
            "ids": self.shown.ids,
            "pieces": self.shown.pieces,
            "tokens": len(self.shown.ids),
            "max_tokens": self.card.max_tokens,
            "dropped": self.shown.dropped,
            "pooling": self.card.pooling,
            "normalize": self.card.normalize,
            "fingerprint": self.fingerprint,
        }

    def render(self) -> str:
        """Return a few lines for people."""
        shown = self.shown
        cut = f", {len(shown.dropped):,} more were cut off" if shown.dropped else ", nothing cut off"
        end = "unit length" if self.card.normalize else "length kept"
        lines = [
            f"{self.side} template {self.card.template!r}, then {self.card.pooling} pooling, {end}",
            f"text    {shown.text}",
            f"tokens  {len(shown.ids)} of at most {self.card.max_tokens}{cut}",
            f"pieces  {' '.join(shown.pieces)}",
            f"ids     {' '.join(map(str, shown.ids))}",
        ]
        if shown.dropped:
            more = " …" if len(shown.dropped) > SHOWN_IDS else ""
            lines.append(f"cut     {' '.join(shown.dropped[:SHOWN_IDS])}{more}")
        return "\n".join(lines)


def run(config: TokensConfig, progress: Progress = SILENT) -> TokensResult:
    """Return what is encoded for the text.

    Raises:
        PreconditionError: no such model or tokenizer.
        DataError: a text that is no legal Unicode.
    """
    folder = find_model(config.model)
    card, note = read_card(folder)
    if note:
        progress.note(f"{config.model}: {note}")
    side = card.side(config.side)
    record = Record("the text", config.title, config.text)
    shown = SideTokenizer.open(folder / side.folder, side).show(record)
    return TokensResult(side=config.side, card=side, shown=shown, fingerprint=card.fingerprint(config.side))
