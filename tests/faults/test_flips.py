"""A flipped bit in any file of any artefact, at the same size and time: `validate --verify full` finds it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dretrieve.errors import PreconditionError, SpokenWarning, VerificationError
from dretrieve.jobs import encode, index, inspect, mine_negatives, prepare, search, train, validate
from dretrieve.models.shared_config import SharedConfig
from dretrieve.store.embeddings import EmbeddingPlan
from dretrieve.store.shard_writer import ShardWriter
from dretrieve.store.shards import shard_rows
from dretrieve.store.text_store import TextStore
from dretrieve.text.collection import Collection
from dretrieve.training.options import TrainOptions
from dretrieve.types import Vectors, VectorSpec
from tests.common import flip

# Who, where, when: hashed by nobody, and no result depends on it.
RECORDS = ("provenance.json",)
TEXTS = [f"passage {number} about harbour lights, mills and ferns" for number in range(12)]


def problems(*words: object, full: bool = True) -> list[str]:
    """Return what validate finds wrong."""
    found = validate.run(validate.ValidateConfig(paths=tuple(map(str, words)), verify=full))
    return [finding.text for finding in found.findings if finding.state == "problem"]


def missed(artefact: Path, *words: object) -> list[str]:
    """Return the files of the artefact whose flipped bit `validate --verify full` does not find."""
    assert problems(*words) == []
    beside = artefact.parent.glob(artefact.name + ".*")
    files = [artefact, *beside] if artefact.is_file() else sorted(artefact.rglob("*"))
    found = []
    for file in files:
        if file.is_file() and file.stat().st_size and not file.name.endswith(RECORDS):
            content, status = file.read_bytes(), file.stat()
            flip(file)
            if not problems(*words):
                found.append(str(file.relative_to(artefact.parent)))
            file.write_bytes(content)
            os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))
    return found


def write_tokens(folder: Path) -> None:
    """Write embeddings with a vector per token."""
    plan = EmbeddingPlan(
        side="passage",
        vectors=VectorSpec(4, "many", "maxsim_sum"),
        dtype="float16",
        options={},
        inputs={"collection": "c", "passage_model": "m"},
    )
    writer = ShardWriter(folder, shard_rows(12, 0, 1), plan)
    values = np.random.default_rng(0).standard_normal((4200, 4))  # of so many an index has codes
    vectors = Vectors(values, np.arange(13) * 350, tokens=np.arange(4200))
    writer.write([f"d{row}" for row in range(12)], vectors)
    writer.commit({})


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory, tiny_model: Path) -> Path:
    """A folder with one artefact of each kind, beside the files that they were made from."""
    folder = tmp_path_factory.mktemp("work")
    source, data = folder / "source", folder / "collection"
    (source / "qrels").mkdir(parents=True)
    rows = [{"_id": f"d{number}", "title": "", "text": text} for number, text in enumerate(TEXTS)]
    (source / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    rows = [{"_id": f"q{number}", "text": text[:30]} for number, text in enumerate(TEXTS)]
    (source / "queries.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    judged = "".join(f"q{number}\td{number}\t1\n" for number in range(12))
    (source / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    prepare.run(prepare.PrepareConfig(source=str(source), output=data))
    shutil.copytree(tiny_model, folder / "plain")
    model = str(folder / "plain")
    encode.run(encode.EncodeConfig(model=model, corpus=str(data), output=folder / "vectors"))
    index.run(index.IndexConfig(type="flat", embeddings=folder / "vectors", output=folder / "flat"))
    write_tokens(folder / "tokens")
    index.run(index.IndexConfig(type="token", embeddings=folder / "tokens", output=folder / "token"))
    index.run(index.IndexConfig(type="bm25", corpus=str(data), output=folder / "bm25"))
    run = folder / "run.trec"
    search.run(search.SearchConfig(index=folder / "bm25", queries=f"{data}:test", output=run, hits=10))
    mine_negatives.run(
        mine_negatives.MineNegativesConfig(data=f"{data}:test", run=run, output=folder / "examples.jsonl")
    )
    train.run(
        train.TrainConfig(
            method="shared",
            method_config=SharedConfig(),
            backbone=model,
            data=(f"{data}:test",),
            output=folder / "trained",
            options=TrainOptions(max_steps=1, per_device_train_batch_size=2, train_group_size=1),
        )
    )
    return folder


@pytest.mark.parametrize(
    "name", ["vectors", "flat", "tokens", "token", "bm25", "run.trec", "examples.jsonl", "trained", "plain"]
)
def test_every_file_of_an_artefact(work: Path, name: str) -> None:
    assert missed(work / name, work / name) == []


def test_every_file_of_a_prepared_collection_and_of_its_text_store(work: Path) -> None:
    assert missed(work / "collection", work / "collection") == []
    assert missed(work / "collection", f"{work / 'collection'}:test") == []


def test_every_file_of_a_collection_made_elsewhere(work: Path) -> None:
    """No manifest lists them: what they were at their first use is kept in the cache."""
    assert missed(work / "source", work / "source") == []


def test_a_changed_file_of_a_prepared_collection_is_said_and_used(work: Path, tmp_path: Path) -> None:
    data = Path(shutil.copytree(work / "collection", tmp_path / "collection"))
    for name, use in (
        ("corpus.jsonl", lambda: Collection(data).corpus()),
        ("queries.jsonl", lambda: Collection(data).queries()),
        ("qrels/test.tsv", lambda: Collection(data).qrels("test")),
    ):
        use()
        text = (data / name).read_text()
        (data / name).write_text(text.replace("d0\t1", "d0\t2").replace("lights", "nights"))
        with pytest.warns(SpokenWarning, match=f"{name} is not the file that prepare wrote"):
            use()


def test_a_damaged_text_store_is_refused_by_validate_and_made_again_by_all_others(work: Path) -> None:
    data = work / "collection"
    whole = Collection(data).corpus().records(0, 12)
    texts = data / ".dretrieve" / "corpus.jsonl.texts" / "texts.bin"
    flip(texts)
    assert "remove" in problems(data, full=False)[0]
    assert Collection(data).corpus().records(0, 12) == whole
    assert problems(data) == []


def test_a_large_text_store_is_hashed_where_all_of_it_is_read(work: Path, monkeypatch) -> None:
    """Above the size that is always hashed: an index over words, a whole encoding, --verify full."""
    monkeypatch.setattr(TextStore, "hashed", 0)
    data = work / "collection"
    store = data / ".dretrieve" / "corpus.jsonl.texts"
    whole = (store / "texts.bin").read_bytes()
    flip(store / "texts.bin")
    assert problems(data, full=False) == []
    assert len(problems(data)) == 1
    for again in (
        index.IndexConfig(type="bm25", corpus=str(data), output=work / "again"),
        encode.EncodeConfig(model=str(work / "plain"), corpus=str(data), output=work / "again-encoded"),
    ):
        (index if isinstance(again, index.IndexConfig) else encode).run(again)
        assert (store / "texts.bin").read_bytes() == whole
        flip(store / "texts.bin")
    flip(store / "texts.bin")


def test_bytes_that_are_no_text_are_one_sentence(work: Path, monkeypatch) -> None:
    monkeypatch.setattr(TextStore, "hashed", 0)
    store = Collection(work / "collection").corpus()
    path = store.folder / "texts.bin"
    whole, status = path.read_bytes(), path.stat()
    path.write_bytes(b"\xff" * len(whole))
    with pytest.raises(VerificationError, match="are no UTF-8 .* remove the folder"):
        store.records(3, 5)
    path.write_bytes(whole)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def test_a_plain_model_that_changed_does_not_continue_or_search_what_it_encoded(
    work: Path, tmp_path: Path
) -> None:
    model = Path(shutil.copytree(work / "plain", tmp_path / "model"))
    config = encode.EncodeConfig(
        model=str(model), corpus=str(work / "collection"), output=tmp_path / "vectors"
    )
    encode.run(config)
    flip(model / "model.safetensors", 0.9)
    with pytest.raises(VerificationError, match="has other bytes than at its first use"):
        encode.run(config)
    os.utime(model / "model.safetensors")
    with (
        pytest.warns(SpokenWarning, match="is not the file that was used here before"),
        pytest.raises(PreconditionError, match=r"of other options .*passage_model"),
    ):
        encode.run(config)
    with pytest.raises(VerificationError, match="model"):
        search.run(
            search.SearchConfig(
                index=tmp_path / "vectors",
                queries=f"{work / 'collection'}:test",
                model=str(model),
                output=tmp_path / "run.trec",
            )
        )


@pytest.mark.parametrize("full", [False, True])
def test_garbage_in_a_model_without_a_manifest(work: Path, tmp_path: Path, full: bool) -> None:
    """A card and nothing else vouches for these: what any tool would read there is read."""
    model = Path(shutil.copytree(work / "trained", tmp_path / "model"))
    (model / "manifest.json").unlink()
    (model / "provenance.json").unlink()
    assert problems(model, full=full) == []
    found = []
    for file in sorted(model.rglob("*")):
        if file.is_file() and file.name != "curves.json":  # of the training; no vector depends on it
            content = file.read_bytes()
            file.write_bytes(b"\x00garbage")
            if not problems(model, full=full):
                found.append(str(file.relative_to(model)))
            file.write_bytes(content)
    assert found == []


def test_inspect_finds_a_flipped_bit_of_a_text_store(work: Path) -> None:
    texts = work / "collection" / ".dretrieve" / "corpus.jsonl.texts" / "texts.bin"
    flip(texts)
    looked = inspect.run(inspect.InspectConfig(path=str(work / "collection"), verify=True))
    flip(texts)
    assert looked.exit_code == 5
    assert "texts.bin does not have the checksum" in looked.problems[0]


def test_a_changed_file_is_a_line_of_the_command_also_with_quiet(
    work: Path, tmp_path: Path, cli_here: Callable[..., Any]
) -> None:
    data = Path(shutil.copytree(work / "collection", tmp_path / "collection"))
    with open(data / "qrels" / "test.tsv", "a") as file:
        file.write("q1\td0\t1\n")
    judged = ("--qrels", f"{data}:test", "--metrics", "RR@10")
    outcome = cli_here("evaluate", "--run", work / "run.trec", *judged, "--quiet")
    assert outcome.err.startswith("dretrieve: ")
    assert outcome.err.count("qrels/test.tsv is not the file that prepare wrote") == 1
    assert outcome.err.count("\n") == 1
