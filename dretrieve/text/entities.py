"""Questions about one entity each (EntityQuestions): which entity a question asks about.

The entity is what is left of a question without the words with which all questions of its ``relation``
begin and end ("Where was … born?").
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence

from dretrieve.errors import DataError
from dretrieve.text.beir import Query


def folded(title: str) -> str:
    """Return the title as entities are compared: without regard to case and to spaces around it."""
    return " ".join(title.casefold().split())


def asked_entities(queries: Iterable[Query], name: str) -> dict[str, list[Query]]:
    """Return entity (folded) to the questions about it, in the order of the queries.

    Raises:
        DataError: a question without relation or answers (names it).
    """
    by_relation: defaultdict[str, list[Query]] = defaultdict(list)
    for query in queries:
        if not query.fields.get("relation") or not query.answers:
            lacking = "answers" if query.fields.get("relation") else "field 'relation'"
            raise DataError(
                f"--entities {name}: the question {query.id!r} has no {lacking}; leave the set out"
            )
        by_relation[str(query.fields["relation"])].append(query)
    found: defaultdict[str, list[Query]] = defaultdict(list)
    for members in by_relation.values():
        for entity, query in zip(between([query.text for query in members]), members, strict=True):
            if folded(entity):
                found[folded(entity)].append(query)
    return dict(found)


def between(texts: Sequence[str]) -> Iterator[str]:
    """Yield of each text what stands between the words with which all of them begin and end.

    Nothing of a text that stands alone: what is common to all cannot be told from what is its own.
    """
    if len(texts) < 2:
        yield from [""] * len(texts)
        return
    head = beginning(texts)
    head = head[: head.rfind(" ") + 1]  # whole words: all entities of a relation may begin with one letter
    rests = [text[len(head) :] for text in texts]
    tail = beginning([text[::-1] for text in rests])[::-1]
    # A mark at the end ("?") and "'s child?" follow the entity without a space.
    cut = re.search(r"[^\w]", tail)
    tail = tail[cut.start() :] if cut else ""
    for rest in rests:
        yield rest[: len(rest) - len(tail)] if tail else rest


def beginning(texts: Sequence[str]) -> str:
    """Return the letters with which all texts begin: what the first and the last in order share."""
    low, high = min(texts), max(texts)
    differs = (place for place, (one, other) in enumerate(zip(low, high, strict=False)) if one != other)
    return low[: next(differs, min(len(low), len(high)))]
