from __future__ import annotations

import json

from dretrieve.store.embeddings import Embeddings


def test_encode_as_typed(cli_here, tiny_model, tiny_collection, tmp_path):
    words = ["encode", "--model", tiny_model, "--corpus", tiny_collection, "--device", "cpu"]
    first = cli_here(*words, "--output", tmp_path / "emb", "--json")
    assert json.loads(first.out)["rows"] == 30
    assert "settings from" in first.err
    again = cli_here(*words, "--output", tmp_path / "emb")
    assert again.out.startswith("up to date: 30 passages")


def test_other_tools_spellings(cli_here, tiny_model, tiny_collection, tmp_path):
    words = f"--model_name_or_path {tiny_model} --topics {tiny_collection}:dev -o {tmp_path}/q -q"
    cli_here("encode", *words.split())
    assert Embeddings.open(tmp_path / "q").rows == 6
    failed = cli_here(
        "encode", "--model", tiny_model, "--corpus", "x", "-o", "y", "--pooling", "mean", code=2
    )
    assert "card" in failed.err


def test_shards_by_hand(cli_here, tiny_model, tiny_collection, tmp_path):
    words = ["encode", "--model", tiny_model, "--corpus", tiny_collection, "-o", tmp_path / "emb", "-q"]
    assert "the other shards (1 of 2" in cli_here(*words, "--shard", "0/2").out
    cli_here(*words, "--shard", "1/2")
    assert Embeddings.open(tmp_path / "emb").rows == 30
