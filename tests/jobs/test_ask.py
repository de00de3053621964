"""ask: the answer that `read` gives over the run that `search` makes; marked words; refusals."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch

from dretrieve.errors import PreconditionError, UsageError, VerificationError
from dretrieve.index.registry import open_vector_index
from dretrieve.jobs import encode, index, search
from dretrieve.jobs.ask import AskConfig, run, words_of
from dretrieve.jobs.examples import recorded_collection
from dretrieve.jobs.read import ReadConfig
from dretrieve.jobs.read import run as read
from dretrieve.models.loading import load_model
from dretrieve.models.model_folder import save_model
from dretrieve.models.reatt import Reatt
from dretrieve.models.reatt_config import ReattConfig
from dretrieve.text.collection import Collection
from dretrieve.types import Record

CPU = {"device": "cpu", "precision": "fp32"}


def saved(small_t5, folder, head=1):
    method = Reatt.build(ReattConfig(answer_max_len=6), str(small_t5()))
    with torch.no_grad():
        method.head_weights[head] = 1.0
    save_model(method, folder)
    return str(folder)


@pytest.fixture
def config(small_t5, tiny_collection, tmp_path):
    model = saved(small_t5, tmp_path / "model")
    encode.run(encode.EncodeConfig(model=model, corpus=str(tiny_collection), output=tmp_path / "emb", **CPU))
    index.run(index.IndexConfig(embeddings=tmp_path / "emb", type="token", output=tmp_path / "index"))
    query = Collection.open(f"{tiny_collection}:test").queries().records(0, 1)[0]
    return AskConfig(question=query.text, model=model, index=tmp_path / "index", depth=3, **CPU)


def test_the_answer_as_json_at_the_command_line(config, cli_here):
    words = ["ask", config.question, "--model", config.model, "--index", config.index, "--depth", 3]
    said = json.loads(cli_here(*words, "--precision", "fp32", "--json", "--quiet").out)
    assert said == json.loads(json.dumps(run(config).as_json()))
    assert len(said["passages"]) == 3


def test_the_answer_is_that_of_search_and_read(config, tiny_collection, tmp_path):
    queries, out = f"{tiny_collection}:test", tmp_path / "answers.jsonl"
    common = {"model": config.model, "queries": queries, **CPU}
    search.run(search.SearchConfig(index=config.index, hits=3, output=tmp_path / "run.trec", **common))
    read(ReadConfig(run=tmp_path / "run.trec", depth=3, output=out, **common))
    expected = json.loads(out.read_text().splitlines()[0])
    result = run(config)
    said = result.as_json()
    assert (said["answer"], said["question"]) == (expected["prediction"], config.question)
    assert said["log_probability"] == pytest.approx(expected["log_probability"], abs=1e-4)
    assert [of["id"] for of in said["passages"]] == [of["id"] for of in expected["passages"]]
    shares = [of["attention"] for of in expected["passages"]]
    assert [of["attention"] for of in said["passages"]] == pytest.approx(shares, abs=1e-4)
    marked = [word for of in said["passages"] for word in of["words"]]
    most = max(word["attention"] for word in marked)
    assert all(word["attention"] >= most / 2 for word in marked)
    for of in said["passages"]:
        assert of["text"].startswith("title: ")
        assert sum(word["attention"] for word in of["words"]) <= of["attention"]
        assert all(of["text"][word["begin"] : word["end"]] == word["word"] for word in of["words"])
    shown = result.render()
    assert shown.splitlines()[0].startswith(said["answer"])
    assert f"[{marked[0]['word']}]" in shown


def test_a_word_has_what_its_tokens_have_together(config):
    tokenizer = load_model(config.model).tokenizers["passage"]
    record = Record("p", "bees", "the queen, moon")  # title : bees context : the queen , moon </s>
    whole = words_of(tokenizer, record, np.arange(10, dtype=np.float32))
    text = "title: bees context: the queen, moon"
    assert [text[of.begin : of.end] for of in whole] == text.split()
    assert [of.attention for of in whole] == [0 + 1, 2, 3 + 4, 5, 6 + 7, 8]
    cut = words_of(tokenizer, record, np.arange(4, dtype=np.float32))  # its end is its fourth token
    assert [of.attention for of in cut] == [1, 2, 0, 0, 0, 0]


def test_passages_that_came_into_the_index_later_are_read(config, tiny_collection, tmp_path):
    """Where a deleted passage's id came again, it is its new text."""
    lines = [json.loads(line) for line in (tiny_collection / "corpus.jsonl").read_text().splitlines()]
    again, late = lines[0] | {"text": "honey for ever"}, lines[1] | {"_id": "late"}
    later = tmp_path / "later"
    later.mkdir()
    (later / "corpus.jsonl").write_text("".join(json.dumps(of) + "\n" for of in (again, late)))
    (tmp_path / "gone").write_text(f"{again['_id']}\n")
    encode.run(encode.EncodeConfig(model=config.model, corpus=str(later), output=tmp_path / "more", **CPU))
    change = {"add": str(tmp_path / "more"), "delete": str(tmp_path / "gone")}
    index.run(
        index.IndexConfig(embeddings=tmp_path / "emb", type="token", output=config.index, settings=change)
    )
    every = replace(config, depth=31)
    found = {of.id: of.text for of in run(every).passages}
    assert (len(found), "late" in found) == (31, True)
    assert found[again["_id"]].endswith("honey for ever")
    assert run(replace(every, corpus=(str(later), str(tiny_collection)))) == run(every)
    with pytest.raises(VerificationError, match="is in none of the texts; give every collection that was"):
        run(replace(every, corpus=(str(later),)))
    shutil.move(tiny_collection, tmp_path / "moved")
    embeddings = open_vector_index(config.index).passages.embeddings
    assert recorded_collection(embeddings.shards[0]) is None, "what came later is not most of it"


def test_what_is_refused(config, small_t5, tiny_model, tiny_collection, tmp_path):
    message = r"belong to the passage side .* encode both with the same model and --set head=\d$"
    for other in ({"model": saved(small_t5, tmp_path / "other", head=2)}, {"settings": {"head": 2}}):
        with pytest.raises(VerificationError, match=message):
            run(replace(config, **other))
    with pytest.raises(UsageError, match="shared cannot read; methods that can: reatt"):
        run(replace(config, model=str(tiny_model)))
    with pytest.raises(UsageError, match="the question is empty"):
        run(replace(config, question=" "))
    words = tmp_path / "words"
    index.run(index.IndexConfig(corpus=str(tiny_collection), type="bm25", output=words))
    with pytest.raises(UsageError, match="words is an index of type bm25, of words"):
        run(replace(config, index=words))
    other = tmp_path / "others"
    shutil.copytree(tiny_collection, other)
    corpus = other / "corpus.jsonl"
    corpus.write_text(corpus.read_text().replace("honey", "money"))
    with pytest.raises(VerificationError, match="are not those that were encoded for .*--corpus DIR"):
        run(replace(config, corpus=(str(other),)))
    moved = tmp_path / "moved"
    shutil.move(tiny_collection, moved)
    with pytest.raises(PreconditionError, match="say where its passages' texts are with --corpus DIR"):
        run(config)
    assert run(replace(config, corpus=(str(moved),))).passages
