"""Vectors, models, indexes and runs with what they were made from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from dretrieve.jobs.validate import ValidateConfig, ValidateResult, run
from dretrieve.store.card import ModelCard, SideCard
from dretrieve.store.embeddings import EmbeddingPlan, Embeddings
from dretrieve.store.fingerprint import sha256_bytes
from dretrieve.store.shard_writer import ShardWriter
from dretrieve.store.shards import shard_rows
from dretrieve.store.stage import Stage
from dretrieve.text.collection import Collection
from dretrieve.types import Side, VectorSpec

TOPICS = ("bees", "tides", "bread", "chess", "volcano", "printing")
RIGHT = [(f"q-{topic}-2", f"{topic}-2") for topic in TOPICS]
TOKENIZER = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]")).to_str()
FILES = {"tokenizer.json": sha256_bytes(TOKENIZER.encode())}
SIDE = SideCard(template="{title} {text}", max_tokens=64, files=FILES)
CARD = ModelCard(method="shared", vectors=VectorSpec(4, "one", "dot"), query=SIDE, passage=SIDE)
OTHER = ModelCard(
    method="shared",
    vectors=VectorSpec(4, "one", "dot"),
    query=SIDE,
    passage=replace(SIDE, template="{text}"),
)


def save(card: ModelCard, folder: Path) -> None:
    """Write a model whose only file is its tokenizer."""
    (folder / "tokenizer.json").write_text(TOKENIZER)
    card.save(folder)


def check(*paths: object, full: bool = False) -> ValidateResult:
    """Validate paths."""
    return run(ValidateConfig(paths=tuple(map(str, paths)), full=full))


def problems(result: ValidateResult) -> list[str]:
    """Return the texts of the problems."""
    return [finding.text for finding in result.findings if finding.state == "problem"]


def texts(result: ValidateResult, state: str) -> str:
    """Return all texts of that state."""
    return "\n".join(finding.text for finding in result.findings if finding.state == state)


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


def test_vectors_model_and_collection_that_fit(tiny_collection: Path, tmp_path: Path) -> None:
    collection = Collection(tiny_collection)
    passages = embed(tmp_path / "passages", "passage", collection.sha256, 30)
    queries = embed(tmp_path / "queries", "query", collection.queries("test").sha256, 6)
    save(CARD, tmp_path)
    found = check(tiny_collection, passages, queries, tmp_path)
    assert found.exit_code == 0
    said = texts(found, "ok")
    assert said.count("was encoded by") == 2
    assert "queries and passages were encoded by one model" in said
    assert f"encodes the passages of {tiny_collection}" in said
    assert f"encodes the querys of {tiny_collection}" not in said
    assert f"encodes the queries of {tiny_collection}" in said


def test_vectors_of_another_collection_or_model(tiny_collection: Path, tmp_path: Path) -> None:
    passages = embed(tmp_path / "passages", "passage", "0" * 64, 30)
    save(OTHER, tmp_path)
    found = check(tiny_collection, passages, tmp_path)
    assert found.exit_code == 5
    assert "was not encoded from" in problems(found)[0]
    assert "was encoded by another model than" in problems(found)[1]


def test_queries_and_passages_of_different_models(tmp_path: Path) -> None:
    passages = embed(tmp_path / "passages", "passage", "0" * 64, 30)
    queries = embed(tmp_path / "queries", "query", "1" * 64, 6, OTHER)
    assert "queries and passages were encoded by different models" in problems(check(passages, queries))[0]
    wide = embed(tmp_path / "wide", "query", "1" * 64, 6, dim=8)
    assert "vectors differ" in problems(check(passages, wide))[0]


def test_a_run_searched_elsewhere(tiny_collection: Path, tmp_path: Path) -> None:
    passages = embed(tmp_path / "passages", "passage", Collection(tiny_collection).sha256, 30)
    for name, fingerprint in (("mine", Embeddings.open(passages).fingerprint), ("other", "f" * 64)):
        stage = Stage(tmp_path / name, "file", "search", 1, {}, {"passages": fingerprint, "queries": "q"})
        with stage.write(text=True) as file:
            file.write("".join(f"{query} Q0 {passage} 1 1 t\n" for query, passage in RIGHT))
        stage.commit()
    assert "was searched with" in texts(check(f"{tiny_collection}:test", passages, tmp_path / "mine"), "ok")
    found = check(f"{tiny_collection}:test", passages, tmp_path / "other")
    assert (found.exit_code, "was not searched in" in problems(found)[0]) == (5, True)


def test_an_index_over_words(tiny_collection: Path, tmp_path: Path) -> None:
    queries = Collection(tiny_collection).queries("test").sha256
    for name, sha256 in (("mine.trec", queries), ("other.trec", "f" * 64)):
        run_stage = Stage(tmp_path / name, "file", "search", 1, {}, {"index": "i", "queries": sha256})
        with run_stage.write(text=True) as lines:
            lines.write("q-bees-2 Q0 bees-2 1 1 t\n")
        run_stage.commit()
    assert "was searched with the queries of" in texts(
        check(f"{tiny_collection}:test", tmp_path / "mine.trec"), "ok"
    )
    strange = check(f"{tiny_collection}:test", tmp_path / "other.trec")
    assert (strange.exit_code, "was not searched with queries of" in problems(strange)[0]) == (5, True)
    for name, sha256 in (("mine", Collection(tiny_collection).sha256), ("other", "f" * 64)):
        stage = Stage(tmp_path / name, "folder", "index-bm25", 1, {}, {"corpus": sha256})
        with stage.write("data") as file:
            file.write(b"x")
        stage.commit(counts={"passages": 30})
    assert f"was built over {tiny_collection}" in texts(check(tiny_collection, tmp_path / "mine"), "ok")
    found = check(tiny_collection, tmp_path / "other")
    assert (found.exit_code, "was not built over" in problems(found)[0]) == (5, True)
