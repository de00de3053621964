"""``--data`` to sets of examples by id: from a split's judgements, or from mined examples.

``DIR:split`` trains on the judgements of a collection, other passages of the batch as negatives. ``EX.jsonl``
(or ``path=EX.jsonl``) brings hard negatives; its collection is the one in its manifest, or ``corpus=DIR``,
which must be the same. Longer: ``name=nq,path=DIR,split=train,weight=4,sample=1000,phase=general``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from dretrieve.errors import DataError, DretrieveError, PreconditionError, UsageError, VerificationError
from dretrieve.store.draws import generator
from dretrieve.store.fingerprint import sha256_file
from dretrieve.store.manifest import manifest_path, read_manifest
from dretrieve.store.stage import open_artefact
from dretrieve.store.text_store import TextStore
from dretrieve.text.collection import Collection
from dretrieve.text.examples import Example, read_examples
from dretrieve.types import Progress


@dataclass(frozen=True, slots=True, kw_only=True)
class DataSpec:
    """One ``--data`` word.

    Attributes:
        path: a collection's folder or a file of examples.
        name: for messages, and in the seeds of its draws; the path's own name when not given.
        split: of a collection.
        weight: factor on the set's share of the batches.
        corpus: the collection of examples, when their manifest does not say or has moved.
        sample: take so many of the queries, drawn by the seed; 0 takes all.
        phase: only that phase of training uses the set; "" all.
    """

    path: str
    name: str = ""
    split: str = ""
    weight: float = 1.0
    corpus: str = ""
    sample: int = 0
    phase: str = ""


def parse_data(word: str) -> DataSpec:
    """Return the specification that one ``--data`` word holds.

    Raises:
        UsageError: an unknown key, a key twice, no path, a number that is none.
    """
    known = [item.name for item in fields(DataSpec)]
    first = word.partition("=")[0]
    if first not in known:
        return DataSpec(path=word, name=_own_name(word))
    values: dict[str, str] = {}
    for part in word.split(","):
        key, equals, value = part.partition("=")
        if not equals or key not in known:
            raise UsageError(f"--data {word}: {part!r} is not KEY=VALUE; keys are {', '.join(known)}")
        if key in values:
            raise UsageError(f"--data {word}: {key} is given twice")
        values[key] = value
    if not values.get("path"):
        raise UsageError(f"--data {word}: path=DIR or path=EXAMPLES.jsonl is missing")
    try:
        weight, sample = float(values.pop("weight", "1")), int(values.pop("sample", "0"))
    except ValueError:
        raise UsageError(f"--data {word}: weight= takes a number and sample= a whole number") from None
    if not (weight > 0 and weight < float("inf")) or sample < 0:
        raise UsageError(f"--data {word}: weight= must be above 0 and sample= not below 0")
    name = values.pop("name", "") or _own_name(values["path"])
    return DataSpec(name=name, weight=weight, sample=sample, **values)


def _own_name(word: str) -> str:
    return Path(word).name.split(".")[0] or "set"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleSet:
    """A set by id, before its texts are tokenised.

    Attributes:
        spec: where it came from.
        examples: those with a positive, in file order.
        corpus: the passages.
        fingerprint: of the examples and their passages.
        without_positives: queries left out.
    """

    spec: DataSpec
    examples: Sequence[Example]
    corpus: TextStore
    fingerprint: str
    without_positives: int

    def passage_rows(self) -> list[int]:
        """Return the rows of the corpus that some example names, ascending.

        Raises:
            DataError: an example names a passage that the corpus lacks.
        """
        names = dict.fromkeys(
            name
            for example in self.examples
            for name in (*example.positive_document_ids, *example.negative_document_ids)
        )
        rows = []
        for name in names:
            row = self.corpus.row_of(name)
            if row is None:
                raise DataError(
                    f"{self.spec.path} names passage {name!r}, which its collection lacks; use the "
                    "collection that the examples were made from"
                )
            rows.append(row)
        return sorted(rows)


def open_set(spec: DataSpec, seed: int, progress: Progress) -> ExampleSet:
    """Return the set of that specification.

    Raises:
        DataError: no example has a positive.
        VerificationError: examples of another collection than the one given.
        PreconditionError: the examples do not exist.
        UsageError: options that do not fit the kind of file.
    """
    word = f"{spec.path}:{spec.split}" if spec.split else spec.path
    is_examples = Path(spec.path).is_file() and ".jsonl" in Path(spec.path).name
    found = _from_examples(spec, progress) if is_examples else _from_split(spec, word, progress)
    examples, corpus, fingerprint = found
    usable = [example for example in examples if example.positive_document_ids]
    if not usable:
        raise DataError(
            f"{word} has no query with a positive (a grade above 0); training needs a passage for every query"
        )
    dropped = len(examples) - len(usable)
    if dropped:
        progress.note(f"{spec.name}: {dropped:,} queries without a positive are left out")
    if spec.sample and spec.sample < len(usable):
        rows = generator(seed, "sample", spec.name).permutation(len(usable))[: spec.sample]
        usable = [usable[row] for row in np.sort(rows).tolist()]
    return ExampleSet(
        spec=spec, examples=usable, corpus=corpus, fingerprint=fingerprint, without_positives=dropped
    )


def _from_split(spec: DataSpec, word: str, progress: Progress) -> tuple[list[Example], TextStore, str]:
    if spec.corpus and not Path(spec.path).exists():
        raise PreconditionError(
            f"--data {word} does not exist; make it with `dretrieve mine-negatives`, or correct the path"
        )
    if spec.corpus:
        raise UsageError(f"--data {word}: corpus= belongs to examples; a collection has its own passages")
    collection = Collection.open(word)
    queries, qrels = collection.queries(), collection.qrels()
    positives: dict[str, list[str]] = {}
    for row, query_id in enumerate(qrels.query_ids):
        places = range(int(qrels.offsets[row]), int(qrels.offsets[row + 1]))
        positives[query_id] = [
            qrels.passage_ids[int(qrels.passages[place])] for place in places if qrels.grades[place] > 0
        ]
    corpus = collection.corpus(progress)
    known = {name for names in positives.values() for name in names if corpus.row_of(name) is not None}
    examples = [
        Example(query.id, query.text, tuple(name for name in positives.get(query.id, ()) if name in known))
        for query in queries.queries
    ]
    lost = sum(name not in known for names in positives.values() for name in names)
    if lost:
        progress.note(f"{spec.name}: {lost:,} judged passages are not in the collection and are left out")
    fingerprint = f"{corpus.sha256}:{queries.sha256}:{sha256_file(collection.qrels_file())}"
    return examples, corpus, fingerprint


def _from_examples(spec: DataSpec, progress: Progress) -> tuple[list[Example], TextStore, str]:
    path = Path(spec.path)
    if spec.split:
        raise UsageError(f"--data {spec.path}: split= belongs to a collection; examples are one set")
    described: dict[str, str] = {}
    if manifest_path(path).exists():
        described = dict(
            open_artefact(path, ("mine-negatives", "prepare", "convert")).extra.get("collection", {})
        )
    elif (path.parent / "manifest.json").exists():
        manifest = read_manifest(path.parent / "manifest.json")
        described = dict(manifest.extra.get("collection", {"path": "."}))
    if not spec.corpus and "path" not in described:
        raise UsageError(
            f"{spec.path} does not say which collection its passages are in (no manifest); "
            f"write --data path={spec.path},corpus=DIR"
        )
    place = spec.corpus or str(path.resolve().parent / described["path"])
    try:
        corpus = Collection.open(place).corpus(progress)
    except DretrieveError as error:
        if spec.corpus:
            raise
        raise DataError(
            f"{spec.path}: its collection is not at {place} ({error}); write corpus=DIR"
        ) from error
    if described.get("sha256", corpus.sha256) != corpus.sha256:
        raise VerificationError(
            f"{spec.path} was made from the collection {described.get('name', '')} "
            f"({described['sha256'][:12]}), {place} is another one ({corpus.sha256[:12]}); give the "
            "collection of the examples, or mine again"
        )
    return list(read_examples(path)), corpus, f"{corpus.sha256}:{sha256_file(path)}"
