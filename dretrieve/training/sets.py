"""Sets in rows: every text tokenised once, before the first step; ids replaced by rows.

Nothing is tokenised in the loop (peers.md, complaint 24). The tokens are memory-mapped files in the folder of
the checkpoints, so that several processes share one copy and a resumed run does not tokenise again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dretrieve.encoding.given_vectors import rows_of, vector_batch
from dretrieve.encoding.pieces import token_batch
from dretrieve.errors import DretrieveError
from dretrieve.models.base import TokenBatch
from dretrieve.store.atomic import replacing
from dretrieve.store.fingerprint import canonical_json, sha256_bytes
from dretrieve.store.manifest import Manifest, commit, read_verified
from dretrieve.store.npy import map_array, write_array
from dretrieve.tokens.tokenizer import Tokenized
from dretrieve.training.data import ExampleSet
from dretrieve.training.processes import Processes
from dretrieve.types import Progress, Record, Side, offsets_of

Tokenize = Callable[[Sequence[Record]], Sequence[Sequence[int]]]
BLOCK = 4096


@dataclass(frozen=True, slots=True)
class Ragged:
    """Rows of different length in columns: row i is ``values[offsets[i]:offsets[i + 1]]``."""

    values: NDArray[np.int32]
    offsets: NDArray[np.int64]

    @classmethod
    def of(cls, rows: Iterable[Sequence[int]]) -> Ragged:
        """Return the columns of those rows."""
        listed = list(rows)
        lengths = np.asarray([len(row) for row in listed], dtype=np.int64)
        return cls(np.fromiter(chain.from_iterable(listed), dtype=np.int32), offsets_of(lengths))

    def row(self, index: int) -> NDArray[np.int32]:
        """Return one row."""
        return self.values[self.offsets[index] : self.offsets[index + 1]]


@dataclass(frozen=True, slots=True)
class TokenTable:
    """Token ids of many texts, special tokens included, already cut to the side's length.

    Attributes:
        ids: [total] int32, all texts one after the other.
        offsets: [texts + 1] int64.
        text_ids: the texts' ids.
        columns: what else is known of each text, by name.
    """

    ids: NDArray[np.int32]
    offsets: NDArray[np.int64]
    text_ids: Sequence[str] = ()
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def lengths(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the number of tokens of those texts."""
        return self.offsets[rows + 1] - self.offsets[rows]

    def batch(self, rows: NDArray[np.int64], *, pad: int) -> TokenBatch:
        """Return those texts, padded on the right to the longest of them."""
        found = token_batch(Tokenized(self.ids, self.offsets), rows, pad, self.text_ids)
        columns = {name: tuple(of[row] for row in rows) for name, of in self.columns.items()}
        return replace(found, columns=columns)


@dataclass(frozen=True, slots=True)
class VectorTable:
    """The backbone's vectors of many texts, computed before; it answers as `TokenTable` does.

    Attributes:
        values: [texts, D] float16 or float32.
        text_ids: the texts' ids.
        columns: what else is known of each text, by name.
    """

    values: NDArray[Any]
    text_ids: Sequence[str] = ()
    columns: Mapping[str, Sequence[Any]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.values)

    def lengths(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return 1 for each of those texts: what they cost."""
        return np.ones(len(rows), dtype=np.int64)

    def batch(self, rows: NDArray[np.int64], *, pad: int) -> TokenBatch:
        """Return those texts, without tokens; ``pad`` is not needed."""
        columns = {name: tuple(of[row] for row in rows) for name, of in self.columns.items()}
        return vector_batch(self.values[rows], [self.text_ids[row] for row in rows], columns)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingSet:
    """One set in rows: queries with positives and hard negatives, or close passages; all texts tokenised.

    Attributes:
        positives: rows of ``passages`` per example, at least one; with ``close``, those that are close.
        negatives: rows of ``passages`` per example, possibly none; never one of its positives.
        queries: one row per example.
        passages: those that some example names.
        weight: factor on the set's share of the batches.
        close: rows of ``passages`` per example, best first, possibly none; None where judgements teach.
        teacher: a teacher's score of each of ``positives`` and of each of ``negatives``, flat as their
            values; None where none teaches.
        lines: the examples of each query that has several.
    """

    name: str
    positives: Ragged
    negatives: Ragged
    queries: TokenTable | VectorTable
    passages: TokenTable | VectorTable
    weight: float = 1.0
    close: Ragged | None = None
    teacher: tuple[NDArray[np.float32], NDArray[np.float32]] | None = None
    lines: Mapping[str, Sequence[int]] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.positives.offsets) - 1


def tokenise(records: Iterable[Record], tokenize: Tokenize) -> TokenTable:
    """Return the tokens of those records, in order."""
    parts = [np.empty(0, dtype=np.int32)]
    lengths: list[int] = []
    left = iter(records)
    while block := list(islice(left, BLOCK)):
        tokens = tokenize(block)
        lengths += [len(row) for row in tokens]
        parts.append(np.fromiter(chain.from_iterable(tokens), dtype=np.int32))
    return TokenTable(np.concatenate(parts), offsets_of(np.asarray(lengths, dtype=np.int64)))


def save_table(table: TokenTable, stem: Path) -> None:
    """Write ``<stem>.ids.npy`` and ``<stem>.offsets.npy``, and last their manifest with the checksums."""
    arrays: dict[str, NDArray[Any]] = {
        f"{stem.name}.ids.npy": table.ids,
        f"{stem.name}.offsets.npy": table.offsets,
    }
    for name, array in arrays.items():
        with replacing(stem.with_name(name)) as file:
            write_array(file, array)
    commit(stem.with_name(f"{stem.name}.manifest.json"), Manifest(stage="tokens", version=1), arrays)


def open_table(stem: Path) -> TokenTable | None:
    """Return the table saved under ``stem`` as memory maps, or None when it is not there as it was saved."""
    path = stem.with_name(f"{stem.name}.manifest.json")
    try:
        read_verified(path, full=True)
    except DretrieveError:
        return None
    ids, offsets = (map_array(stem.with_name(f"{stem.name}.{name}.npy")) for name in ("ids", "offsets"))
    return TokenTable(ids, np.asarray(offsets))


@dataclass(frozen=True, slots=True)
class TokenCache:
    """Where the tokens of sets stand, and what they depend on beside the texts.

    Attributes:
        key: of tokenizers, templates, lengths.
        processes: the first writes, all map.
    """

    folder: Path
    key: str
    processes: Processes


def in_rows(
    examples: ExampleSet,
    tokenize: Mapping[Side, Tokenize],
    cache: TokenCache,
    progress: Progress,
) -> TrainingSet:
    """Return the set in rows; ``tokenize`` gives, by side, the token ids of records."""
    spec, listed = examples.spec, examples.examples
    names = examples.passage_rows()
    rows = sorted(names.values())
    place = {row: position for position, row in enumerate(rows)}
    at = {name: place[row] for name, row in names.items()}
    columns = {name: [of.fields.get(name) for of in listed] for name in examples.columns}
    ids: dict[Side, list[str]] = {
        "query": [of.query_id for of in listed],
        "passage": sorted(at, key=at.__getitem__),
    }
    drawn = sha256_bytes(canonical_json(ids["query"]))  # by the seed, where a part is sampled
    key = sha256_bytes(f"{cache.key}|{examples.fingerprint}|{spec.name}|{drawn}".encode())[:16]
    stems = {side: cache.folder / f"{key}.{side}" for side in ids if side not in examples.vectors}
    if cache.processes.first and any(open_table(stem) is None for stem in stems.values()):
        progress.note(f"{spec.name}: tokenising {len(listed):,} queries and {len(rows):,} passages")
        texts: dict[Side, Iterable[Record]] = {
            "query": (Record(example.query_id, "", example.query_text) for example in listed),
            "passage": map(examples.corpus.record, rows),
        }
        for side, stem in stems.items():
            save_table(tokenise(texts[side], tokenize[side]), stem)
    cache.processes.wait()

    def table(side: Side) -> TokenTable | VectorTable:
        own = columns if side == "query" else {}
        if side in examples.vectors:
            return VectorTable(rows_of(examples.vectors[side], ids[side], rows), ids[side], own)
        found = open_table(stems[side])
        assert found is not None, "the first process has written it"
        return replace(found, text_ids=ids[side], columns=own)

    return TrainingSet(
        name=spec.name,
        positives=Ragged.of([at[name] for name in of.positive_document_ids if name in at] for of in listed),
        negatives=Ragged.of([at[name] for name in of.negative_document_ids if name in at] for of in listed),
        queries=table("query"),
        passages=table("passage"),
        weight=spec.weight,
        close=Ragged.of([at[name] for name in of.close or ()] for of in listed) if spec.reads else None,
        teacher=_teacher(examples) if examples.taught else None,
        lines=several_lines(ids["query"]),
    )


def several_lines(query_ids: Sequence[str]) -> dict[str, list[int]]:
    """Return the rows of each id that stands several times."""
    rows: dict[str, list[int]] = {}
    for row, name in enumerate(query_ids):
        rows.setdefault(name, []).append(row)
    return {name: of for name, of in rows.items() if len(of) > 1}


def _teacher(examples: ExampleSet) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the teacher's scores of all positives and of all negatives, in the order of the examples."""
    positives = [score for example in examples.examples for score in example.positive_scores or ()]
    negatives = [score for example in examples.examples for score in example.negative_scores or ()]
    return np.asarray(positives, dtype=np.float32), np.asarray(negatives, dtype=np.float32)
