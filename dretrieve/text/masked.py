"""Questions made out of passages alone: an entity masked in a sentence (cloze), spans dropped from a text.

Cloze is salient span masking (Guu et al., REALM, ICML 2020; ReAtt, EMNLP 2022, section 3.3): the question is
a sentence in which one entity gives way to T5's first sentinel wherever it stands; the entity is the answer.
ReAtt finds entities by a trained recogniser; here rules find them, so that the same passages give the same
questions on every machine: dates, numbers, runs of capitalised words, words with digits or capitals inside
(IL-6, mRNA). A single word with which a sentence begins is no sign. Spans are T5's (Raffel et al., JMLR
2020, section 3.1.4): 15 % of a text in spans of 3 on average give way to sentinels, the answer is sentinels
and what they stand for; counted in words, not in tokens.

Passages are drawn in no order, no one twice more often than another where both have as much to mask.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np
import regex

from dretrieve.errors import DataError
from dretrieve.store.seeds import generator
from dretrieve.text.beir import Query
from dretrieve.text.collection_writer import CollectionWriter
from dretrieve.types import Record, Texts

Kind = Literal["cloze", "spans"]
Made = tuple[str, str, str]  # the text with its masks, the answer, what was masked
SEED, SPLIT = 42, "train"
MASK = "<extra_id_{}>"
FEWEST_WORDS, MOST_WORDS = 5, 64  # of a sentence that is asked
DROPPED, MEAN_SPAN, MOST_TEXT = 0.15, 3, 128  # share of words, words of a span, words of a text

SENTENCE_END = regex.compile(r"(?<=[.!?][\"”’)]?)\s+(?=[\"“‘(]?[\p{Lu}\d])")
_MONTH = (
    r"(?:January|February|March|April|May|June|July|August|September|October|November|December"
    r"|(?:Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec)\b\.?)"
)
_NAME = r"(?:\p{Lu}|\p{Ll}+-?[\p{Lu}\d])[\p{L}\d]*(?:(?:[-.&]|['’](?!s\b))[\p{L}\d]+)*"
# The first that fits wins: a year is a date and no number.
RULES = {
    "dates": rf"\d{{1,2}} {_MONTH}(?:,? \d{{4}})?|{_MONTH} (?:\d{{1,2}}(?:, \d{{4}})?|\d{{4}})|(1\d|20)\d\d",
    "numbers": r"[$€£]?\d+(?:[.,]\d+)*(?: ?%| (?:hundred|thousand|million|billion)\b)?",
    "names": rf"{_NAME}(?: (?:(?:of|the|de|la|von|van) ){{0,2}}{_NAME})*",
}
BEFORE, AFTER = (regex.compile(rule) for rule in (r"(?<![\p{L}\d_-]|\d[.,])", r"(?![\p{L}\d_-]|[.,]\d)"))
_ANY = "|".join(f"(?P<{name}>{rule})" for name, rule in RULES.items())
ENTITY = regex.compile(f"{BEFORE.pattern}(?:{_ANY}){AFTER.pattern}")
# With these a sentence begins, and no name.
FUNCTION_WORDS = frozenset(
    "a an the this that these those it its he his she her they their we our you your i in on at by for "
    "from to of with as and or but if when while after before since because although however thus there "
    "here what which who where how why is are was were do does did no not all some many most both each "
    "one two".split()
)


def write_masked(
    kind: Kind, texts: Texts, number: int, writer: CollectionWriter, tick: Callable[[], None]
) -> None:
    """Write the passages, and questions about them with their answers, judged for the passage they come from.

    What was masked is counted by kind; a note says that there was less to mask than ``number``.

    Raises:
        DataError: there is nothing to mask at all.
    """
    for row in range(len(texts)):
        writer.passage(texts.records(row, row + 1)[0])
        tick()
    made, left = 0, len(texts)
    for row in np.random.Generator(np.random.PCG64(SEED)).permutation(len(texts)).tolist():
        wanted = -(-(number - made) // left)  # what is missing, spread over the passages that are left
        record = texts.records(row, row + 1)[0]
        found = cloze(record, wanted) if kind == "cloze" else spans(record, wanted)
        for place, (text, answer, masked) in enumerate(found):
            writer.query(Query(f"{record.id}.{place}", text, (answer,)))
            writer.judge(SPLIT, f"{record.id}.{place}", record.id)
            writer.counts[f"masked_{masked}"] += 1
            made += 1
            tick()
        writer.counts["passages_without_a_question"] += bool(wanted) and not found
        left -= 1
    if not made:
        raise DataError(
            f"no question can be made by {kind}: none of the {len(texts):,} passages has what it masks"
        )
    if made < number:
        writer.notes.append(f"{made:,} questions of {number:,}: the passages hold no more to mask")


def cloze(record: Record, most: int) -> list[Made]:
    """Return up to so many sentences of a passage, drawn without return, each with one entity masked.

    Left out: sentences of fewer than 5 or more than 64 words, or without an entity.
    """
    rng = generator(SEED, "cloze", record.id)
    sentences = SENTENCE_END.split(" ".join(record.text.split())) if most else []
    made: list[Made] = []
    for place in rng.permutation(len(sentences)).tolist():
        sentence = sentences[place]
        if len(made) == most or not FEWEST_WORDS <= len(sentence.split()) <= MOST_WORDS:
            continue
        if found := [*entities(sentence)]:
            entity, kind = found[rng.integers(len(found))]
            made.append((_masked(sentence, entity), entity, kind))
    return made


def _masked(sentence: str, entity: str) -> str:
    """Return the sentence with the mask wherever the entity stands as a whole."""
    begin = sentence.find(entity)
    while begin >= 0:
        end = begin + len(entity)
        if BEFORE.match(sentence, begin) and AFTER.match(sentence, end):
            sentence = sentence[:begin] + MASK.format(0) + sentence[end:]
        begin = sentence.find(entity, begin + 1)
    return sentence


def entities(sentence: str) -> Iterator[tuple[str, str]]:
    """Yield the entities of a sentence in order, each with its rule's name."""
    for match in ENTITY.finditer(sentence):
        words, kind = match.group().split(), str(match.lastgroup)
        if kind == "names" and not any(map(str.isalnum, sentence[: match.start()].rpartition(":")[2])):
            told = words[0].casefold() in FUNCTION_WORDS
            words = words[1:] if told else words
            # Every sentence begins with a capital letter, one of an abstract with RESULTS: too.
            if (
                not told
                and len(words) == 1
                and (words[0][1:].islower() or sentence[match.end() :][:1] == ":")
            ):
                continue
        if words and words[0].casefold() not in FUNCTION_WORDS and (kind != "names" or len(words[0]) > 1):
            yield " ".join(words), kind


def spans(record: Record, most: int) -> list[Made]:
    """Return a passage's text so many times, each time with other spans dropped; none of fewer than 5 words.

    Of a text of more than 128 words a window of so many is drawn.
    """
    rng = generator(SEED, "spans", record.id)
    made = []
    every = record.text.split()
    for _ in range(most if len(every) >= FEWEST_WORDS else 0):
        begin = int(rng.integers(max(len(every) - MOST_TEXT, 0) + 1))
        words = every[begin : begin + MOST_TEXT]
        dropped = max(round(DROPPED * len(words)), 1)
        count = max(round(dropped / MEAN_SPAN), 1)
        kept, lost = (_cut(rng, total, count) for total in (len(words) - dropped, dropped))
        text, answer, place = list[str](), list[str](), 0
        for number, (before, span) in enumerate(zip(kept, lost, strict=True)):
            mask = MASK.format(number)
            text += [*words[place : place + before], mask]
            answer += [mask, *words[place + before : place + before + span]]
            place += before + span
        made.append((" ".join(text), " ".join([*answer, MASK.format(count)]), "spans"))
    return made


def _cut(rng: np.random.Generator, total: int, count: int) -> list[int]:
    """Return ``count`` lengths of at least 1 that add up to ``total``, each way of cutting as likely."""
    cuts = np.sort(rng.choice(total - 1, count - 1, replace=False) + 1)
    return [int(length) for length in np.diff([0, *cuts, total])]
