"""A token-vector method and a prefix method through the whole pipeline, brought by a package of their own."""

from __future__ import annotations

import json
import random
import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dretrieve.encoding.pipeline import encode_records
from dretrieve.errors import PreconditionError, UsageError, VerificationError
from dretrieve.jobs.encode import EncodeConfig
from dretrieve.jobs.encode import run as encode
from dretrieve.jobs.evaluate import EvaluateConfig
from dretrieve.jobs.evaluate import run as evaluate
from dretrieve.jobs.index import IndexConfig
from dretrieve.jobs.index import run as index
from dretrieve.jobs.search import SearchConfig
from dretrieve.jobs.search import run as search
from dretrieve.jobs.train import run as train
from dretrieve.models.cards import read_card
from dretrieve.models.loading import load_model
from dretrieve.models.registry import find
from dretrieve.models.shared import Shared
from dretrieve.models.shared_config import SharedConfig
from dretrieve.store.embeddings import Embeddings
from dretrieve.types import Record
from tests.common import killed_and_resumed, training

METHODS = ("late_interaction", "prefix")


def config_of(method, collection, backbone, output, **options):
    own, more = ({"pooling": "mean"}, ",domain=garden") if method == "prefix" else ({}, "")
    return training(
        method, own, backbone, f"name=tiny,path={collection},split=train{more}", output, max_steps=12,
        per_device_train_batch_size=3, learning_rate=5e-3, logging_steps=1, save_steps=4, **options,
    )  # fmt: skip


@pytest.fixture(scope="module")
def trained(installed, kept_collection, tiny_model, tmp_path_factory):
    """A folder and the training's result for each method; nobody writes into them."""
    place, found = tmp_path_factory.mktemp("trained"), {}
    for method in METHODS:
        config = config_of(method, kept_collection, tiny_model, place / method)
        found[method] = config.output, train(config)
    return found


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    """1,500 short passages: two shards."""
    folder = tmp_path_factory.mktemp("many") / "many"
    folder.mkdir()
    draw, words = random.Random(3), "honey bee hive moon tide ocean flour yeast dough rook bishop".split()
    lines = [
        {"_id": f"d{row}", "text": " ".join(draw.choices(words, k=draw.choice([1, 3, 9])))}
        for row in range(1500)
    ]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


@pytest.mark.parametrize("method", METHODS)
def test_it_trains_is_saved_and_encodes_in_shards(trained, corpus, tmp_path, method):
    folder, result = trained[method]
    losses = [point["loss"] for point in result.curve if "loss" in point]
    assert losses[-1] < losses[0]
    common = {"model": str(folder), "corpus": str(corpus), "precision": "bf16"}
    common["settings"] = {"keep": 0.5} if method == "late_interaction" else {}
    whole = encode(EncodeConfig(**common, output=tmp_path / "whole"))
    for shard in (1, 0):
        encode(EncodeConfig(**common, output=tmp_path / "shards", shard=(shard, 2)))
    one, other = (Embeddings.open(tmp_path / name) for name in ("whole", "shards"))
    assert one.ids() == other.ids()
    for name in ("values", "offsets", "tokens"):
        assert np.array_equal(getattr(one.all_vectors(), name), getattr(other.all_vectors(), name))
    assert [whole.numerics[name] for name in ("engine", "precision", "attention")] == [
        "packed",
        "bf16",
        "own",
    ]


@pytest.mark.parametrize("method", METHODS)
def test_it_is_indexed_and_searched_and_dev_is_the_same_search(
    installed, tiny_collection, tiny_model, tmp_path, method
):
    """The dev set's measure during training is that of encode, index, search and evaluate."""
    queries = f"{tiny_collection}:train"
    folder, options = tmp_path / method, {"dev": queries, "dev_metric": "nDCG@10", "eval_steps": 6}
    result = train(config_of(method, tiny_collection, tiny_model, folder, **options))
    vectors, place = tmp_path / "vectors", tmp_path / "index"
    encode(EncodeConfig(model=str(folder), corpus=str(tiny_collection), output=vectors, precision="fp32"))
    index(
        IndexConfig(
            embeddings=vectors, type="token" if method == "late_interaction" else "flat", output=place
        )
    )
    run = tmp_path / "run.txt"
    search(
        SearchConfig(index=place, queries=queries, model=str(folder), output=run, hits=10, precision="fp32")
    )
    found = evaluate(EvaluateConfig(runs=(run,), qrels=queries, metrics=("nDCG@10",))).as_json()
    assert json.dumps(found).count("nDCG@10") >= 1
    assert result.best is not None
    assert any(abs(value - result.best) < 0.02 for value in numbers_in(found)), (found, result.best)


def numbers_in(value):
    """Every number of nested JSON."""
    if isinstance(value, dict | list):
        parts = value.values() if isinstance(value, dict) else value
        return [number for part in parts for number in numbers_in(part)]
    return [value] if isinstance(value, float) else []


def test_choices_change_their_own_side_and_are_checked(trained):
    texts = [Record(f"d{row}", "", "honey bee hive moon tide ocean flour yeast") for row in range(4)]
    for method, side, good, bad in (
        ("late_interaction", "passage", {"keep": 0.5}, {"keep": 2}),
        ("prefix", "query", {"domain": "garden"}, {"domain": "nonsense"}),
    ):
        folder, _ = trained[method]
        usual, chosen = (load_model(str(folder), settings=of) for of in ({}, good))
        other = "query" if side == "passage" else "passage"
        assert usual.fingerprint(side) != chosen.fingerprint(side)
        assert usual.fingerprint(other) == chosen.fingerprint(other)
        with pytest.raises(
            UsageError, match="expected a number above 0 up to 1|expected none or garden|to 1"
        ):
            load_model(str(folder), settings=bad)
        with pytest.raises(UsageError, match="has no such choice; it has (keep|domain)"):
            load_model(str(folder), settings={"mode": "nonsense"})
        before, after = (encode_records(of, side, texts, "float32") for of in (usual, chosen))
        if method == "prefix":
            assert not np.array_equal(before.values, after.values)
            continue
        lengths = [np.diff(of.offsets).tolist() for of in (before, after)]
        assert lengths == [[10] * 4, [5] * 4]
        again = encode_records(chosen, side, texts[2:], "float32")
        np.testing.assert_allclose(again.values, after.values[10:], atol=1e-6)
        assert not np.allclose(after.values[:5], after.values[5:10]), "each text's own draw"


def test_a_file_of_one_side_leaves_the_others_fingerprint(trained, tmp_path):
    folder = shutil.copytree(trained["prefix"][0], tmp_path / "model")
    card, _ = read_card(folder)
    assert set(card.query.parts) == {"method.safetensors", "query.safetensors"}
    assert set(card.passage.parts) == {"method.safetensors"}
    model = load_model(str(folder)).encoder
    with torch.no_grad():
        model.domains.add_(1)
    from dretrieve.models.model_folder import save_model

    changed = save_model(model, folder.parent / "changed")
    assert changed.fingerprint("passage") == card.fingerprint("passage")
    assert changed.fingerprint("query") != card.fingerprint("query")
    file = folder / "query.safetensors"
    save_file({name: of + 1 for name, of in load_file(file).items()}, file)
    with pytest.raises(VerificationError, match="query.safetensors is not the file"):
        load_model(str(folder))


def test_what_a_method_has_beside_its_encoder_is_not_dropped_without_a_word(trained):
    for method in METHODS:
        folder, _ = trained[method]
        with pytest.raises(
            PreconditionError, match=f"of the method {method}, and shared would drop what it has"
        ):
            Shared.build(SharedConfig(pooling="mean"), str(folder))
        again = find(method).method().build(load_model(str(folder)).encoder.config, str(folder))
        for name, of in load_model(str(folder)).encoder.state_dict().items():
            assert torch.equal(again.state_dict()[name], of), "training goes on with it"


def test_a_method_may_take_anothers_encoder_alone(trained):
    folder, _ = trained["late_interaction"]
    method = find("prefix").method().build(find("prefix").config()(pooling="mean"), str(folder))
    ours = load_file(folder / "backbone" / "model.safetensors")
    assert all(torch.equal(of, ours[name]) for name, of in method.encoder.backbone.state_dict().items())
    with pytest.raises(PreconditionError, match="late_interaction model with a vector for each token"):
        find("prefix").method().build(find("prefix").config()(), str(folder))


def test_a_prefix_of_another_length_is_refused(trained):
    folder, _ = trained["prefix"]
    config = replace(load_model(str(folder)).encoder.config, prefix_length=5)
    with pytest.raises(
        PreconditionError, match="is a prefix model with prefix_length 3; prefix_length 5 was"
    ):
        find("prefix").method().build(config, str(folder))


@pytest.mark.slow
@pytest.mark.parametrize("method", METHODS)
def test_killed_and_resumed_gives_the_unbroken_bits(installed, tiny_collection, tiny_model, tmp_path, method):
    """Each command is a process of its own, which finds the method by its line of the registry."""

    def words(output):
        more = ",domain=garden" if method == "prefix" else ""
        return [
            "train", method, "--backbone", tiny_model, "--data",
            f"name=tiny,path={tiny_collection},split=train{more}", "--output", output, "--batch-size", 3,
            "--max-steps", 60, "--lr", 5e-3, "--save-steps", 2, "--device", "cpu",
        ]  # fmt: skip

    unbroken, broken = killed_and_resumed(words, tmp_path, installed, [6])
    files = sorted(path.name for path in unbroken.glob("*.safetensors"))
    assert files == (
        ["method.safetensors"] if method != "prefix" else ["method.safetensors", "query.safetensors"]
    )
    for name in (*files, "curves.json", "card.json"):
        assert (unbroken / name).read_bytes() == (broken / name).read_bytes(), name
