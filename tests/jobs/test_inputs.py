import hashlib
import json

import pytest

from dretrieve.errors import PreconditionError, UsageError
from dretrieve.jobs.inputs import find_qrels, questions_fingerprint, run_fingerprint
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
