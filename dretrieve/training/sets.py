"""Sets by id to sets in rows: texts tokenised once, ids replaced by rows."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dretrieve.store.fingerprint import sha256_bytes
from dretrieve.training.batches import Ragged, TrainingSet
from dretrieve.training.data import ExampleSet
from dretrieve.training.processes import Processes
from dretrieve.training.token_table import Tokenize, TokenTable, open_table, save_table, tokenise
from dretrieve.types import Progress, Record, Side


def tokenised(
    examples: ExampleSet,
    tokenize: Mapping[Side, Tokenize],
    cache: tuple[Path, str],
    processes: Processes,
    progress: Progress,
) -> TrainingSet:
    """Return the set in rows.

    Args:
        examples: by id.
        tokenize: per side, records to token ids.
        cache: folder of the token tables, and what the tokens depend on besides the texts (tokenizers,
            templates, lengths). The first process writes them, all map them.
        processes: who takes part.
        progress: hears how many texts are tokenised.
    """
    rows = examples.passage_rows()
    place = {row: position for position, row in enumerate(rows)}
    folder, tokens_key = cache
    spec = examples.spec
    key = sha256_bytes(f"{tokens_key}|{examples.fingerprint}|{spec.name}|{spec.sample}".encode())[:16]
    queries = [Record(example.query_id, "", example.query_text) for example in examples.examples]
    stems = [folder / f"{key}.{side}" for side in ("query", "passage")]
    if processes.first and any(open_table(stem) is None for stem in stems):
        progress.note(f"{spec.name}: tokenising {len(queries):,} queries and {len(rows):,} passages")
        save_table(tokenise(queries, tokenize["query"]), folder / f"{key}.query")
        save_table(
            tokenise(map(examples.corpus.record, rows), tokenize["passage"]), folder / f"{key}.passage"
        )
    processes.wait()

    def local(names: tuple[str, ...]) -> list[int]:
        found = (examples.corpus.row_of(name) for name in names)
        return [place[row] for row in found if row is not None]

    return TrainingSet(
        name=spec.name,
        query_ids=[example.query_id for example in examples.examples],
        positives=Ragged.of([local(example.positive_document_ids) for example in examples.examples]),
        negatives=Ragged.of([local(example.negative_document_ids) for example in examples.examples]),
        queries=_opened(folder / f"{key}.query"),
        passages=_opened(folder / f"{key}.passage"),
        weight=spec.weight,
        teacher=_teacher(examples) if examples.taught else None,
    )


def _teacher(examples: ExampleSet) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the teacher's scores of all positives and of all negatives, in the order of the examples."""
    positives = [score for example in examples.examples for score in example.positive_scores or ()]
    negatives = [score for example in examples.examples for score in example.negative_scores or ()]
    return np.asarray(positives, dtype=np.float32), np.asarray(negatives, dtype=np.float32)


def _opened(stem: Path) -> TokenTable:
    table = open_table(stem)
    assert table is not None, "the first process has written it"
    return table
