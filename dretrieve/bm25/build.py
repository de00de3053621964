"""Building the embedded BM25 index: texts to postings, in bounded memory.

One pass cuts passages into words and counts them; the counts go to a scratch file beside the output. A
second one places them under their terms, as many terms at a time as fit `_POSTINGS_AT_ONCE`. What grows with
the collection in memory is the table of words met so far and twelve bytes a passage; hence `LARGEST`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from dretrieve.bm25.analysis import MAX_TOKEN_LENGTH, normalize, plain_words, words
from dretrieve.bm25.postings import Postings, count_terms, invert, mark_pairs
from dretrieve.bm25.scores import length_bytes, pair_factors
from dretrieve.errors import PreconditionError
from dretrieve.store.atomic import scratch_file
from dretrieve.store.interrupt import Signals
from dretrieve.store.manifest import Manifest
from dretrieve.store.npy import npy_header, write_array, write_values
from dretrieve.store.stage import Stage
from dretrieve.store.text_store import TextStore
from dretrieve.types import Progress, offsets_of

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


def check_size(texts: TextStore) -> None:
    """Refuse more than `LARGEST` passages.

    Raises:
        PreconditionError: there are more.
    """
    if len(texts) > LARGEST:
        raise PreconditionError(
            f"the embedded BM25 index takes up to {LARGEST:,} passages and this collection has "
            f"{len(texts):,}; add --backend lucene"
        )


def fill(stage: Stage, texts: TextStore, progress: Progress, signals: Signals) -> Manifest:
    """Write the index's files; return its manifest.

    Raises:
        Interrupted: a signal came; nothing is kept.
    """
    with scratch_file(stage.output) as terms, scratch_file(stage.output) as frequencies:
        progress.start("index", len(texts), "passages")
        postings, lengths, vocabulary = _counted(texts, terms, frequencies, progress, signals)
        progress.finish()
        counts = _written(stage, texts, postings, lengths, vocabulary)
    return stage.commit(counts)


def _counted(
    texts: TextStore, terms: IO[bytes], frequencies: IO[bytes], progress: Progress, signals: Signals
) -> tuple[Postings, NDArray[np.int64], dict[str, int]]:
    """Cut all passages into words and count them; the empty files get term and frequency of each posting.

    Returns:
        The postings by passage, mapped; words per passage; the number of each term.
    """
    vocabulary = _Vocabulary()
    counts, lengths = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
    last_seen = np.full(1 << 16, -1, dtype=np.int64)
    for start in range(0, len(texts), _CHUNK):
        records = texts.records(start, min(start + _CHUNK, len(texts)))
        numbers, word_offsets = _numbers([f"{record.title}\n{record.text}" for record in records], vocabulary)
        if len(vocabulary.terms) > len(last_seen):
            last_seen = np.full(2 * len(vocabulary.terms), -1, dtype=np.int64)
        found, times, offsets, words_of = count_terms(numbers, word_offsets, last_seen)
        write_values(terms, found)
        write_values(frequencies, times)
        counts.append(np.diff(offsets))
        lengths.append(words_of)
        progress.advance(len(records))
        signals.check()
    joined = np.concatenate(lengths)
    bounds = offsets_of(np.concatenate(counts))
    postings = Postings(_mapped(terms), _mapped(frequencies), bounds, length_bytes(joined))
    return postings, joined, vocabulary.terms


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


def _written(
    stage: Stage, texts: TextStore, postings: Postings, lengths: NDArray[np.int64], vocabulary: dict[str, int]
) -> dict[str, int]:
    """Write all files of the index; return the counts of its manifest."""
    filled, total, size = int(np.count_nonzero(lengths)), int(lengths.sum()), len(postings.terms)
    names = sorted(vocabulary)
    # a term's row in the index is its place in the order of the names; its number is when it was met
    row_of = np.empty(len(names), dtype=np.int32)
    row_of[[vocabulary[name] for name in names]] = np.arange(len(names), dtype=np.int32)
    model = total / filled if filled else 1.0, stage.options["k1"], stage.options["b"]
    pair_frequencies, pair_norms, pair_of = _pairs(postings, *model)
    pair_type = "uint16" if len(pair_frequencies) <= 1 << 16 else "uint32"
    passages_with = np.zeros(len(names), dtype=np.int64)
    for part in _blocks(size):
        passages_with += np.bincount(row_of[postings.terms[part]], minlength=len(names))
    offsets = offsets_of(passages_with)
    with stage.write("passages.npy") as passages, stage.write("pairs.npy") as pairs:
        passages.write(npy_header("int32", (size,)))
        pairs.write(npy_header(pair_type, (size,)))
        for of_passages, of_pairs in _inverted(postings, pair_of, row_of, offsets, pair_type):
            passages.write(of_passages.tobytes())
            pairs.write(of_pairs.tobytes())
    columns: dict[str, NDArray[Any]] = {
        "offsets": offsets,
        "pair_frequencies": pair_frequencies,
        "pair_norms": pair_norms,
        "id_ranks": texts.id_ranks().astype(np.int32),
    }
    for name, column in columns.items():
        with stage.write(f"{name}.npy") as file:
            write_array(file, column)
    with stage.write("terms.txt") as file:
        file.writelines(f"{name}\n".encode() for name in names)
    with stage.write("ids.txt") as file:
        for part in _blocks(len(texts), 1 << 16):
            file.writelines(f"{text_id}\n".encode() for text_id in texts.ids(part.start, part.stop))
    counts = {"passages": len(texts), "filled": filled, "total_terms": total}
    return counts | {"terms": len(names), "postings": size}


def _mapped(file: IO[bytes]) -> NDArray[np.int32]:
    file.flush()
    if file.seek(0, 2) == 0:
        return np.empty(0, dtype=np.int32)
    return np.memmap(file, dtype=np.int32, mode="r")


def _blocks(size: int, step: int = 1 << 24) -> Iterator[slice]:
    for start in range(0, size, step):
        yield slice(start, min(start + step, size))


def _pairs(
    postings: Postings, average_length: float, k1: float, b: float
) -> tuple[NDArray[np.int32], NDArray[np.uint8], NDArray[np.int32]]:
    """Return frequency and length byte of each pair that occurs, and the pair of (byte, frequency).

    Pairs are numbered by their factor, the smallest first.
    """
    frequencies = postings.frequencies
    largest = max((int(frequencies[part].max()) for part in _blocks(len(frequencies))), default=0)
    seen = np.zeros((256, largest + 1), dtype=np.bool_)
    mark_pairs(postings, seen)
    places = np.nonzero(seen)
    norms, found = places[0].astype(np.uint8), places[1].astype(np.int32)
    order = np.argsort(pair_factors(found, norms, average_length, k1, b), kind="stable")
    pair_of = np.full(seen.shape, -1, dtype=np.int32)
    pair_of[norms[order], found[order]] = np.arange(len(order), dtype=np.int32)
    return found[order], norms[order], pair_of


def _inverted(
    postings: Postings,
    pair_of: NDArray[np.int32],
    row_of: NDArray[np.int32],
    offsets: NDArray[np.int64],
    pair_type: str,
) -> Iterator[tuple[NDArray[np.int32], NDArray[Any]]]:
    """Yield passages and pairs of all postings by term, in pieces that fit memory.

    Each piece holds the terms ``low`` to ``high``; for it all postings by passage are read once, and as they
    come in the order of passages, each is put behind the last one of its term.
    """
    low = 0
    while low < len(row_of):
        limit = int(np.searchsorted(offsets, offsets[low] + _POSTINGS_AT_ONCE, side="right")) - 1
        high = max(limit, low + 1)
        size = int(offsets[high] - offsets[low])
        passages, pairs = np.empty(size, dtype=np.int32), np.empty(size, dtype=pair_type)
        free = offsets[low:high] - offsets[low]
        for part in _blocks(len(postings.norms), 1 << 18):
            block = postings.of_passages(part)
            invert(block, part.start, pair_of, row_of, low, free, passages, pairs)
        yield passages, pairs
        low = high
