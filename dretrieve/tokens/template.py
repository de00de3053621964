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
        parts: literal text, ``{title}`` and ``{text}`` in order.
        untitled: the same for records without title: ``{title}`` is gone with the white space behind it
            (before it, when it stands last).
        pair: a titled record becomes the pair (title, untitled rendering); one without title is a single.
        lowercase: everything in lower case (the side's setting ``lowercase``).
        straight_quotes: the typographic apostrophe becomes the typewriter's, as DPR's code does to every
            question (the setting ``straight_quotes``).
    """

    parts: tuple[str, ...]
    untitled: tuple[str, ...]
    pair: bool
    lowercase: bool = False
    straight_quotes: bool = False

    @classmethod
    def of(cls, card: SideCard) -> Template:
        """Return the card's template.

        Raises:
            DataError: it never names ``{text}``.
        """
        if "{text}" not in card.template:
            raise DataError(f"the model card's template {card.template!r} has no {{text}}; correct it")
        without = re.sub(r"\{title\}\s*", "", card.template)
        if card.template.rstrip().endswith("{title}"):
            without = re.sub(r"\s*\{title\}\s*$", "", card.template)
        choices = (bool(card.settings.get(name)) for name in ("lowercase", "straight_quotes"))
        return cls(_cut(card.template), _cut(without), card.pair, *choices)

    def render(self, record: Record) -> Rendered:
        """Return the text, or the pair (title, text)."""
        if self.lowercase:
            record = Record(record.id, record.title.lower(), record.text.lower())
        if self.straight_quotes:
            record = Record(record.id, record.title.replace("’", "'"), record.text.replace("’", "'"))
        if not record.title:
            return _fill(self.untitled, record)
        if self.pair:
            return record.title, _fill(self.untitled, record)
        return _fill(self.parts, record)


def _cut(template: str) -> tuple[str, ...]:
    return tuple(part for part in re.split(r"(\{title\}|\{text\})", template) if part)


def _fill(parts: tuple[str, ...], record: Record) -> str:
    values = {"{title}": record.title, "{text}": record.text}
    return "".join(values.get(part, part) for part in parts)
