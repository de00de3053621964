"""inspect: every artefact and every form is named, counted, and traced to what made it."""

from __future__ import annotations

import pickle
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from dretrieve.errors import DataError, Interrupted, PreconditionError
from dretrieve.jobs.inspect import InspectConfig, InspectResult, run
from dretrieve.jobs.prepare import PrepareConfig
from dretrieve.jobs.prepare import run as prepare
from dretrieve.store.card import ModelCard, SideCard
from dretrieve.store.embeddings import EmbeddingPlan
from dretrieve.store.shard_writer import ShardWriter
from dretrieve.store.shards import shard_rows
from dretrieve.store.stage import Stage
from dretrieve.store.state import recorded_state
from dretrieve.types import Vectors, VectorSpec
from tests.common import Counted, lines


def look(path: object, **options: bool) -> InspectResult:
    """Inspect a path."""
    return run(InspectConfig(path=str(path), **options))


def text(path: Path, content: str) -> Path:
    """Write a file."""
    path.write_text(content, encoding="utf-8")
    return path


def test_a_collection(tiny_collection: Path) -> None:
    with open(tiny_collection / "qrels" / "test.tsv", "a", encoding="utf-8") as file:
        file.write("q-bees-2\tbees-99\t0\n")
    found = look(f"{tiny_collection}:test")
    assert found.kind == "collection (BEIR folder)"
    assert (found.facts["passages"], found.facts["queries"], found.facts["splits"]) == (
        30,
        18,
        "dev, test, train",
    )
    assert found.facts["qrels test"] == (
        "6 queries, 7 judgements, grades 0: 1, 1: 6, 1 judged passages are not in the corpus"
    )
    assert found.origin == {}


def test_the_passages_of_a_file_are_told_to_the_last(tmp_path: Path) -> None:
    heard = Counted()
    file = lines(tmp_path / "corpus.jsonl", *({"_id": f"d{row}", "text": "x"} for row in range(3)))
    run(InspectConfig(path=str(file)), heard)
    assert heard.units == {"reading corpus.jsonl": 3}


def test_a_prepared_collection_says_what_it_was_made_from(tiny_collection: Path, tmp_path: Path) -> None:
    prepare(PrepareConfig(source=str(tiny_collection), output=tmp_path / "made"))
    found = look(tmp_path / "made")
    assert found.kind == "collection (BEIR folder)"
    assert found.origin["stage"] == "prepare (version 4)"
    assert found.origin["option form"] == "beir"
    assert len(found.origin["input source"]) == 64
    assert found.exit_code == 0
    assert "made by" in found.render()


def test_the_command_that_made_it_can_be_pasted(
    tiny_collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ["prepare", "with a blank", "x" * 300, "\x1b[31m"]
    monkeypatch.setattr("sys.argv", ["dretrieve", *words])
    prepare(PrepareConfig(source=str(tiny_collection), output=tmp_path / "made"))
    (line,) = [one for one in look(tmp_path / "made").render().splitlines() if one.startswith("  command")]
    assert shlex.split(line)[1:] == ["dretrieve", *words]


def test_changed_bytes_are_a_problem(tiny_collection: Path, tmp_path: Path) -> None:
    prepare(PrepareConfig(source=str(tiny_collection), output=tmp_path / "made"))
    queries = tmp_path / "made" / "queries.jsonl"
    queries.write_text(queries.read_text(encoding="utf-8").replace("nectar", "nectir"), encoding="utf-8")
    found = look(tmp_path / "made")
    assert found.exit_code == 5
    assert "does not have the checksum" in found.problems[0]
    assert found.facts["queries"] == 18


def test_a_broken_file_is_named_with_its_problem(tmp_path: Path) -> None:
    found = look(text(tmp_path / "corpus.jsonl", '{"_id": "1", "title": "", "text": "x"}\n{"_id": "1"\n'))
    assert found.exit_code == 4
    assert "corpus.jsonl, line 2: not valid JSON" in found.problems[0]


def test_what_is_unknown_or_missing(tmp_path: Path) -> None:
    with pytest.raises(PreconditionError, match="does not exist"):
        look(tmp_path / "nothing")
    found = look(text(tmp_path / "letter.txt", "Dear reader\n"))
    assert (found.exit_code, "none of the known forms" in found.problems[0]) == (4, True)


def embed(folder: Path, shards: int, made: int) -> Path:
    """Write ``made`` of ``shards`` shards of 3,000 vectors."""
    plan = EmbeddingPlan(
        side="passage",
        vectors=VectorSpec(4, "one", "dot"),
        dtype="float16",
        options={"precision": "fp32"},
        inputs={"collection": "c" * 64, "passage_model": "p" * 64},
        extra={"model": "tiny"},
    )
    for index in range(made):
        shard = shard_rows(3000, index, shards)
        writer = ShardWriter(folder, shard, plan)
        for start, stop in shard.chunks():
            writer.write(
                [f"d{row}" for row in range(start, stop)], Vectors(np.ones((stop - start, 4), np.float32))
            )
        writer.commit({"tokens": 1})
    return folder


def test_embeddings(tmp_path: Path) -> None:
    found = look(embed(tmp_path / "whole", 2, 2))
    assert found.kind == "embeddings"
    assert (found.facts["rows"], found.facts["shards"], found.facts["side"]) == (3000, 2, "passage")
    assert found.facts["vectors"] == "one of 4 numbers, float16, score dot"
    assert (found.facts["collection"], found.facts["model"]) == ("c" * 64, "tiny")
    assert "token vectors" not in found.facts
    part = look(embed(tmp_path / "part", 3, 2))
    assert part.kind == "embeddings, not complete"
    assert "lacks 1 of 3 shards; run --shard 2/3" in part.problems[0]
    assert part.exit_code == 3


def test_token_embeddings_say_how_many_vectors_they_hold(write_embeddings) -> None:
    tokens = Vectors(np.ones((5, 2)), np.array([0, 1, 1, 5]))
    found = look(write_embeddings("emb", ["a", "b", "c"], tokens, score="maxsim_sum", shards=2))
    assert (found.facts["rows"], found.facts["token vectors"]) == (3, 5)


@pytest.mark.parametrize(("method", "spelled"), [("shared", "shared"), ("sb_moe", "sb-moe")])
def test_a_model(tmp_path: Path, method: str, spelled: str) -> None:
    side = SideCard(template="{title} {text}", max_tokens=64, pooling="mean", normalize=True)
    card = ModelCard(method=method, vectors=VectorSpec(4, "one", "dot"), query=side, passage=side)
    card.save(tmp_path)
    assert "lists no files of its query side" in look(tmp_path).problems[0]
    Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]")).save(str(tmp_path / "tokenizer.json"))
    side = side.with_hashes(tmp_path, ("tokenizer.json",))
    card = replace(card, query=side, passage=side)
    card.save(tmp_path)
    found = look(tmp_path)
    assert (found.kind, found.facts["method"], found.problems) == ("model", spelled, ())
    assert found.facts["query side"] == "'{title} {text}', 64 tokens, pooling mean, length 1, padding right"
    assert found.facts["passage fingerprint"] == card.fingerprint("passage")


def test_a_plain_model_folder(tiny_model: Path) -> None:
    found = look(tiny_model)
    assert found.kind == "model (plain folder, used as it is)"
    assert found.facts["vectors"].startswith("one of 32 numbers")
    weights = look(tiny_model / "model.safetensors")
    assert weights.kind == "weights (safetensors)"
    assert weights.facts["types"] == "F32"


def test_other_artefacts_show_their_manifest(tmp_path: Path) -> None:
    stage = Stage(tmp_path / "index", "folder", "index-flat", 1, {"a": 1}, {"embeddings": "e" * 64})
    with stage.write("data.bin") as file:
        file.write(b"12345")
    stage.commit(counts={"rows": 7})
    found = look(tmp_path / "index")
    assert found.kind == "index: flat"
    assert (found.facts["rows"], found.facts["bytes"]) == (7, 5)
    assert found.origin["input embeddings"] == "e" * 64


def test_an_unfinished_output_says_how_to_go_on(tmp_path: Path) -> None:
    bad = text(tmp_path / "c.jsonl", '{"_id": "1", "title": "", "text": "x"}\n{')
    with pytest.raises(DataError):
        prepare(PrepareConfig(source=str(bad), output=tmp_path / "out"))
    found = look(tmp_path / "out")
    assert found.kind == "unfinished output of prepare"
    assert found.facts["exit_code"] == 4
    assert "line 2" in found.facts["message"]


def test_binary_files_of_other_tools(tmp_path: Path) -> None:
    np.save(tmp_path / "doc.npy", np.zeros((3, 4), np.float32))
    assert look(tmp_path / "doc.npy").facts == {"shape": [3, 4], "dtype": "float32"}
    np.save(tmp_path / "objects.npy", np.array([{}, 1], dtype=object))
    assert "never opened" in look(tmp_path / "objects.npy").problems[0]
    (tmp_path / "corpus.pkl").write_bytes(pickle.dumps((np.zeros(2), ["a"])))
    assert look(tmp_path / "corpus.pkl").kind == "Python pickle (not opened: a pickle can run any program)"


def test_embeddings_of_which_no_shard_is_finished(tmp_path: Path) -> None:
    folder = tmp_path / "emb"
    (folder / ".shard-00000-of-00002.partial").mkdir(parents=True)
    text(folder / ".shard-00000-of-00002.partial" / "journal.jsonl", '{"chunk": 0}\n')
    manifest = folder / "shard-00000-of-00002.manifest.json"
    with pytest.raises(Interrupted), recorded_state(manifest, "encode", "f"):
        raise Interrupted("stopped by SIGTERM")
    found = look(folder)
    assert found.kind == "unfinished output of encode"
    assert (found.facts["state"], found.facts["exit_code"]) == ("interrupted", 75)
    assert not found.problems


@pytest.mark.parametrize(
    ("content", "kind", "facts"),
    [
        (
            "q1 Q0 d1 1 2.5 mine\nq1 Q0 d2 2 1.5 mine\n",
            "run",
            {"hits": 2, "tag": "mine", "scores": "1.5 to 2.5"},
        ),
        ("q1\td1\t2.5\nq1\td2\t1\n", "run", {"hits": 2}),
        ('{"q1": {"d1": 0.5, "d2": 1}}', "run", {"queries": 1, "hits": 2}),
        ('[{"question": "q", "answers": [], "ctxs": [{"id": "d", "score": "1"}]}]', "run", {"hits": 1}),
        (
            "q1 0 d1 2\nq1 0 d2 0\nq2 0 d1 0\n",
            "qrels",
            {"grades": "0: 2, 2: 1", "queries without a relevant passage": 1},
        ),
        (
            '{"_id": "q", "text": "x", "answers": ["a"], "split": "dev"}\n',
            "queries",
            {"with answers": 1, "by field split": "dev 1"},
        ),
        ('{"docid": "1", "text": ""}\n', "corpus", {"passages": 1, "empty": 1, "first ids": "1"}),
        ('{"query": "q", "pos": ["a"], "neg": ["b", "c"]}\n', "training rows with texts", {"negatives": 2}),
        (
            '{"query_id": "q", "query_text": "", "positive_document_ids": ["d"]}\n',
            "training examples by id",
            {"queries": 1, "positives": 1},
        ),
        ("[1, 2, 3]\n", "training triples of ids", {"rows": 1, "passages": 2}),
    ],
)
def test_text_files(tmp_path: Path, content: str, kind: str, facts: dict) -> None:
    found = look(text(tmp_path / "file", content))
    assert found.kind == kind
    assert {name: found.facts[name] for name in facts} == facts
