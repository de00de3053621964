"""An encoder-decoder method with a loss of its own, through the whole pipeline: the seam for a reader."""

from __future__ import annotations

import importlib
import json
import random
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from dretrieve.jobs.train import TrainConfig
from dretrieve.jobs.train import run as train
from dretrieve.models.base import TokenBatch
from dretrieve.models.loading import load_model
from dretrieve.training.checkpoint import Checkpoints
from dretrieve.training.options import TrainOptions
from tests.common import flip, killed_and_resumed


@pytest.fixture
def reader(installed, monkeypatch):
    """The method's module."""
    module = importlib.import_module("encoder_decoder")
    monkeypatch.setattr(module.Reader, "seen", {})
    return module


@pytest.fixture(scope="session")
def tiny_t5(tiny_model, tmp_path_factory):
    """A T5 with random weights and the words of the tiny model."""
    from transformers import AutoTokenizer, T5Config, T5ForConditionalGeneration

    folder = tmp_path_factory.mktemp("tiny-t5")
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokenizer.save_pretrained(folder)
    config = T5Config(
        vocab_size=len(tokenizer), d_model=32, d_kv=16, d_ff=48, num_layers=2, num_heads=2, dropout_rate=0.1,
        decoder_start_token_id=tokenizer.pad_token_id, pad_token_id=tokenizer.pad_token_id,
    )  # fmt: skip
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        T5ForConditionalGeneration(config).save_pretrained(folder)
    return folder


@pytest.fixture
def answered(tiny_collection):
    """The tiny collection, every query with the answer that its topic is, and hard negatives for training."""
    path = tiny_collection / "queries.jsonl"
    queries = [json.loads(line) for line in path.read_text().splitlines()]
    topics = sorted({query["_id"].split("-")[1] for query in queries})
    path.write_text("".join(json.dumps(of | {"answers": [of["_id"].split("-")[1]]}) + "\n" for of in queries))
    lines = [
        {
            "query_id": f"q-{topic}-0",
            "query_text": topic,
            "positive_document_ids": [f"{topic}-0"],
            "negative_document_ids": [f"{topic}-3", f"{topics[place - 1]}-4"],
        }
        for place, topic in enumerate(topics)
    ]
    (tiny_collection / "examples.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tiny_collection


@pytest.fixture
def config_of(reader, answered, tiny_t5, tmp_path):
    def config(own=None, options=None, **changes):
        fast = {
            "max_steps": 4, "per_device_train_batch_size": 3, "learning_rate": 1e-3, "logging_steps": 1,
            "save_steps": 3, "device": "cpu", "precision": "fp32", "train_group_size": 3,
        }  # fmt: skip
        values = {
            "method": "reader",
            "method_config": reader.ReaderConfig(**(own or {})),
            "backbone": str(tiny_t5),
            "data": (f"name=tiny,path={answered},split=train,domain=garden",),
            "output": tmp_path / "model",
            "options": TrainOptions(**(fast | (options or {}))),
        }
        return TrainConfig(**(values | changes))

    return config


def test_it_trains_in_two_phases_encodes_and_is_searched(reader, config_of, answered, tmp_path):
    from dretrieve.jobs.encode import EncodeConfig
    from dretrieve.jobs.encode import run as encode
    from dretrieve.jobs.search import SearchConfig
    from dretrieve.jobs.search import run as search
    from dretrieve.runs.read import read_run

    config = config_of(options={"max_steps": 0, "num_train_epochs": 15.0, "learning_rate": 3e-3})
    config = replace(config, options=replace(config.options, phase=("name=warm-up,max_steps=20",)))
    result = train(config)
    assert result.steps == 20 + 30
    warm, joint = (
        [point["loss"] for point in result.curve if point["phase"] == phase] for phase in ("warm-up", "joint")
    )
    assert len(warm) == 20
    assert warm[-1] < 0.9 * warm[0]
    assert joint[-1] < joint[0]
    assert set(reader.Reader.seen) == {
        f"q-{topic}-0" for topic in ("bees", "bread", "chess", "printing", "tides", "volcano")
    }
    assert set(reader.Reader.seen.values()) == {"garden"}
    model = load_model(str(config.output))
    assert model.card.method == "reader"
    encode(EncodeConfig(model=str(config.output), corpus=str(answered), output=tmp_path / "vectors"))
    search(
        SearchConfig(
            index=tmp_path / "vectors", queries=f"{answered}:train", model=str(config.output),
            output=tmp_path / "run.txt", hits=5,
        )
    )  # fmt: skip
    run = read_run(tmp_path / "run.txt")
    first = {query_id: next(iter(run.hits(row)))[0] for row, query_id in enumerate(run.query_ids)}
    assert sum(first[f"q-{topic}-0"].startswith(topic) for topic in ("bees", "bread", "tides")) >= 2


def test_cached_and_direct_gradients_train_alike(reader, config_of, tmp_path):
    """The same pieces, dropout on: the same bits; without dropout also however a batch is cut."""
    from dretrieve.training import step as module

    def weights(name, **options):
        config = config_of(options=options, output=tmp_path / name)
        train(config)
        return load_file(config.output / "model.safetensors")

    cached = weights("cached", grad_cache=60)
    made = module.Stepper.__init__

    def direct(self, *arguments):
        made(self, *arguments)
        self._cached = False

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module.Stepper, "__init__", direct)
        plain = weights("plain", grad_cache=60)
    assert cached.keys() == plain.keys()
    assert all(torch.equal(cached[name], plain[name]) for name in cached)


def test_frozen_weights_are_not_in_a_checkpoint_which_still_encodes(reader, config_of, tiny_t5, tmp_path):
    """The rest is the backbone's; what is resumed from it is the same to the byte."""
    own, keep = {"frozen": True}, {"keep_checkpoints": True, "save_total_limit": 9}
    frozen = config_of(own, keep, output=tmp_path / "frozen")
    whole = config_of(None, keep, output=tmp_path / "whole")
    sizes = []
    for config in (frozen, whole):
        train(config)
        sizes.append((config.output / "checkpoints/step-00000008/model.safetensors").stat().st_size)
    assert sizes[0] < sizes[1] / 2
    final, before = load_file(frozen.output / "model.safetensors"), load_file(tiny_t5 / "model.safetensors")
    changed = {name for name in final if not torch.equal(final[name], before[name])}
    assert changed
    assert all(name.startswith("decoder.block") for name in changed)
    last = load_model(str(frozen.output / "checkpoints/step-00000008"))
    batch = TokenBatch(torch.tensor([[2, 8, 9, 3]]), torch.ones(1, 4, dtype=torch.bool))
    for name, of in load_model(str(frozen.output)).encoder.state_dict().items():
        assert torch.equal(of, last.encoder.state_dict()[name]), name
    assert torch.equal(
        last.encoder.encode_side(batch, "query").vectors, last.encoder.encode_side(batch, "passage").vectors
    )

    broken = config_of(own, output=tmp_path / "broken")
    saved = Checkpoints.save
    with pytest.MonkeyPatch.context() as patch:

        def stop(self, total, *rest):
            saved(self, total, *rest)
            if total >= 6:  # in the second phase
                raise KeyboardInterrupt

        patch.setattr(Checkpoints, "save", stop)
        with pytest.raises(KeyboardInterrupt):
            train(broken)
    assert not (broken.output / "model.safetensors").exists()
    train(broken)
    for name in ("model.safetensors", "curves.json"):
        assert (broken.output / name).read_bytes() == (frozen.output / name).read_bytes(), name


def test_another_backbone_in_its_place_is_refused(reader, config_of, tiny_t5, tmp_path):
    import shutil

    from dretrieve.errors import VerificationError

    moved = tmp_path / "backbone"
    shutil.copytree(tiny_t5, moved)
    config = config_of({"frozen": True}, {"keep_checkpoints": True}, backbone=str(moved))
    train(config)
    name = moved / "model.safetensors"
    flip(name, -5, dated=True)
    with pytest.raises(VerificationError, match="put the backbone back, or train again"):
        load_model(str(config.output / "checkpoints/step-00000008"))


def test_a_phase_that_the_method_does_not_have(reader, config_of):
    from dretrieve.errors import UsageError

    config = config_of(options={"phase": ("name=warmup,max_steps=3",)})
    with pytest.raises(UsageError, match="--phase name=warmup: reader has the phases warm-up, joint"):
        train(config)


@pytest.mark.slow
def test_killed_in_both_phases_gives_the_unbroken_bits(installed, answered, tiny_t5, tmp_path):
    def words(output):
        return [
            "train", "reader", "--backbone", tiny_t5, "--data",
            f"name=tiny,path={answered},split=train,domain=garden", "--output", output, "--batch-size", 3,
            "--train-group-size", 3, "--max-steps", 40, "--phase",
            "name=warm-up,max_steps=30,learning_rate=2e-3,lr_scheduler_type=constant", "--lr", 5e-4,
            "--grad-cache", 60, "--save-steps", 2, "--logging-steps", 7, "--device", "cpu",
        ]  # fmt: skip

    draw = random.Random(5)
    goals = (draw.randint(8, 24), draw.randint(34, 56))
    environment = installed | {"OMP_NUM_THREADS": "1"}
    unbroken, broken = killed_and_resumed(words, tmp_path, environment, goals)
    for name in ("model.safetensors", "curves.json", "manifest.json"):
        assert (unbroken / name).read_bytes() == (broken / name).read_bytes(), name
    assert np.isfinite(
        [point["loss"] for point in json.loads((broken / "curves.json").read_text())["curve"]]
    ).all()
