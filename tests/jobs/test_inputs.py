import hashlib
import json
import os

import pytest

from dretrieve.errors import PreconditionError, UsageError
from dretrieve.jobs.inputs import find_qrels, questions_fingerprint
from dretrieve.runs.read import run_fingerprint
from dretrieve.text.collection import Collection


def test_a_run_made_elsewhere_is_named_by_its_bytes(tmp_path):
    (tmp_path / "r").write_bytes(b"q Q0 d 1 1 t\n")
    assert run_fingerprint(tmp_path / "r") == hashlib.sha256(b"q Q0 d 1 1 t\n").hexdigest()


def test_a_missing_run_and_a_folder(tmp_path):
    with pytest.raises(PreconditionError, match="does not exist; correct the path"):
        run_fingerprint(tmp_path / "none")
    with pytest.raises(PreconditionError, match="is a folder; name the file in it"):
        run_fingerprint(tmp_path)


def test_qrels_by_split_or_file(tiny_collection):
    file = tiny_collection / "qrels" / "dev.tsv"
    assert find_qrels(f"{tiny_collection}:dev") == file
    assert find_qrels(str(file)) == file
    with pytest.raises(UsageError, match="train, dev, test|dev, test, train"):
        find_qrels(str(tiny_collection))
    with pytest.raises(PreconditionError, match="does not exist"):
        find_qrels(str(tiny_collection / "nowhere"))


def test_answers_change_the_fingerprint(tiny_collection):
    before = questions_fingerprint(Collection.open(f"{tiny_collection}:dev").queries())
    lines = [json.loads(line) for line in (tiny_collection / "queries.jsonl").read_text().splitlines()]
    for line in lines:
        line["answers"] = ["x"]
    (tiny_collection / "queries.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    after = questions_fingerprint(Collection.open(f"{tiny_collection}:dev").queries())
    assert before != after


TOPICS = "<top>\n<num> Number: 7\n<title> bees\n<desc> Description:\nwho makes honey\n</top>\n"


@pytest.fixture
def searched(cli_here, tiny_collection, tmp_path):
    """The collection, and a run over it one of whose bytes is flipped under its old size and time."""
    cli_here("index", "--corpus", tiny_collection, "--type", "bm25", "--output", tmp_path / "bm25", "-q")
    run = tmp_path / "run.trec"
    cli_here("search", "--index", tmp_path / "bm25", "--queries", f"{tiny_collection}:dev", "--output", run)
    was, text = run.stat(), run.read_text()
    run.write_text(text[:-2] + ("x" if text[-2] != "x" else "y") + "\n")
    os.utime(run, ns=(was.st_atime_ns, was.st_mtime_ns))
    return tiny_collection, run


@pytest.mark.parametrize("command", ["evaluate", "fuse-bm25", "mine-negatives", "convert"])
def test_every_reader_of_a_run_verifies_its_bytes_where_asked(cli_here, searched, tmp_path, command):
    collection, run = searched
    words = {
        "evaluate": ["--run", run, "--qrels", f"{collection}:dev"],
        "fuse-bm25": ["--run", run, "--bm25-run", run, "--output", tmp_path / "fused.trec"],
        "mine-negatives": ["--data", f"{collection}:dev", "--run", run, "--output", tmp_path / "hard.jsonl"],
        "convert": [run, "--output-format", "tevatron", "--output", tmp_path / "other.tsv"],
    }[command]
    cli_here(command, *words)
    again = cli_here(command, *words, "--verify", "full", code=5)
    assert "run.trec" in again.err


def test_train_verifies_its_examples_where_asked(cli_here, searched, tiny_model, tmp_path):
    collection, run = searched
    hard = tmp_path / "hard.jsonl"
    cli_here("mine-negatives", "--data", f"{collection}:dev", "--run", run, "--output", hard)
    was, text = hard.stat(), hard.read_text()
    hard.write_text(text.replace('"query_text": "', '"query_text":"', 1).rstrip("\n") + " \n")
    os.utime(hard, ns=(was.st_atime_ns, was.st_mtime_ns))
    line = ["train", "shared", "--backbone", tiny_model, "--data", hard, "--output", tmp_path / "m"]
    line += ["--batch-size", "4", "--dry-run"]
    assert hard.stat().st_size == was.st_size
    cli_here(*line)
    assert "hard.jsonl" in cli_here(*line, "--verify", "full", code=5).err


def test_encode_reads_the_field_of_a_topic_that_is_asked_for(cli_here, tiny_model, tmp_path):
    (tmp_path / "topics.txt").write_text(TOPICS)
    line = ["encode", "--model", tiny_model, "--queries", tmp_path / "topics.txt", "--output"]
    title = cli_here(*line, tmp_path / "title", "--json").json()
    asked = cli_here(*line, tmp_path / "desc", "--topic-field", "description", "--json").json()
    assert title["fingerprint"] != asked["fingerprint"]
    no_queries = [*line[:3], "--corpus", tmp_path, "--output", tmp_path / "c", "--topic-field", "title"]
    assert "--topic-field goes with --queries" in cli_here(*no_queries, code=2).err
