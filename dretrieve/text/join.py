"""Several collections joined over one corpus; their queries stay apart, as splits ``<set>-<split>``.

Passages that are equal are written once, under the id that came first; judgements follow them there. An id
that an earlier set gave to something else takes its set's name before it (``nq-gold:17``), for passages as
for queries, so nothing is refused and nothing is mixed up.

Of an *entity set* only those questions stay whose entity is the title of a passage that holds an answer;
those passages are then judged relevant, and all its questions become one split, named as the set.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from hashlib import blake2b
from pathlib import Path

from dretrieve.errors import DataError, PreconditionError, UsageError
from dretrieve.text.beir import Files, Query, find_file
from dretrieve.text.collection import files_of
from dretrieve.text.collection_writer import CollectionWriter
from dretrieve.text.entities import asked_entities, folded
from dretrieve.text.examples import EXAMPLES
from dretrieve.text.join_options import JoinOptions
from dretrieve.text.qrels import read_qrels
from dretrieve.text.records import read_corpus, read_queries
from dretrieve.types import Record

Tick = Callable[[], None]
# Given a question, whether a text holds one of its answers.
Holds = Callable[[Query], Callable[[str], bool]]
SET_NAME = re.compile(r"[A-Za-z0-9][\w.-]*")


def parse_sets(words: Sequence[str]) -> dict[str, Path]:
    """Return set name to place of ``[NAME=]DIR`` words; a folder names its set itself.

    Raises:
        UsageError: a name that cannot begin a split's, or that two sets have.
        PreconditionError: neither such a name nor a collection.
    """
    found: dict[str, Path] = {}
    for word in words:
        name, equals, place = word.partition("=")
        path = Path(place) if equals and not Path(word).exists() else Path(word)
        name = name if path != Path(word) else path.resolve().name.split(".")[0]
        if not SET_NAME.fullmatch(name) and not path.exists():
            raise PreconditionError(
                f"'{path}' does not exist; collections are joined whole, by their folders ([NAME=]DIR): "
                "prepare each of them first"
            )
        if not SET_NAME.fullmatch(name):
            raise UsageError(
                f"'{word}': {name!r} cannot name a set; write NAME={path} with letters and digits"
            )
        if name in found:
            raise UsageError(
                f"two of the joined collections are called {name}; name one of them: OTHER={path}"
            )
        found[name] = path
    return found


def open_sets(
    sets: Mapping[str, Path], entities: Sequence[str]
) -> tuple[dict[str, Files], dict[str, dict[str, list[Query]]]]:
    """Return every set's files, and for each entity set who asks about which entity.

    Raises:
        UsageError: an entity set that is none of the sets.
        PreconditionError: a set that is not there.
        DataError: a set that is no collection, or judges queries that it lacks the file of; an entity set
            without relations or answers.
    """
    for name in entities:
        if name not in sets:
            raise UsageError(f"--entities {name}: there is no such set; there are {', '.join(sets)}")
    files = {name: files_of(path) for name, path in sets.items()}
    for name, found in files.items():
        if found.queries is None and found.qrels:
            splits = ", ".join(found.qrels)
            raise DataError(
                f"{sets[name]} has judgements ({splits}) but no queries.jsonl that they are about; put its "
                "queries there, or take its qrels away to join its passages alone"
            )
    asked: dict[str, dict[str, list[Query]]] = {}
    for name in entities:
        if (queries := files[name].queries) is None:
            raise DataError(f"--entities {name}: the set has no queries")
        asked[name] = asked_entities(read_queries(queries), name)
    return files, asked


@dataclass(slots=True)
class _Ids:
    """New ids of one kind of things: the first owner keeps the id."""

    owner: dict[str, bytes] = field(default_factory=dict)
    renamed: int = 0

    def take(self, set_name: str, own: str, key: bytes) -> tuple[str, bool]:
        """Return the id for that content and whether it is new."""
        for name in (own, f"{set_name}:{own}"):
            if name not in self.owner:
                self.owner[name] = key
                self.renamed += name != own
                return name, True
            if self.owner[name] == key:
                return name, False
        raise DataError(
            f"the ids {own!r} and '{set_name}:{own}' both stand for something else; rename the set"
        )

    def judged(self, set_name: str, own: str, places: Mapping[str, str]) -> str:
        """Return the id of what a judgement names; ``places`` has the new ids of all that the set holds.

        What the set does not hold is not what another set calls so.
        """
        return places.get(own, f"{set_name}:{own}" if own in self.owner else own)


class Joiner:
    """Writes several collections as one.

    ``holds`` tells whether a passage holds an answer, and is asked for entity sets only; ``tick`` is called
    for every record.
    """

    def __init__(self, writer: CollectionWriter, options: JoinOptions, holds: Holds, tick: Tick) -> None:
        self._writer, self._options, self._holds, self._tick = writer, options, holds, tick
        self._by_content: dict[bytes, str] = {}
        self._passages, self._queries = _Ids(), _Ids()
        self._places: dict[str, dict[str, str]] = {}  # set to own id to new id, of judged passages
        self._titled: dict[str, list[Record]] = {}

    def write(self, sets: Mapping[str, Path]) -> None:
        """Write all passages, then all queries with their judgements.

        Raises:
            UsageError, PreconditionError, DataError: as `open_sets`; ids that cannot be told apart.
        """
        files, asked = open_sets(sets, self._options.entities)
        self._titled = {entity: [] for found in asked.values() for entity in found}
        for name, found in files.items():
            if found.corpus is not None:
                judged = {of for path in found.qrels.values() for of in read_qrels(path).passage_ids}
                self._write_corpus(name, found.corpus, judged)
        for name, found in files.items():
            if name in asked:
                self._write_about_titles(name, asked[name])
            elif found.queries is not None and found.queries != found.corpus:
                self._write_queries(name, found)
        self._note(sets)

    def _write_corpus(self, name: str, corpus: Path, judged: Collection[str]) -> None:
        places = self._places.setdefault(name, {})
        for record in read_corpus(corpus):
            self._tick()
            key = content_key(record, self._options.equal)
            known = self._by_content.get(key)
            if known is None:
                known, _ = self._passages.take(name, record.id, key)
                self._by_content[key] = known
                self._writer.passage(Record(known, record.title, record.text))
                if (title := folded(record.title)) in self._titled:
                    self._titled[title].append(Record(known, record.title, record.text))
            else:
                self._writer.counts["passages_joined"] += 1
            if record.id in judged:
                places[record.id] = known

    def _write_queries(self, name: str, files: Files) -> None:
        assert files.queries is not None
        places: dict[str, str] = {}
        for query in read_queries(files.queries):
            self._tick()
            split = query.fields.get("split")
            fields = {**query.fields, **({"split": f"{name}-{split}"} if split else {})}
            places[query.id] = self._write_query(name, replace(query, fields=fields))
        passages = self._places.get(name)  # None: it judges the other sets' passages
        for split, path in files.qrels.items():
            grades: dict[tuple[str, str], int] = {}
            for query_id, own, grade in read_qrels(path).rows():
                new = own if passages is None else self._passages.judged(name, own, passages)
                pair = self._queries.judged(name, query_id, places), new
                # Two passages that became one may have been judged differently: the better one counts.
                grades[pair] = max(grade, grades.get(pair, grade))
            for (query_id, passage_id), grade in grades.items():
                self._writer.judge(f"{name}-{split}", query_id, passage_id, grade)

    def _write_query(self, name: str, query: Query) -> str:
        content = repr((query.text, query.answers, query.answers_are_regex, sorted(query.fields.items())))
        new, is_first = self._queries.take(name, query.id, blake2b(content.encode(), digest_size=16).digest())
        if is_first:
            self._writer.query(replace(query, id=new))
        return new

    def _write_about_titles(self, name: str, asked: Mapping[str, Sequence[Query]]) -> None:
        kept: Counter[str] = Counter()
        for entity, queries in asked.items():
            for query in queries:
                self._tick()
                holds = self._holds(query)
                found = [record.id for record in self._titled[entity] if holds(record.text)]
                if not found:
                    continue
                new = self._write_query(name, replace(query, fields={**query.fields, "split": name}))
                for passage_id in found:
                    self._writer.judge(name, new, passage_id)
                kept[str(query.fields["relation"])] += 1
        listed = ", ".join(f"{relation} {count}" for relation, count in sorted(kept.items()))
        total = sum(len(queries) for queries in asked.values())
        self._writer.notes.append(
            f"{name}: {kept.total():,} of {total:,} questions are about the title of a passage that holds an "
            f"answer; by relation: {listed or 'none'}"
        )

    def _note(self, sets: Mapping[str, Path]) -> None:
        for name, path in sets.items():
            if path.is_dir() and find_file(path, EXAMPLES):
                self._writer.notes.append(
                    f"{name}: its {EXAMPLES} is not joined; mine negatives in the joined corpus"
                )
        for what, ids in (("passages", self._passages), ("queries", self._queries)):
            if ids.renamed:
                self._writer.notes.append(
                    f"{ids.renamed:,} {what} took their set's name before their id, which an earlier set uses"
                )


def content_key(record: Record, equal: str) -> bytes:
    """Return what equal passages have in common: a hash of title and text, or of their letters and digits."""
    parts: tuple[str, ...] = (record.title, record.text)
    if equal == "letters":
        letters = tuple("".join(filter(str.isalnum, part.casefold())) for part in parts)
        parts = letters if any(letters) else parts
    return blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=16).digest()
