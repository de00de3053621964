from __future__ import annotations

import json

import pytest

from dretrieve.errors import DataError, PreconditionError, UsageError, VerificationError
from dretrieve.jobs.mine_negatives import MineNegativesConfig, run
from dretrieve.mining.options import MiningOptions
from dretrieve.store.manifest import manifest_path, read_manifest
from dretrieve.text.examples import read_examples

QUERIES = 2100  # three chunks of queries


@pytest.fixture
def collection(tmp_path):
    """Queries 0, 1, 2 … with passage i as positive; passage 9 is a copy of passage 0."""
    folder = tmp_path / "toy"
    (folder / "qrels").mkdir(parents=True)
    texts = [f"passage number {row}" for row in range(40)]
    texts[9] = "PASSAGE   number 0"
    corpus = [{"_id": f"p{row}", "title": "", "text": text} for row, text in enumerate(texts)]
    queries = [{"_id": f"q{row}", "text": f"what {row}", "answers": ["number 3"]} for row in range(QUERIES)]
    for name, rows in (("corpus", corpus), ("queries", queries)):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    lines = "".join(f"q{row}\tp{row % 40}\t{int(row != 5)}\n" for row in range(QUERIES))
    (folder / "qrels" / "train.tsv").write_text("query-id\tcorpus-id\tscore\n" + lines)
    hits = "".join(
        f"q{row} Q0 p{(row * 7 + place) % 40} {place + 1} {20 - place} toy\n"
        for row in range(QUERIES)
        if row != 6
        for place in range(12)
    )
    (tmp_path / "run.trec").write_text(hits)
    return folder


def config_of(collection, **changes):
    values = {
        "data": f"{collection}:train",
        "run": collection.parent / "run.trec",
        "output": collection.parent / "hard.jsonl",
        "mining": MiningOptions(num_negatives=3),
    }
    return MineNegativesConfig(**(values | changes))


def test_examples_counts_and_manifest(collection):
    result = run(config_of(collection))
    examples = {example.query_id: example for example in read_examples(result.output)}
    assert len(examples) == QUERIES - 1
    assert "q5" not in examples
    assert examples["q6"].negative_document_ids == ()
    assert not {"p0", "p9"} & set(examples["q0"].negative_document_ids)
    assert len(examples["q0"].negative_document_ids) == 3
    assert len(examples["q0"].negative_scores) == 3
    counts = result.counts
    assert counts["queries_without_positives"] == counts["queries_without_hits"] == 1
    assert counts["examples_without_negatives"] == 1
    assert counts["dropped_positive"] > 0
    assert counts["dropped_copy_of_positive"] > 0
    described = read_manifest(manifest_path(result.output)).extra["collection"]
    assert described["path"] == "toy"
    assert described["split"] == "train"
    assert "copy of positive" in result.render()
    assert json.dumps(result.as_json())


def test_again_is_up_to_date_and_other_options_are_refused(collection):
    run(config_of(collection))
    assert run(config_of(collection)).up_to_date
    with pytest.raises(PreconditionError, match=r"num_negatives 3 -> 4.*--force"):
        run(config_of(collection, mining=MiningOptions(num_negatives=4)))


def test_parts_joined_are_the_whole(collection, tmp_path):
    whole = run(config_of(collection, output=tmp_path / "whole.jsonl"))
    for index in (1, 0):
        part = run(config_of(collection, shard=(index, 2)))
        assert part.output.name == f"hard.jsonl.shard-{index:05d}-of-00002"
    joined = run(config_of(collection))
    assert joined.output.read_bytes() == whole.output.read_bytes()
    assert joined.counts == whole.counts
    one, other = (read_manifest(manifest_path(result.output)) for result in (whole, joined))
    assert one.fingerprint == other.fingerprint


def test_parts_that_do_not_tile_are_not_joined(collection, tmp_path):
    run(config_of(collection, shard=(0, 2)))
    run(config_of(collection, shard=(1, 2), mining=MiningOptions(num_negatives=1)))
    whole = run(config_of(collection, output=tmp_path / "whole.jsonl"))
    assert run(config_of(collection)).output.read_bytes() == whole.output.read_bytes()


def test_all_dropped_is_an_error_with_the_counts(collection):
    config = config_of(collection, mining=MiningOptions(margin=1000.0))
    with pytest.raises(DataError, match=r"no negative is left.*by margin"):
        run(config)
    assert not config.output.exists()


def test_other_answers_are_another_result_where_they_drop(collection):
    dropping = config_of(collection, drop_answers=True, output=collection.parent / "dropped.jsonl")
    run(config_of(collection))
    run(dropping)
    queries = collection / "queries.jsonl"
    queries.write_text(queries.read_text().replace("number 3", "number 4"))
    assert run(config_of(collection)).up_to_date
    with pytest.raises(PreconditionError, match=r"\(input answers .*--force"):
        run(dropping)


def test_a_split_without_positives(collection):
    (collection / "qrels" / "none.tsv").write_text("query-id\tcorpus-id\tscore\nq0\tp0\t0\n")
    with pytest.raises(DataError, match="has no positives"):
        run(config_of(collection, data=f"{collection}:none"))


def test_a_run_of_another_collection(collection):
    other = collection.parent / "other.trec"
    other.write_text("q0 Q0 elsewhere 1 3.5 x\n")
    with pytest.raises(DataError, match=r"'elsewhere'.*is not in.*another collection"):
        run(config_of(collection, run=other))


def test_a_changed_run_with_a_manifest_is_refused(collection):
    mined = run(config_of(collection)).output  # any file with a manifest will do
    mined.write_text(mined.read_text().replace("what 0", "what?0"))
    with pytest.raises(VerificationError, match="checksum"):
        run(config_of(collection, run=mined, output=collection.parent / "more.jsonl"))


def test_answers_to_drop_but_none_there(collection):
    text = (collection / "queries.jsonl").read_text().replace(', "answers": ["number 3"]', "")
    (collection / "queries.jsonl").write_text(text)
    with pytest.raises(UsageError, match="has no answers"):
        run(config_of(collection, drop_answers=True))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"first_rank": 9, "depth": 8}, "rank window 9 to 8 is empty"),
        ({"num_negatives": 0}, "--num-negatives 0: expected a whole number from 1"),
        ({"sampling": "best"}, "--sampling best: expected random or top"),
    ],
)
def test_options_that_make_no_sense(collection, options, message):
    with pytest.raises(UsageError, match=message):
        config_of(collection, mining=MiningOptions(**options))


def test_dry_run_writes_nothing(collection):
    config = config_of(collection, dry_run=True)
    assert run(config).state == "to do"
    assert not config.output.exists()
    run(config_of(collection))
    assert run(config).state == "up to date"
    assert run(config_of(collection, dry_run=True, force=True)).state == "to do"
    assert run(config_of(collection)).up_to_date


def test_passages_with_an_answer_are_dropped(collection):
    result = run(config_of(collection, drop_answers=True))
    assert result.counts["dropped_answer"] > 0
    for example in read_examples(result.output):
        assert "p3" not in example.negative_document_ids


def test_regular_expressions_as_answers(collection):
    text = (collection / "queries.jsonl").read_text()
    regex = text.replace(
        '"answers": ["number 3"]', '"answers": ["number 3[0-9]$"], "answers_are_regex": true'
    )
    (collection / "queries.jsonl").write_text(regex)
    result = run(config_of(collection, drop_answers=True))
    named = {name for example in read_examples(result.output) for name in example.negative_document_ids}
    assert "p3" in named
    assert not {f"p{row}" for row in range(30, 40)} & named


def test_ranks_do_for_mining_but_not_for_a_margin(collection):
    lines = (collection.parent / "run.trec").read_text().splitlines()
    ranks = collection.parent / "ranks.tsv"
    ranks.write_text("".join("{0}\t{2}\t{3}\n".format(*line.split()) for line in lines))
    expected = list(read_examples(run(config_of(collection)).output))
    output = collection.parent / "ranked.jsonl"
    mined = list(read_examples(run(config_of(collection, run=ranks, output=output)).output))
    assert [example.negative_document_ids for example in mined] == [
        example.negative_document_ids for example in expected
    ]
    assert all(example.negative_scores is None for example in mined)
    for margin in ({"margin": 0.1}, {"relative_margin": 0.1}):
        config = config_of(collection, run=ranks, output=output, mining=MiningOptions(**margin), force=True)
        with pytest.raises(
            DataError, match=r"holds ranks and no scores, and a margin compares scores; leave"
        ):
            run(config)
    with pytest.raises(UsageError, match="--run-format csv: expected auto or trec"):
        config_of(collection, run_format="csv")
