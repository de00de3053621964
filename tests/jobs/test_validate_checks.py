"""Judgements, hits and examples with texts and with each other."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from dretrieve.jobs import fuse_bm25, inspect
from dretrieve.jobs.validate import ValidateConfig, ValidateResult, run

TOPICS = ("bees", "tides", "bread", "chess", "volcano", "printing")
RIGHT = [(f"q-{topic}-2", f"{topic}-2") for topic in TOPICS]


def check(*paths: object, full: bool = False) -> ValidateResult:
    """Validate paths."""
    return run(ValidateConfig(paths=tuple(map(str, paths)), full=full))


def problems(result: ValidateResult) -> list[str]:
    """Return the texts of the problems."""
    return [finding.text for finding in result.findings if finding.state == "problem"]


def texts(result: ValidateResult, state: str) -> str:
    """Return all texts of that state."""
    return "\n".join(finding.text for finding in result.findings if finding.state == state)


def trec(path: Path, hits: Iterable[tuple[str, str]]) -> Path:
    """Write a run with falling scores."""
    rows = [f"{query} Q0 {passage} 0 {100 - place} t\n" for place, (query, passage) in enumerate(hits)]
    path.write_text("".join(rows), encoding="utf-8")
    return path


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
    assert "1 passages are not in the corpus (first: 'lost')" in problems(found)[0]
    assert "1 examples have no positive passage" in texts(found, "note")


def test_a_run_without_hits_is_told_by_its_manifest_and_is_a_note(
    tiny_collection: Path, tmp_path: Path
) -> None:
    (tmp_path / "none.trec").write_text("")
    fuse_bm25.run(
        fuse_bm25.FuseConfig(
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
