"""Training on vectors that the frozen backbone gave before: the model that the texts give, or a refusal."""

from __future__ import annotations

import json

import numpy as np
import pytest
from safetensors.numpy import load_file

from dretrieve.errors import UsageError, VerificationError
from dretrieve.training.data import open_set, parse_data
from dretrieve.types import Silent


@pytest.fixture
def place(cli_here, tiny_collection, tiny_model, tmp_path):
    """A model to stand on, and its vectors of the collection."""
    cli_here(
        "train", "shared", "--backbone", tiny_model, "--data", f"{tiny_collection}:train", "--max-steps", 1,
        "--batch-size", 4, "--pooling", "mean", "--device", "cpu", "--output", tmp_path / "base",
    )  # fmt: skip
    words = ["encode", "--model", tmp_path / "base", "--dtype", "float32", "--precision", "fp32", "--output"]
    cli_here(*words, tmp_path / "q", "--queries", f"{tiny_collection}:train")
    cli_here(*words, tmp_path / "p", "--corpus", tiny_collection)
    return tmp_path


def train(cli_here, place, data, output, *more, code=0):
    return cli_here(
        "train", "sb-moe", "--backbone", place / "base", "--data", data, "--output", place / output,
        "--max-steps", 5, "--batch-size", 6, "--learning-rate", "1e-2", "--encoder-scale", 0,
        "--device", "cpu", "--precision", "fp32",
        *more, code=code,
    )  # fmt: skip


@pytest.mark.parametrize("sides", [("query", "passage"), ("passage",)])
def test_the_block_learns_what_it_learns_from_texts(cli_here, place, tiny_collection, sides):
    data = f"path={tiny_collection},split=train"
    given = "".join(f",{side}_vectors={place / side[0]}" for side in sides)
    for name, word in (("texts", data), ("vectors", data + given)):
        train(cli_here, place, word, name, "--gate", "soft")  # without noise, which is drawn piece by piece
    texts, vectors = (load_file(place / name / "method.safetensors") for name in ("texts", "vectors"))
    for name, of in texts.items():
        np.testing.assert_allclose(vectors[name], of, atol=1e-3, err_msg=name)
    moved = max(float(np.abs(of).max()) for name, of in texts.items() if "experts" in name)
    assert moved > 0.01


def test_a_training_on_vectors_alone_is_planned(cli_here, place, tiny_collection):
    data = f"path={tiny_collection},split=train,query_vectors={place / 'q'},passage_vectors={place / 'p'}"
    found = json.loads(train(cli_here, place, data, "planned", "--dry-run", "--json").out)["estimate"]
    assert (found["steps"], found["tokens"]) == (5, 12)


def test_vectors_that_are_not_the_encoders_are_refused(cli_here, place, tiny_collection, tiny_model):
    data = f"path={tiny_collection},split=train"
    given = f"{data},passage_vectors={place / 'p'}"
    err = train(cli_here, place, given, "m", "--encoder-scale", 0.01, code=2).err
    assert "sb_moe trains its encoder here" in err
    assert "max_tokens" in train(cli_here, place, given, "m", "--passage-max-len", 9, code=2).err
    other = train(cli_here, place, given, "m", "--backbone", tiny_model, "--pooling", "mean", code=None)
    assert other.code in (2, 5), other
    assert not (place / "m" / "card.json").exists()


@pytest.mark.parametrize(
    ("words", "match"),
    [
        ("query_vectors={p}", "holds passage vectors"),
        ("passage_vectors={q}", "holds query vectors"),
        ("passage_vectors={other}", "encoded from other texts"),
    ],
)
def test_of_another_side_or_other_texts(write_embeddings, tiny_collection, tmp_path, words, match):
    for name, side in (("p", "passage"), ("q", "query"), ("other", "passage")):
        write_embeddings(name, ["1"], np.ones((1, 4), np.float16), side=side)
    places = {name: tmp_path / name for name in ("p", "q", "other")}
    word = f"path={tiny_collection},split=train,{words.format(**places)}"
    with pytest.raises(VerificationError, match=match):
        open_set(parse_data(word), 1, Silent())


def test_queries_of_examples_have_none(tiny_collection, tmp_path):
    path = tmp_path / "x.jsonl"
    example = {"query_id": "1", "query_text": "a", "positive_document_ids": ["bees-0"]}
    path.write_text(json.dumps(example | {"negative_document_ids": []}) + "\n")
    word = f"path={path},corpus={tiny_collection},query_vectors={tmp_path}"
    with pytest.raises(UsageError, match="query_vectors= are of a collection's split"):
        open_set(parse_data(word), 1, Silent())
