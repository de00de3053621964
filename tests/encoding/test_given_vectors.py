"""What the frozen backbone gave before in the place of texts: what the texts give, or a refusal."""

from __future__ import annotations

import json
import signal

import numpy as np
import pytest
from safetensors.numpy import load_file

from dretrieve.errors import Interrupted, UsageError, VerificationError
from dretrieve.jobs import encode as job
from dretrieve.store.embeddings import Embeddings
from dretrieve.store.shard_writer import ShardWriter
from dretrieve.training.data import open_set, parse_data
from dretrieve.types import Silent, Vectors


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
    assert "vectors only where what gives them stays as it is" in err
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


@pytest.fixture
def block(cli_here, place, tiny_collection):
    """The model behind those vectors; ``random`` draws by the ids of texts."""
    data = f"path={tiny_collection},split=train,query_vectors={place / 'q'},passage_vectors={place / 'p'}"

    def made(name="m", *more):
        train(cli_here, place, data, name, *more)
        return place / name

    return made


def encode(cli_here, model, output, *more, code=0):
    words = ("encode", "--model", model, "--output", output, "--device", "cpu", *more)
    return cli_here(*words, code=code)


def read(folder):
    found = Embeddings.open(folder)
    return found.ids(), found.all_vectors().values


@pytest.mark.parametrize("gate", ["noisy", "random"])
@pytest.mark.parametrize(("dtype", "most"), [("float32", 1e-5), ("float16", 1e-3)])
def test_vectors_give_what_the_texts_give(cli_here, place, block, tiny_collection, gate, dtype, most):
    model = block("m", "--gate", gate)
    base = ("encode", "--model", place / "base", "--precision", "fp32", "--dtype", dtype, "--output")
    own = ("--dtype", "float32", "--precision", "fp32")
    for side, word in (("passage", "--corpus"), ("query", "--queries")):
        texts = tiny_collection if side == "passage" else f"{tiny_collection}:test"
        given, from_texts, from_vectors = (place / f"{dtype}-{side}-{name}" for name in "gtv")
        cli_here(*base, given, word, texts)
        encode(cli_here, model, from_texts, word, texts, *own)
        encode(cli_here, model, from_vectors, "--embeddings", given, *own)
        (ids, expected), (same, found) = read(from_texts), read(from_vectors)
        assert ids == same
        assert found.dtype == expected.dtype == np.float32
        np.testing.assert_allclose(found, expected, atol=most, rtol=0)
        first, second = Embeddings.open(from_texts), Embeddings.open(from_vectors)
        assert second.passage_fingerprint == first.passage_fingerprint
        assert second.query_fingerprint == first.query_fingerprint
        cli_here("validate", model, from_vectors, tiny_collection)
    passages, queries = (place / f"{dtype}-{side}-v" for side in ("passage", "query"))
    cli_here("index", "--embeddings", passages, "--type", "flat", "--output", place / "index")
    run = place / "run.trec"
    cli_here("search", "--index", place / "index", "--query-embeddings", queries, "--output", run)
    cli_here("evaluate", "--run", run, "--qrels", f"{tiny_collection}:test", "--metrics", "nDCG@10")
    assert run.read_text()


def test_the_encoder_is_neither_read_nor_hashed(cli_here, place, block):
    model = block()
    weights = model / "backbone" / "model.safetensors"
    weights.rename(place / "away")
    encode(cli_here, model, place / "v", "--embeddings", place / "p")
    assert Embeddings.open(place / "v").rows == 30
    parts = model / "method.safetensors"
    parts.write_bytes(parts.read_bytes()[:-1] + b"x")
    err = encode(cli_here, model, place / "w", "--embeddings", place / "p", code=5).err
    assert "method.safetensors is not the file" in err


def test_it_is_planned_and_up_to_date_as_texts_are(cli_here, place, block, tiny_collection):
    model, words = block(), ("--embeddings", place / "p", "--corpus", tiny_collection, "--json")

    def state(*more):
        return json.loads(encode(cli_here, model, place / "v", *words, *more).out)["state"]

    assert [state("--dry-run"), state(), state("--dry-run"), state()] == [
        "to do",
        "encoded",
        "up to date",
        "up to date",
    ]
    other = (*words, "--dtype", "float32", "--dry-run")
    assert "of other options (dtype" in encode(cli_here, model, place / "v", *other, code=3).err
    assert state("--dry-run", "--dtype", "float32", "--force") == "stale"
    err = encode(cli_here, model, place / "v", "--corpus", tiny_collection, code=3).err
    assert "of other options" in err


def test_shards_and_a_killed_call_give_the_same_bytes(place, block, write_embeddings, monkeypatch):
    model, rows = block("m", "--gate", "random"), 2600
    made = Embeddings.open(place / "p").passage_fingerprint
    values = np.random.default_rng(1).standard_normal((rows, 32), np.float32)
    given = write_embeddings("many", [f"d{row}" for row in range(rows)], values, model=made, shards=3)

    def run(output, **more):
        words = {"model": str(model), "embeddings": given, "output": place / output, "device": "cpu"}
        job.run(job.EncodeConfig(**words, **more))
        return read(place / output)

    ids, whole = run("whole")
    assert ids[:2] == ["d0", "d1"]
    for number in range(2):
        run_shard = {"model": str(model), "embeddings": given, "output": place / "shards", "device": "cpu"}
        job.run(job.EncodeConfig(**run_shard, shard=(number, 2)))
    write, calls = ShardWriter.write, []

    def killed(self, *words):
        write(self, *words)
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(ShardWriter, "write", killed)
    with pytest.raises(Interrupted):
        run("killed")
    for name in ("shards", "killed"):
        same, found = run("killed") if name == "killed" else read(place / name)
        assert same == ids
        assert found.tobytes() == whole.tobytes(), name
    assert len(calls) == 3


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--embeddings", "{q}", "--corpus", "{c}"), 5, "holds query vectors"),
        (("--embeddings", "{p}", "--corpus", "{other}"), 5, "encoded from other texts"),
        (("--embeddings", "{y}"), 5, "encoded by another model"),
        (("--embeddings", "{p}", "--precision", "bf16"), 2, "was encoded in fp32"),
        (("--embeddings", "{p}", "--devices", "all"), 2, "--devices is for texts"),
        (("--embeddings", "{p}", "--set", "activated=9"), 2, "6 experts"),
        (("--embeddings", "{many}"), 5, "vectors per token"),
        ((), 2, "exactly one of --corpus"),
    ],
)
def test_what_does_not_belong_is_refused(
    cli_here, place, block, tiny_collection, write_embeddings, words, code, said
):
    model, other = block(), place / "other"
    other.mkdir()
    (other / "corpus.jsonl").write_text('{"_id": "1", "title": "", "text": "bees"}\n')
    encode(cli_here, model, place / "y", "--embeddings", place / "p")  # its own vectors are no backbone's
    tokens = Vectors(np.ones((3, 32), np.float16), np.array([0, 1, 3]))
    write_embeddings("many", ["1", "2"], tokens)
    places = {name: place / name for name in ("q", "p", "y", "many", "other")} | {"c": tiny_collection}
    given = [str(word).format(**places) for word in words]
    err = encode(cli_here, model, place / "v", *given, code=code).err
    assert said in err.splitlines()[-1]
    assert err.count("dretrieve: ") == 1, err


@pytest.mark.parametrize(
    "own", [("--passage-max-len", 9), ("--passage-template", "x {text}"), ("--normalize", "yes")]
)
def test_a_model_that_reads_texts_otherwise_than_its_backbone(cli_here, place, tiny_collection, own):
    train(cli_here, place, f"{tiny_collection}:train", "m", *own)
    err = encode(cli_here, place / "m", place / "v", "--embeddings", place / "p", code=2).err
    assert "change the backbone's" in err
    # a block that is trained further stands on the same encoder, and keeps what was said of it
    train(cli_here, place, f"{tiny_collection}:train", "n", "--backbone", place / "m")
    err = encode(cli_here, place / "n", place / "v", "--embeddings", place / "p", code=2).err
    assert "change the backbone's" in err


@pytest.mark.parametrize("method", ["shared", "sb-moe"])
def test_an_encoder_that_was_trained_takes_texts(cli_here, place, tiny_collection, method):
    cli_here(
        "train", method, "--backbone", place / "base", "--data", f"{tiny_collection}:train", "--output",
        place / "m", "--max-steps", 1, "--batch-size", 4, "--device", "cpu",
    )  # fmt: skip
    err = encode(cli_here, place / "m", place / "v", "--embeddings", place / "p", code=2).err
    assert "vectors only where what gives them stays as it is" in err


def test_a_block_that_is_trained_further_takes_the_first_backbones_vectors(
    cli_here, place, block, tiny_collection
):
    first = block()
    encode(cli_here, first, place / "y", "--embeddings", place / "p")
    data = f"path={tiny_collection},split=train,passage_vectors="
    train(cli_here, place, data + str(place / "p"), "second", "--backbone", first)
    encode(cli_here, place / "second", place / "z", "--embeddings", place / "p")
    err = train(cli_here, place, data + str(place / "y"), "third", "--backbone", first, code=5).err
    assert "encoded by another model" in err
