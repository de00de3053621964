"""How a record becomes the text that a side's tokenizer sees."""

from __future__ import annotations

import re
from dataclasses import dataclass

from dretrieve.errors import DataError
from dretrieve.store.card import SideCard
from dretrieve.types import Record

Rendered = str | tuple[str, str]


@dataclass(frozen=True, slots=True)
class Template:
    """A side's template, cut into its parts once.

    Attributes:
        parts: literal text, ``{title}`` and ``{text}`` in order; ``{{text}}`` is the literal ``{text}``.
        untitled: the same for records without title: ``{title}`` is gone with the white space behind it
            (before it, when it stands last).
        pair: a titled record becomes the pair (title, untitled rendering); one without title is a single.
        straight_quotes: the typographic apostrophe becomes the typewriter's, as DPR's code does to every
            question (the setting ``straight_quotes``).
    """

    parts: tuple[str, ...]
    untitled: tuple[str, ...]
    pair: bool
    straight_quotes: bool = False

    @classmethod
    def of(cls, card: SideCard) -> Template:
        """Return the card's template.

        Raises:
            DataError: it never names ``{text}``.
        """
        pieces = re.split(r"(\{\{(?:title|text)\}\}|\{title\}|\{text\})", card.template)
        parts = tuple(filter(None, pieces))
        if "{text}" not in parts:
            raise DataError(f"the model card's template {card.template!r} has no {{text}}; correct it")
        straight = bool(card.settings.get("straight_quotes"))
        return cls(parts, _untitled(parts), card.pair, straight)

    def render(self, record: Record) -> Rendered:
        """Return the text, or the pair (title, text)."""
        if self.straight_quotes:
            record = Record(record.id, record.title.replace("’", "'"), record.text.replace("’", "'"))
        if not record.title:
            return _fill(self.untitled, record)
        if self.pair:
            return record.title, _fill(self.untitled, record)
        return _fill(self.parts, record)


def literal(text: str) -> str:
    """Return the template of a text that stands there as it is: its ``{text}`` is written ``{{text}}``."""
    return re.sub(r"\{(title|text)\}", r"{{\1}}", text)


def _untitled(parts: tuple[str, ...]) -> tuple[str, ...]:
    """Return the parts without ``{title}`` and the white space behind it, before it where it stands last."""
    kept = []
    for before, part in zip(("", *parts), parts, strict=False):
        if part != "{title}":
            kept.append(part.lstrip() if before == "{title}" else part)
    last = next((part for part in reversed(parts) if part.strip()), "")
    if last == "{title}" and kept:
        kept[-1] = kept[-1].rstrip()
    return tuple(part for part in kept if part)


def _fill(parts: tuple[str, ...], record: Record) -> str:
    values = {"{title}": record.title, "{text}": record.text, "{{title}}": "{title}", "{{text}}": "{text}"}
    return "".join(values.get(part, part) for part in parts)
