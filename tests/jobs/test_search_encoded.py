"""Queries encoded on the spot give the run of queries encoded before; other models are refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dretrieve.errors import UsageError, VerificationError
from dretrieve.jobs import encode, merge, search
from dretrieve.models.cards import read_card
from dretrieve.store.manifest import manifest_path, read_manifest
from tests.common import flip


@pytest.fixture
def encoded(tiny_collection: Path, tiny_model: Path, tmp_path: Path) -> Path:
    common = {"model": str(tiny_model), "precision": "fp32"}
    encode.run(encode.EncodeConfig(corpus=str(tiny_collection), output=tmp_path / "emb", **common))
    encode.run(encode.EncodeConfig(queries=f"{tiny_collection}:test", output=tmp_path / "queries", **common))
    return tmp_path


def config(work: Path, output: str, **changes) -> search.SearchConfig:
    settings = {"index": work / "emb", "hits": 10, "precision": "fp32", **changes}
    return search.SearchConfig(output=work / output, **settings)


def test_same_run_either_way(encoded: Path, tiny_collection: Path, tiny_model: Path) -> None:
    before = search.run(config(encoded, "before.trec", query_embeddings=encoded / "queries", show=1))
    spec = {"queries": f"{tiny_collection}:test", "model": str(tiny_model)}
    now = search.run(config(encoded, "now.trec", **spec, show=1))
    assert (encoded / "before.trec").read_bytes() == (encoded / "now.trec").read_bytes()
    assert before.examples == now.examples
    assert before.examples[0].text == "pollen queen"
    assert search.run(config(encoded, "now.trec", **spec)).state == "up to date"
    query_side = read_card(tiny_model)[0].fingerprint("query")
    manifests = [read_manifest(manifest_path(encoded / f"{name}.trec")) for name in ("before", "now")]
    assert [manifest.inputs["query_model"] for manifest in manifests] == [query_side, query_side]


def test_parts_and_their_merger_name_the_query_model_too(encoded: Path) -> None:
    parts = [encoded / f"part-{number}.trec" for number in range(2)]
    for number, part in enumerate(parts):
        search.run(config(encoded, part.name, query_embeddings=encoded / "queries", shard=(number, 2)))
    merge.run(merge.MergeConfig(partials=parts, output=encoded / "merged.trec"))
    search.run(config(encoded, "whole.trec", query_embeddings=encoded / "queries"))
    merged, whole = (read_manifest(manifest_path(encoded / f"{name}.trec")) for name in ("merged", "whole"))
    assert merged.inputs == whole.inputs
    assert merged.fingerprint == whole.fingerprint


def test_another_model_is_refused_before_anything_is_encoded(
    encoded: Path, tiny_collection: Path, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = encoded / "other-model"
    shutil.copytree(tiny_model, other)
    weights = next(other.glob("*.safetensors"))
    flip(weights, -1, dated=True)
    monkeypatch.setattr("dretrieve.models.loading.load_model", lambda *rest: pytest.fail("encoded"))
    with pytest.raises(VerificationError, match="encode both with the same model"):
        search.run(config(encoded, "run.trec", queries=f"{tiny_collection}:test", model=str(other)))


def test_unknown_choice_and_split(encoded: Path, tiny_collection: Path, tiny_model: Path) -> None:
    spec = {"queries": f"{tiny_collection}:test", "model": str(tiny_model)}
    with pytest.raises(UsageError, match="--set colour"):
        search.run(config(encoded, "run.trec", **spec, settings={"colour": "red"}))
    with pytest.raises(UsageError, match="nothere"):
        search.run(config(encoded, "run.trec", **{**spec, "queries": f"{tiny_collection}:nothere"}))
