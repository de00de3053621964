"""What validate opens, and what it cannot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from dretrieve.errors import UsageError
from dretrieve.jobs.validate import ValidateConfig, ValidateResult, run
from dretrieve.store.card import ModelCard, SideCard
from dretrieve.store.embeddings import EmbeddingPlan
from dretrieve.store.shard_writer import ShardWriter
from dretrieve.store.shards import shard_rows
from dretrieve.types import Side, VectorSpec

SIDE = SideCard(template="{title} {text}", max_tokens=64)
CARD = ModelCard(method="shared", vectors=VectorSpec(4, "one", "dot"), query=SIDE, passage=SIDE)


def check(*paths: object, full: bool = False) -> ValidateResult:
    """Validate paths."""
    return run(ValidateConfig(paths=tuple(map(str, paths)), full=full))


def problems(result: ValidateResult) -> list[str]:
    """Return the texts of the problems."""
    return [finding.text for finding in result.findings if finding.state == "problem"]


def test_broken_lines_and_missing_files(tiny_collection: Path, tmp_path: Path) -> None:
    with open(tiny_collection / "corpus.jsonl", "a", encoding="utf-8") as file:
        file.write('{"_id": "bees-3", "title": "", "text": ""}\n')
    found = check(tiny_collection)
    assert found.exit_code == 4
    assert "corpus.jsonl, line 31: the id 'bees-3' stands on line 4 already" in problems(found)[0]
    gone = check(tmp_path / "nothing")
    assert gone.exit_code == 3
    with pytest.raises(UsageError, match="name what belongs together"):
        check()


def embed(folder: Path, side: Side, sha256: str, rows: int, card: ModelCard = CARD, dim: int = 4) -> Path:
    """Write one shard of embeddings."""
    inputs = {"collection": sha256, "passage_model": card.fingerprint("passage")}
    if side == "query":
        inputs["query_model"] = card.fingerprint("query")
    vectors = VectorSpec(dim, "one", "dot")
    plan = EmbeddingPlan(side=side, vectors=vectors, dtype="float16", options={}, inputs=inputs)
    writer = ShardWriter(folder, shard_rows(rows, 0, 1), plan)
    writer.write([f"d{row}" for row in range(rows)], np.ones((rows, dim), np.float32))
    writer.commit({})
    return folder


def test_flipped_bytes(tmp_path: Path) -> None:
    passages = embed(tmp_path / "passages", "passage", "0" * 64, 30)
    (file,) = passages.glob("*.vectors.npy")
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    found = check(passages, full=True)
    assert found.exit_code == 5
    assert "does not have the checksum" in problems(found)[0]


def test_what_validate_does_not_take(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"query": "q", "pos": ["a"]}\n', encoding="utf-8")
    assert "holds training; validate takes collections" in problems(check(path))[0]
