"""validate: what fits is said to fit, and every reason for a score of zero is found and named."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from dretrieve.errors import UsageError
from dretrieve.jobs import fuse_bm25, inspect
from dretrieve.jobs.validate import ValidateConfig, ValidateResult, explain_strangers, run
from dretrieve.store.card import ModelCard, SideCard
from dretrieve.store.embeddings import EmbeddingPlan, Embeddings
from dretrieve.store.fingerprint import sha256_bytes
from dretrieve.store.shard_writer import ShardWriter
from dretrieve.store.shards import shard_rows
from dretrieve.store.stage import Stage
from dretrieve.text.collection import Collection
from dretrieve.types import Side, Vectors, VectorSpec
from tests.common import flip, lines

TOPICS = ("bees", "tides", "bread", "chess", "volcano", "printing")
RIGHT = [(f"q-{topic}-2", f"{topic}-2") for topic in TOPICS]
TOKENIZER = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]")).to_str()
FILES = {"tokenizer.json": sha256_bytes(TOKENIZER.encode())}
SIDE = SideCard(template="{title} {text}", max_tokens=64, files=FILES)
CARD = ModelCard(method="shared", vectors=VectorSpec(4, "one", "dot"), query=SIDE, passage=SIDE)
OTHER = replace(CARD, passage=replace(SIDE, template="{text}"))


def save(card: ModelCard, folder: Path) -> None:
    """Write a model whose only file is its tokenizer."""
    (folder / "tokenizer.json").write_text(TOKENIZER)
    card.save(folder)


def check(*paths: object, full: bool = False) -> ValidateResult:
    """Validate paths."""
    return run(ValidateConfig(paths=tuple(map(str, paths)), verify=full))


def problems(result: ValidateResult) -> list[str]:
    """Return the texts of the problems."""
    return [finding.text for finding in result.findings if finding.state == "problem"]


def texts(result: ValidateResult, state: str) -> str:
    """Return all texts of that state."""
    return "\n".join(finding.text for finding in result.findings if finding.state == state)


def trec(path: Path, hits: Iterable[tuple[str, str]]) -> Path:
    """Write a run with falling scores."""
    return lines(
        path, *(f"{query} Q0 {passage} 0 {100 - row} t" for row, (query, passage) in enumerate(hits))
    )


def embed(folder: Path, side: Side, sha256: str, rows: int, card: ModelCard = CARD, dim: int = 4) -> Path:
    """Write one shard of embeddings."""
    inputs = {"collection": sha256, "passage_model": card.fingerprint("passage")}
    if side == "query":
        inputs["query_model"] = card.fingerprint("query")
    vectors = VectorSpec(dim, "one", "dot")
    plan = EmbeddingPlan(side=side, vectors=vectors, dtype="float16", options={}, inputs=inputs)
    writer = ShardWriter(folder, shard_rows(rows, 0, 1), plan)
    writer.write([f"d{row}" for row in range(rows)], Vectors(np.ones((rows, dim), np.float32)))
    writer.commit({})
    return folder


def test_a_run_that_fits(tiny_collection: Path, tmp_path: Path) -> None:
    found = check(f"{tiny_collection}:test", trec(tmp_path / "run", RIGHT))
    assert found.exit_code == 0
    assert "6 of 6 relevant passages of 6 queries are among the hits" in texts(found, "ok")
    assert "all 6 passages of the run are in the corpus" in texts(found, "ok")
    assert found.render().endswith("everything fits")


def test_a_run_of_another_split(tiny_collection: Path, tmp_path: Path) -> None:
    made = trec(tmp_path / "run", [(f"q-{topic}-1", f"{topic}-1") for topic in TOPICS])
    found = check(f"{tiny_collection}:test", made)
    assert found.exit_code == 4
    assert problems(found) == [
        f"no query of the run is judged there: it is a run of {tiny_collection}:dev; evaluate it with that"
    ]
    whole = check(tiny_collection, made)
    assert whole.exit_code == 0
    assert "6 of 6 relevant passages" in texts(whole, "ok")


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


def test_flipped_bytes(tmp_path: Path) -> None:
    passages = embed(tmp_path / "passages", "passage", "0" * 64, 30)
    (file,) = passages.glob("*.vectors.npy")
    flip(file, -1, dated=True)
    found = check(passages, full=True)
    assert found.exit_code == 5
    assert "does not have the checksum" in problems(found)[0]


def test_what_validate_does_not_take(tmp_path: Path) -> None:
    path = tmp_path / "train.jsonl"
    path.write_text('{"query": "q", "pos": ["a"]}\n', encoding="utf-8")
    assert "holds training rows with texts; validate takes collections" in problems(check(path))[0]


def test_query_ids_that_lost_their_prefix(tiny_collection: Path, tmp_path: Path) -> None:
    found = check(
        f"{tiny_collection}:test", trec(tmp_path / "run", [(q.removeprefix("q-"), p) for q, p in RIGHT])
    )
    assert "no query of the run is judged: the run has 'bees-2', 'tides-2'" in problems(found)[0]
    assert "the prefix 'q-' is missing ('bees-2' is 'q-bees-2' there)" in problems(found)[0]


def test_passage_ids_of_another_space(tiny_collection: Path, tmp_path: Path) -> None:
    found = check(f"{tiny_collection}:test", trec(tmp_path / "run", [(q, f"wiki:{p}") for q, p in RIGHT]))
    assert found.exit_code == 4
    assert all(
        "the prefix 'wiki:' was added ('wiki:bees-2' is 'bees-2' there)" in text for text in problems(found)
    )
    assert "every score is 0: no relevant passage is among the hits" in problems(found)[0]
    assert "6 of 6 passages in the run are not in the corpus" in problems(found)[1]
    rows = check(
        f"{tiny_collection}:test",
        trec(tmp_path / "rows", [(q, str(row)) for row, (q, _) in enumerate(RIGHT)]),
    )
    assert "they look like row numbers; write the collection's ids instead" in problems(rows)[1]


def test_mixed_up_queries(tiny_collection: Path, tmp_path: Path) -> None:
    turned = [(query, RIGHT[row - 1][1]) for row, (query, _) in enumerate(RIGHT)]
    found = check(f"{tiny_collection}:test", trec(tmp_path / "run", turned))
    assert found.exit_code == 4
    assert (
        "the ids fit, yet no query has a relevant passage among its hits (6 are hits of other queries)"
        in problems(found)[0]
    )


def test_queries_without_hits_and_hits_without_judgements(tiny_collection: Path, tmp_path: Path) -> None:
    found = check(f"{tiny_collection}:test", trec(tmp_path / "run", [*RIGHT[:4], ("stranger", "bees-1")]))
    assert found.exit_code == 0
    assert "2 of 6 judged queries have no hits; each counts 0 in the mean" in texts(found, "note")
    assert "1 queries of the run are not judged and are left out" in texts(found, "note")


def test_judgements_of_another_corpus(tiny_collection: Path, tmp_path: Path) -> None:
    qrels = tmp_path / "qrels.txt"
    qrels.write_text("q-bees-2 0 BEES-2 1\nq-tides-2 0 TIDES-2 0\n", encoding="utf-8")
    found = check(tiny_collection, qrels)
    assert found.exit_code == 4
    assert "no judged passage is in the corpus, every score will be 0" in problems(found)[0]
    assert "letters were turned to upper case ('BEES-2' is 'bees-2' there)" in problems(found)[0]
    assert "1 of 2 queries have no relevant passage; they score 0" in texts(found, "note")


def test_some_judged_passages_missing_is_a_note(tiny_collection: Path) -> None:
    with open(tiny_collection / "qrels" / "test.tsv", "a", encoding="utf-8") as file:
        file.write("q-bees-2\tbees-99\t1\n")
    found = check(f"{tiny_collection}:test")
    assert found.exit_code == 0
    assert "1 of 7 judged passages are not in the corpus (first: bees-99); no run can find them" in texts(
        found, "note"
    )


def test_judged_queries_missing(tiny_collection: Path) -> None:
    with open(tiny_collection / "qrels" / "test.tsv", "a", encoding="utf-8") as file:
        file.write("lost\tbees-1\t1\n")
    found = check(f"{tiny_collection}:test")
    assert found.exit_code == 4
    assert "judges 1 queries that are not in queries.jsonl (first: 'lost')" in problems(found)[0]
    assert check(tiny_collection).exit_code == 4


def test_empty_texts_and_queries_that_are_passages(tmp_path: Path) -> None:
    rows = [{"_id": str(row), "title": "", "text": "x" * (row > 0)} for row in range(4)]
    (tmp_path / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (tmp_path / "queries.jsonl").write_text(
        '{"_id": "1", "text": "x"}\n{"_id": "q", "text": ""}\n', encoding="utf-8"
    )
    (tmp_path / "qrels").mkdir()
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n1\t2\t1\n", encoding="utf-8")
    found = check(tmp_path, trec(tmp_path / "run", [("1", "1"), ("1", "2")]))
    notes = texts(found, "note")
    assert "1 passages are empty" in notes
    assert "1 queries are empty" in notes
    assert "1 of 2 queries are passages themselves: evaluate with --drop-self" in notes
    assert "1 queries have themselves as a hit" in notes


def test_ids_that_are_equal_by_chance_are_not_taken_for_the_passage_itself(tmp_path: Path) -> None:
    (tmp_path / "corpus.jsonl").write_text(
        '{"_id": "1", "title": "", "text": "honey bees"}\n', encoding="utf-8"
    )
    (tmp_path / "queries.jsonl").write_text('{"_id": "1", "text": "what are tides"}\n', encoding="utf-8")
    assert "--drop-self" not in check(tmp_path, trec(tmp_path / "run", [("1", "1")])).render()


def test_examples(tiny_collection: Path, tmp_path: Path) -> None:
    path = tmp_path / "ex.jsonl"
    row = {
        "query_id": "q",
        "query_text": "x",
        "positive_document_ids": ["bees-1"],
        "negative_document_ids": ["tides-1"],
    }
    path.write_text(json.dumps(row) + "\n", encoding="utf-8")
    assert "all 2 passages named are in the corpus" in texts(check(tiny_collection, path), "ok")
    path.write_text(
        json.dumps(row | {"positive_document_ids": [], "negative_document_ids": ["lost"]}) + "\n",
        encoding="utf-8",
    )
    found = check(tiny_collection, path)
    assert found.exit_code == 4
    assert "1 passages are not in the corpus: first 'lost', corpus" in problems(found)[0]
    assert "1 examples have no positive passage" in texts(found, "note")


def test_a_run_without_hits_is_told_by_its_manifest_and_is_a_note(
    tiny_collection: Path, tmp_path: Path
) -> None:
    (tmp_path / "none.trec").write_text("")
    fuse_bm25.run(
        fuse_bm25.FuseBm25Config(
            run=tmp_path / "none.trec", bm25_run=tmp_path / "none.trec", output=tmp_path / "run.trec"
        )
    )
    result = check(f"{tiny_collection}:test", tmp_path / "run.trec")
    assert result.exit_code == 0
    assert "the run holds no hits at all; every measure is 0" in texts(result, "note")
    described = inspect.run(inspect.InspectConfig(path=str(tmp_path / "run.trec")))
    assert (described.kind, described.facts["hits"], described.exit_code) == ("run", 0, 0)


def test_the_form_of_a_run_can_be_named(tiny_collection: Path, tmp_path: Path) -> None:
    (tmp_path / "r.tsv").write_text("q-bees-2\tbees-1\t2\nq-bees-2\tbees-2\t1\n")
    config = {"path": str(tmp_path / "r.tsv")}
    assert "--run-format msmarco" in inspect.run(inspect.InspectConfig(**config)).problems[0]
    assert inspect.run(inspect.InspectConfig(**config, run_format="tevatron")).facts["scores"] == "1 to 2"
    assert (
        inspect.run(inspect.InspectConfig(**config, run_format="msmarco")).facts["scores"]
        == "none, ranks only"
    )
    paths = (f"{tiny_collection}:test", config["path"])
    assert "--run-format msmarco" in "".join(problems(run(ValidateConfig(paths=paths))))
    assert run(ValidateConfig(paths=paths, run_format="msmarco")).exit_code == 0


@pytest.mark.parametrize(
    ("strangers", "known", "clause"),
    [
        (["007", "012"], ["7", "12"], "leading zeros were added ('007' is '7' there)"),
        (
            ["7", "12"],
            ["007", "012"],
            "leading zeros were lost (ids went through a number type) ('7' is '007' there)",
        ),
        (["7.0", "12.0"], ["7", "12"], "ids went through a number type and got '.0' ('7.0' is '7' there)"),
        (
            ["med-1", "med-2"],
            ["MED-1", "MED-2"],
            "letters were turned to lower case ('med-1' is 'MED-1' there)",
        ),
        (["doc7", "doc12"], ["7", "12"], "the prefix 'doc' was added ('doc7' is '7' there)"),
        (["0", "1"], ["a", "b"], "they look like row numbers; write the collection's ids instead"),
        (["x", "y"], ["a", "b"], "they come from another collection, or another release of it"),
    ],
)
def test_explanations(strangers: list[str], known: list[str], clause: str) -> None:
    assert explain_strangers(strangers, known.__contains__, known) == clause


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
