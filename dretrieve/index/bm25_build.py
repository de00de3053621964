"""Building the embedded BM25 index: texts to postings, in bounded memory.

One pass cuts passages into words and counts them; the counts go to a scratch file beside the output. A
second one places them under their terms, as many terms at a time as fit `_POSTINGS_AT_ONCE`. What grows with
the collection in memory is the table of words met so far and twelve bytes a passage; hence `LARGEST`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from dretrieve.errors import PreconditionError
from dretrieve.index.bm25_formula import STAGE, Bm25Options, length_bytes, pair_factors
from dretrieve.kernels import bm25_postings as kernels
from dretrieve.order import id_ranks
from dretrieve.store.atomic import explained, make_folder, scratch_file
from dretrieve.store.interrupt import Signals
from dretrieve.store.manifest import Manifest
from dretrieve.store.npy import npy_header, write_array, write_values
from dretrieve.store.stage import Stage
from dretrieve.store.text_store import TextStore
from dretrieve.tokens.lucene_english import MAX_TOKEN_LENGTH, normalize, plain_words, words
from dretrieve.types import Progress, Silent, Texts

ANALYSIS = "lucene-english-1"
LARGEST = 50_000_000
_CHUNK = 4096
_POSTINGS_AT_ONCE = 1 << 28
_SKIPPED, _TOO_LONG = -1, -2


class _Vocabulary(dict[str, int]):
    """The term number of every word met so far; a new word is analysed once."""

    def __init__(self) -> None:
        super().__init__()
        self.terms: dict[str, int] = {}

    def __missing__(self, word: str) -> int:
        if len(word) > MAX_TOKEN_LENGTH and len(word.encode("utf-16-le")) > 2 * MAX_TOKEN_LENGTH:
            return _TOO_LONG
        term = normalize(word)
        number = self.terms.setdefault(term, len(self.terms)) if term else _SKIPPED
        self[word] = number
        return number


@dataclass(slots=True)
class _Counts:
    """What the first pass leaves: scratch files of postings by passage, and columns in memory."""

    terms: IO[bytes]
    frequencies: IO[bytes]
    postings: list[NDArray[np.int64]]
    lengths: list[NDArray[np.int64]]
    vocabulary: dict[str, int]


def stage_of(texts: Texts, output: Path, options: Bm25Options, *, force: bool = False) -> Stage:
    """Return the index's stage.

    Raises:
        PreconditionError: the collection is larger than `LARGEST`.
    """
    if len(texts) > LARGEST:
        raise PreconditionError(
            f"the embedded BM25 index takes up to {LARGEST:,} passages and this collection has "
            f"{len(texts):,}; add --backend lucene"
        )
    known = {"k1": options.k1, "b": options.b, "backend": "embedded", "analysis": ANALYSIS}
    return Stage(output, "folder", STAGE, 1, known, {"corpus": texts.sha256}, force)


def build_bm25(
    texts: Texts,
    output: Path,
    options: Bm25Options | None = None,
    *,
    force: bool = False,
    progress: Progress | None = None,
    signals: Signals | None = None,
) -> Manifest:
    """Write the BM25 index of a collection at ``output`` and return its manifest.

    Args:
        texts: the passages; title and text make one field, as in Anserini's flat indexes.
        output: the folder.
        options: k1 and b.
        force: replace an index of other options or another collection.
        progress: is told the passages done.
        signals: checked after every 4,096 passages.

    Raises:
        PreconditionError: the collection is larger than `LARGEST`, or ``output`` holds something else.
        Interrupted: a signal came; nothing is kept.
    """
    options, progress = options or Bm25Options(), progress or Silent()
    stage = stage_of(texts, output, options, force=force)
    if stage.up_to_date():
        return stage.existing()
    make_folder(output)
    with explained(output), scratch_file(output) as a, scratch_file(output) as b:
        counts = _Counts(a, b, [], [], {})
        progress.start("index", len(texts), "passages")
        _count(texts, counts, progress, signals)
        progress.finish()
        return _write(stage, texts, counts, options)


def _count(texts: Texts, counts: _Counts, progress: Progress, signals: Signals | None) -> None:
    vocabulary = _Vocabulary()
    counts.vocabulary = vocabulary.terms
    last_seen = np.full(1 << 16, -1, dtype=np.int64)
    for start in range(0, len(texts), _CHUNK):
        records = texts.records(start, min(start + _CHUNK, len(texts)))
        numbers, word_offsets = _numbers([f"{record.title}\n{record.text}" for record in records], vocabulary)
        if len(vocabulary.terms) > len(last_seen):
            last_seen = np.full(2 * len(vocabulary.terms), -1, dtype=np.int64)
        terms, frequencies, offsets, lengths = kernels.count_terms(numbers, word_offsets, last_seen)
        write_values(counts.terms, terms)
        write_values(counts.frequencies, frequencies)
        counts.postings.append(np.diff(offsets))
        counts.lengths.append(lengths)
        progress.advance(len(records))
        if signals is not None:
            signals.check()


def _numbers(texts: list[str], vocabulary: _Vocabulary) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Return the term numbers of all words of some texts, and where each text's begin."""
    numbers: list[int] = []
    offsets = [0]
    number = vocabulary.__getitem__
    for text in texts:
        before = len(numbers)
        numbers.extend(map(number, plain_words(text)))
        if _TOO_LONG in numbers[before:]:
            numbers[before:] = map(number, words(text))
        offsets.append(len(numbers))
    return np.asarray(numbers, dtype=np.int32), np.asarray(offsets, dtype=np.int64)


def _write(stage: Stage, texts: Texts, counts: _Counts, options: Bm25Options) -> Manifest:
    lengths = np.concatenate([np.zeros(0, np.int64), *counts.lengths])
    bounds = np.concatenate([np.zeros(1, np.int64), *counts.postings]).cumsum()
    filled, total = int(np.count_nonzero(lengths)), int(lengths.sum())
    average = total / filled if filled else 1.0
    norms = length_bytes(lengths)
    columns = (_mapped(counts.terms), _mapped(counts.frequencies))
    names = sorted(counts.vocabulary)
    numbers = np.fromiter((counts.vocabulary[name] for name in names), dtype=np.int64, count=len(names))
    final_terms = np.empty(len(names), dtype=np.int32)
    final_terms[numbers] = np.arange(len(names), dtype=np.int32)
    frequencies, pair_norms, codes = _pairs(columns[1], bounds, norms, (average, options))
    pair_type = "uint16" if len(frequencies) <= 1 << 16 else "uint32"
    with_term = np.zeros(len(names), dtype=np.int64)
    for part in _blocks(len(columns[0])):
        with_term += np.bincount(final_terms[columns[0][part]], minlength=len(names))
    offsets = np.concatenate([np.zeros(1, np.int64), with_term]).cumsum()
    with stage.write("passages.npy") as passages, stage.write("pairs.npy") as pairs:
        passages.write(npy_header("int32", (int(bounds[-1]),)))
        pairs.write(npy_header(pair_type, (int(bounds[-1]),)))
        for piece in _inverted(columns, (bounds, norms), codes, (final_terms, offsets), pair_type):
            passages.write(piece[0].tobytes())
            pairs.write(piece[1].tobytes())
    for name, column in {
        "offsets": offsets,
        "pair_frequencies": frequencies,
        "pair_norms": pair_norms,
        "id_ranks": _id_ranks(texts),
    }.items():
        with stage.write(f"{name}.npy") as file:
            write_array(file, column)
    with stage.write("terms.txt") as file:
        file.writelines(f"{name}\n".encode() for name in names)
    with stage.write("ids.txt") as file:
        for part in _blocks(len(texts), 1 << 16):
            file.writelines(f"{text_id}\n".encode() for text_id in texts.ids(part.start, part.stop))
    return stage.commit(
        counts={
            "passages": len(texts),
            "filled": filled,
            "total_terms": total,
            "terms": len(names),
            "postings": int(bounds[-1]),
        }
    )


def _id_ranks(texts: Texts) -> NDArray[np.int32]:
    """Return each passage's place in the order of ids; a text store knows it without the ids in memory."""
    ranks = texts.id_ranks() if isinstance(texts, TextStore) else id_ranks(texts.ids(0, len(texts)))
    return ranks.astype(np.int32)


def _mapped(file: IO[bytes]) -> NDArray[np.int32]:
    file.flush()
    if file.seek(0, 2) == 0:
        return np.empty(0, dtype=np.int32)
    return np.memmap(file, dtype=np.int32, mode="r")


def _blocks(size: int, step: int = 1 << 24) -> Iterator[slice]:
    for start in range(0, size, step):
        yield slice(start, min(start + step, size))


def _pairs(
    frequencies: NDArray[np.int32],
    bounds: NDArray[np.int64],
    norms: NDArray[np.uint8],
    model: tuple[float, Bm25Options],
) -> tuple[NDArray[np.int32], NDArray[np.uint8], NDArray[np.int32]]:
    """Return frequency and length byte of each pair that occurs, and the pair of (byte, frequency)."""
    largest = max((int(frequencies[part].max()) for part in _blocks(len(frequencies))), default=0)
    seen = np.zeros((256, largest + 1), dtype=np.bool_)
    kernels.mark_pairs(frequencies, bounds, norms, seen)
    found_norms, found = np.nonzero(seen)
    average, options = model
    factors = pair_factors(
        found.astype(np.int32), found_norms.astype(np.uint8), average, options.k1, options.b
    )
    order = np.argsort(factors, kind="stable")
    codes = np.full(seen.shape, -1, dtype=np.int32)
    codes[found_norms[order], found[order]] = np.arange(len(order), dtype=np.int32)
    return found[order].astype(np.int32), found_norms[order].astype(np.uint8), codes


def _inverted(
    columns: tuple[NDArray[np.int32], NDArray[np.int32]],
    passages: tuple[NDArray[np.int64], NDArray[np.uint8]],
    codes: NDArray[np.int32],
    terms: tuple[NDArray[np.int32], NDArray[np.int64]],
    pair_type: str,
) -> Iterator[tuple[NDArray[np.int32], NDArray[Any]]]:
    """Yield passages and pairs of all postings by term, in pieces that fit memory."""
    bounds, norms = passages
    final_terms, offsets = terms
    low = 0
    while low < len(final_terms):
        limit = int(np.searchsorted(offsets, offsets[low] + _POSTINGS_AT_ONCE, side="right")) - 1
        high = max(limit, low + 1)
        size = int(offsets[high] - offsets[low])
        rows = np.empty(size, dtype=np.int32)
        pairs = np.empty(size, dtype=pair_type)
        free = offsets[low:high] - offsets[low]
        for part in _blocks(len(norms), 1 << 18):
            own = bounds[part.start : part.stop + 1]
            postings = (columns[0][own[0] : own[-1]], columns[1][own[0] : own[-1]], own - own[0])
            kernels.invert(
                postings, part.start, norms[part], codes, final_terms, (low, high, free), (rows, pairs)
            )
        yield rows, pairs
        low = high
