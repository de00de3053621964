"""`sb-moe`: where it is its encoder, its two sides, its folder, what is trained, what is refused."""

from __future__ import annotations

import errno
import os
import shutil
from dataclasses import replace

import pytest
import torch

from dretrieve.encoding.pipeline import encode_records
from dretrieve.errors import PreconditionError, UsageError, VerificationError
from dretrieve.jobs.train import run
from dretrieve.models.base import TokenBatch
from dretrieve.models.config import ONE_PHASE
from dretrieve.models.loading import load_model
from dretrieve.models.model_folder import save_model
from dretrieve.models.sb_moe import SbMoe
from dretrieve.models.sb_moe_config import SbMoeConfig
from dretrieve.models.shared import Shared
from dretrieve.models.shared_config import SharedConfig
from dretrieve.models.taser import Taser
from dretrieve.models.taser_config import TaserConfig
from dretrieve.store.card import ModelCard
from dretrieve.types import Record
from tests.common import num_resumed, training

MEAN = {"pooling": "mean", "normalize": "no"}
RECORDS = [
    Record(str(row), "", f"{word} hive ocean") for row, word in enumerate(("bees", "moon", "lava", "rook"))
]


def batch(lengths=(7, 3, 12), seed=0):
    generator = torch.Generator().manual_seed(seed)
    ids = torch.zeros(len(lengths), max(lengths), dtype=torch.int64)
    for row, length in enumerate(lengths):
        ids[row, :length] = torch.randint(5, 60, (length,), generator=generator)
    return TokenBatch(ids, ids > 0, tuple(f"{seed}-{row}" for row in range(len(lengths))))


def build(folder, **options):
    torch.manual_seed(1)
    return SbMoe.build(SbMoeConfig(**(MEAN | options)), str(folder)).eval()


def vectors(method, of=None, side="query"):
    with torch.no_grad():
        return method.encode_side(of or batch(), side).vectors


def silence(method):
    with torch.no_grad():
        for name, parameter in method.named_parameters():
            if "experts." in name and ".2." in name:
                parameter.zero_()
    return method


@pytest.mark.parametrize("normalize", ["yes", "no"])
@pytest.mark.parametrize("options", [{}, {"gate": "soft"}, {"block": "sides"}, {"num_experts": 1}])
def test_experts_that_give_zeros_are_the_encoder_bit_for_bit(deep_model, options, normalize):
    method = silence(build(deep_model, **options, normalize=normalize))
    plain = Shared.build(SharedConfig(pooling="mean", normalize=normalize), str(deep_model)).eval()
    for side in ("query", "passage"):
        assert torch.equal(vectors(method, side=side), vectors(plain, side=side))


@pytest.mark.parametrize("options", [{}, {"block": "sides"}, {"gate": "random"}])
def test_one_forward_of_both_sides_is_two(deep_model, options):
    method = build(deep_model, **options)
    query, passage = batch(), batch((5, 9), seed=2)
    with torch.no_grad():
        both = method.encode_pair(query, passage)
    for found, of, side in zip(both, (query, passage), ("query", "passage"), strict=True):
        torch.testing.assert_close(found.vectors, vectors(method, of, side), atol=1e-5, rtol=1e-5)


def test_what_is_kept_follows_the_gate_and_set(deep_model):
    assert build(deep_model).choices.activated == 1
    assert build(deep_model, gate="soft").choices.activated == 0
    method = build(deep_model)
    one = vectors(method)
    method.choose({"activated": 0})
    assert not torch.allclose(vectors(method), one)


def test_saved_and_loaded_are_the_same_bytes(deep_model, tmp_path):
    method = build(deep_model, gate="scaled", balance_weight=0.1)
    card = save_model(method, tmp_path / "model")
    assert (card.inference, set(card.query.parts)) == ({"activated": 1}, {"method.safetensors"})
    model = load_model(tmp_path / "model", "cpu", "fp32")
    again = model.encoder.eval()
    again.to("cpu")
    first, second = method.state_dict(), again.state_dict()
    assert set(first) == set(second)
    assert all(torch.equal(first[name], second[name]) for name in first)
    found = encode_records(model, "passage", RECORDS, dtype="float32")
    assert found.values.shape == (len(RECORDS), method.dim)


def test_a_block_for_each_side_leaves_the_other_sides_fingerprint(deep_model, tmp_path):
    method = build(deep_model, block="sides")
    before = save_model(method, tmp_path / "one")
    with torch.no_grad():
        method.query_block.experts[0][0].weight.add_(1)
    after = save_model(method, tmp_path / "two")
    assert after.fingerprint("passage") == before.fingerprint("passage")
    assert after.fingerprint("query") != before.fingerprint("query")


def test_the_encoder_has_its_share_of_the_rate_and_the_noise_none(deep_model):
    (phase,) = ONE_PHASE
    method = build(deep_model)
    block, encoder = method.parameter_groups(phase)
    assert (block.name, block.scale, encoder.name, encoder.scale) == ("block", 1.0, "encoder", 0.01)
    trained = {id(of) for group in (block, encoder) for of in group.parameters}
    left = {name for name, of in method.named_parameters() if id(of) not in trained}
    assert left == {"block.noise.weight", "block.noise.bias"}
    frozen = build(deep_model, encoder_scale=0.0).train()
    assert [group.name for group in frozen.parameter_groups(phase)] == ["block"]
    assert not frozen.encoder.training
    assert frozen.block.training


def test_it_stands_on_a_shared_model_and_a_taser_of_one_expert(deep_model, tmp_path):
    shared = Shared.build(SharedConfig(**MEAN), str(deep_model))
    save_model(shared, tmp_path / "shared")
    save_model(Taser.build(TaserConfig(num_experts=1, **MEAN), str(deep_model)), tmp_path / "taser")
    expected = vectors(build(deep_model))
    for name in ("shared", "taser"):
        assert torch.equal(vectors(build(tmp_path / name)), expected)
    save_model(Taser.build(TaserConfig(every=2, **MEAN), str(deep_model)), tmp_path / "experts")
    with pytest.raises(PreconditionError, match="sb_moe would drop"):
        build(tmp_path / "experts")


@pytest.mark.parametrize("other", [{"num_experts": 3}, {"expert_hidden": 7}, {"gate": "soft"}])
def test_a_model_of_another_block_is_not_trained_further(deep_model, tmp_path, other):
    save_model(build(deep_model), tmp_path / "model")
    assert torch.equal(vectors(build(tmp_path / "model")), vectors(build(deep_model)))
    with pytest.raises(PreconditionError, match="num_experts"):
        build(tmp_path / "model", **other)


@pytest.mark.parametrize(
    "options",
    [{"num_experts": 0}, {"gate": "best"}, {"gate": "uniform", "gate_layers": 3}, {"encoder_scale": 2.0}],
)
def test_options_that_mean_nothing_are_refused(options):
    with pytest.raises(UsageError, match="--" + next(reversed(options)).replace("_", "-")):
        SbMoeConfig(**options)


def test_a_card_of_more_kept_experts_than_there_are_is_refused(deep_model, tmp_path):
    card = save_model(build(deep_model), tmp_path / "model")
    replace(card, inference={"activated": 7}).save(tmp_path / "model")
    assert ModelCard.load(tmp_path / "model").inference == {"activated": 7}
    with pytest.raises(UsageError, match="6 experts"):
        load_model(tmp_path / "model", "cpu", "fp32")


def test_a_frozen_encoder_is_the_backbones_file(deep_model, tmp_path):
    place, weights = tmp_path / "base", "model.safetensors"
    shutil.copytree(deep_model, place)
    mode = (place / weights).stat().st_mode
    save_model(build(place), tmp_path / "trained")
    method = build(place, encoder_scale=0.0)
    for _ in range(2):  # the second finds the first's link
        save_model(method, tmp_path / "frozen")
    frozen, trained = (tmp_path / name / "backbone" / weights for name in ("frozen", "trained"))
    assert frozen.samefile(place / weights)
    assert not trained.samefile(place / weights)
    assert (place / weights).stat().st_mode == mode
    assert {path.name for path in frozen.parent.iterdir()} == {path.name for path in trained.parent.iterdir()}
    torch.testing.assert_close(
        vectors(load_model(tmp_path / "frozen").encoder), vectors(method), atol=1e-5, rtol=0
    )
    save_model(load_model(tmp_path / "frozen").encoder, tmp_path / "again")
    assert (tmp_path / "again" / "backbone" / weights).samefile(place / weights)
    with open(place / weights, "r+b") as file:  # what no command here does
        file.seek(-1, 2)
        file.write(b"\x77")
    with pytest.raises(VerificationError, match=r"model.safetensors is not the file"):
        load_model(tmp_path / "frozen")


def test_a_frozen_encoder_is_a_copy_where_no_link_can_be(deep_model, tmp_path, monkeypatch):
    def refused(*_):
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    method = build(deep_model, encoder_scale=0.0)
    monkeypatch.setattr(os, "link", refused)
    save_model(method, tmp_path / "far")
    monkeypatch.undo()
    method.backbone_name = "minilm"  # a package's
    save_model(method, tmp_path / "packaged")
    for name in ("far", "packaged"):
        assert (tmp_path / name / "backbone" / "model.safetensors").stat().st_nlink == 1
        found = vectors(load_model(tmp_path / name).encoder)
        torch.testing.assert_close(found, vectors(method), atol=1e-5, rtol=0)


def config_of(backbone, collection, output, **own):
    own = {"pooling": "mean", "normalize": "yes"} | own
    options = {"max_steps": 4, "per_device_train_batch_size": 4, "learning_rate": 1e-2, "save_steps": 2}
    return training("sb_moe", own, backbone, f"{collection}:train", output, grad_cache=64, **options)


@pytest.mark.parametrize(
    "own",
    [
        pytest.param({}, marks=pytest.mark.slow),
        {"gate": "random", "encoder_scale": 0.0},
        {"gate": "straight", "block": "sides"},
    ],
)
def test_interrupted_and_resumed_is_the_unbroken_model(deep_model, tiny_collection, tmp_path, own):
    assert num_resumed(lambda output: config_of(deep_model, tiny_collection, output, **own), tmp_path) >= 2


def test_training_moves_neither_the_noise_nor_a_frozen_encoder(deep_model, tiny_collection, tmp_path):
    for steps in (2, 4):
        config = config_of(deep_model, tiny_collection, tmp_path / str(steps), encoder_scale=0.0)
        run(replace(config, options=replace(config.options, max_steps=steps)))
    few, many = (load_model(tmp_path / name, "cpu", "fp32").encoder.state_dict() for name in ("2", "4"))
    moved = {name for name in few if not torch.equal(few[name], many[name])}
    assert moved
    assert all(name.startswith("block.") and ".noise." not in name for name in moved)


def test_the_pipeline_with_all_experts_and_its_refusals(cli_here, deep_model, tiny_collection, tmp_path):
    model, top, every, queries = (tmp_path / name for name in ("m", "top", "all", "q"))
    cli_here(
        "train", "sb-moe", "--backbone", deep_model, "--data", f"{tiny_collection}:train",
        "--pooling", "mean",
        "--output", model, "--max-steps", 2, "--batch-size", 4, "--device", "cpu",
    )  # fmt: skip
    cli_here("encode", "--model", model, "--corpus", tiny_collection, "--output", top)
    cli_here(
        "encode", "--model", model, "--corpus", tiny_collection, "--output", every, "--set", "activated=0"
    )
    cli_here(
        "encode",
        "--model",
        model,
        "--queries",
        f"{tiny_collection}:train",
        "--output",
        queries,
        "--set",
        "activated=0",
    )
    cli_here("validate", every)
    cli_here("search", "--index", every, "--query-embeddings", queries, "--output", tmp_path / "run.trec")
    done = cli_here(
        "search", "--index", top, "--query-embeddings", queries, "--output", tmp_path / "b.trec", code=None
    )
    assert done.code in (3, 5), done
    words = ["encode", "--model", model, "--corpus", tiny_collection, "--output", tmp_path / "x"]
    assert "activated=9" in cli_here(*words, "--set", "activated=9", code=2).err
    assert "activated" in cli_here(*words, "--set", "mode=ALL", code=2).err
