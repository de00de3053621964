"""ALIGNER: a batch's scores are a run's, where it is the mean MaxSim, training and inference."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from dretrieve.errors import DataError, PreconditionError, UsageError
from dretrieve.models.aligner import Aligner
from dretrieve.models.aligner_config import AlignerConfig
from dretrieve.models.alignment import aligned
from dretrieve.models.base import Encoded, Targets
from dretrieve.models.cards import read_card
from dretrieve.models.colbert import Colbert
from dretrieve.models.colbert_config import BARE, ColbertConfig
from dretrieve.models.contrastive import in_batch_loss
from dretrieve.models.loading import load_model
from dretrieve.models.maxsim import maxsim
from dretrieve.models.model_folder import save_model
from dretrieve.scoring.alignment import aligned_pairs, parse_alignment
from dretrieve.store.embeddings import Embeddings
from dretrieve.types import Vectors, offsets_of
from tests.common import num_resumed, training

WORDS = ["top1", "top3", "top99", "p30", "da,k=1,eps=0.2", "da,k=4,eps=0.05"]


def build(folder, **options):
    torch.manual_seed(1)
    given = {"dim": 16, "query_max_len": 12, "passage_max_len": 20} | options
    return Aligner.build(AlignerConfig(**given), str(folder)).eval()


def worlds(seed, weighted, queries=4, passages=7, dim=8):
    """Queries and passages of random lengths, one token of each at least; some saliences are 0."""
    random = torch.Generator().manual_seed(seed)
    found = []
    for texts, width in ((queries, 6), (passages, 11)):
        mask = torch.rand(texts, width, generator=random) < 0.6
        mask[:, 0] = True
        vectors = torch.randn(texts, width, dim, generator=random)
        salience = torch.rand(texts, width, generator=random) * (
            torch.rand(texts, width, generator=random) < 0.8
        )
        found.append(Encoded(vectors, mask, salience if weighted else None))
    return found


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("word", WORDS)
def test_a_batch_is_scored_as_a_run(word, weighted, monkeypatch):
    query, passage = worlds(3, weighted)
    if weighted:
        query.salience[0] = 0
    whole = aligned(query, passage, parse_alignment(word))
    ragged = []
    for side in (query, passage):
        weights = None if side.salience is None else side.salience[side.mask].numpy()
        offsets = offsets_of(side.mask.sum(dim=1).numpy())
        ragged.append(Vectors(side.vectors[side.mask].numpy(), offsets, weights))
    rows, offsets = np.tile(np.arange(7, dtype=np.int32), 4), np.arange(5) * 7
    expected = aligned_pairs(ragged[1], ragged[0], offsets, rows, alignment=parse_alignment(word))
    torch.testing.assert_close(whole, torch.from_numpy(expected).view(4, 7), atol=1e-5, rtol=1e-5)
    monkeypatch.setattr("dretrieve.models.maxsim.BLOCK_PRODUCTS", 1)
    torch.testing.assert_close(aligned(query, passage, parse_alignment(word)), whole, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("word", WORDS)
def test_the_gradient_is_the_difference(word, check_gradient, monkeypatch):
    query, passage = worlds(4, weighted=True)
    weights = torch.randn(4, 7, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    monkeypatch.setattr("dretrieve.models.maxsim.BLOCK_PRODUCTS", 400)

    def total(*parts):
        sides = [replace(query, vectors=parts[0], salience=parts[1])]
        sides.append(replace(passage, vectors=parts[2], salience=parts[3]))
        return (weights * aligned(*sides, parse_alignment(word)).double()).sum()

    given = [part.clone().requires_grad_() for of in (query, passage) for part in of.cached()]
    check_gradient(total, given, 2e-3, atol=2e-5, rtol=3e-2)


def test_tokens_of_next_to_no_salience_have_a_finite_gradient():
    query, passage = worlds(6, weighted=True)
    query.salience[:] = 1e-25
    given = [part.clone().requires_grad_() for of in (query, passage) for part in of.cached()]
    sides = [replace(query, vectors=given[0], salience=given[1])]
    sides.append(replace(passage, vectors=given[2], salience=given[3]))
    aligned(*sides, parse_alignment("top2")).sum().backward()
    assert all(of.grad.isfinite().all() for of in given)


def test_top_1_without_salience_trains_as_the_mean_maxsim_bit_for_bit(deep_model):
    method = build(deep_model)
    query, passage = worlds(5, weighted=False)
    targets = Targets(torch.tensor([0, 2, 4, 6]), torch.ones(4, 7, dtype=torch.bool))
    gradients = []
    for how in ("method", "maxsim"):
        given = [of.vectors.clone().requires_grad_() for of in (query, passage)]
        sides = [replace(of, vectors=own) for of, own in zip((query, passage), given, strict=True)]
        if how == "method":
            loss = method.loss(*sides, targets)
        else:
            loss = in_batch_loss(maxsim(*sides, mean=True), targets, temperature=0.05)
        loss.total.backward()
        gradients.append([loss.total.detach(), *(of.grad for of in given)])
    for ours, theirs in zip(*gradients, strict=True):
        assert torch.equal(ours, theirs)


def test_its_parts_and_what_each_side_depends_on(deep_model, tmp_path):
    plain, method = build(deep_model), build(deep_model, salience="entropy")
    width = method.encoder.width
    added = [sum(of.numel() for of in x.parameters()) for x in (plain.encoder.backbone, plain, method)]
    assert added[1] - added[0] == 16 * width
    assert added[2] - added[1] == 2 * (width + 1)
    assert "query.safetensors" in method.files("query")
    assert "query.safetensors" not in method.files("passage")
    save_model(method, tmp_path / "model", {})
    card, _ = read_card(tmp_path / "model")
    assert (card.vectors.kind, card.vectors.score) == ("many", "alignment")
    assert card.query.settings["alpha"] == 0.5
    assert card.passage.settings["alpha"] == 0.4
    same = {"alignment": "top4"}
    for side in ("query", "passage"):
        assert card.fingerprint(side, same) == card.fingerprint(side), "an alignment changes no vector"
    assert card.fingerprint("passage", {"max_tokens": 30}) != card.fingerprint("passage")
    assert card.fingerprint("query", {"max_tokens": 30}) == card.fingerprint("query")
    again = Aligner.build(AlignerConfig(), str(tmp_path / "model"))
    assert again.config == method.config
    save_model(again, tmp_path / "again", {})
    for side in ("query", "passage"):
        assert read_card(tmp_path / "again")[0].fingerprint(side) == card.fingerprint(side)
    with pytest.raises(UsageError, match="positions"):
        load_model(str(tmp_path / "model"), settings={"max_tokens": 4000})
    longer = load_model(str(tmp_path / "model"), settings={"max_tokens": 30})
    assert longer.tokenizers["passage"].card.max_tokens == 30
    assert longer.tokenizers["query"].card.max_tokens == 12


def test_what_iterates_is_trained_further_as_it_was(deep_model, tmp_path):
    method = build(deep_model, salience="entropy", solver="eq5", iterations=3)
    save_model(method, tmp_path / "model", {})
    for options in ({}, {"solver": "eq5"}):
        assert Aligner.build(AlignerConfig(**options), str(tmp_path / "model")).config == method.config
    assert build(deep_model, salience="entropy", solver="scaled").config.iterations == 20


@pytest.mark.parametrize("salience", ["none", "entropy"])
def test_a_colbert_that_adds_no_tokens_is_where_training_begins(deep_model, tmp_path, salience):
    colbert = Colbert.build(ColbertConfig(dim=16, passage_max_len=20, **BARE), str(deep_model))
    save_model(colbert, tmp_path / "bare", {})
    method = build(tmp_path / "bare", dim=0, salience=salience)
    assert method.config.dim == 16
    assert torch.equal(method.encoder.projection.weight, colbert.encoder.projection.weight)
    assert {name for name, _ in method.named_parameters()} == {
        name for name, _ in build(deep_model, salience=salience).named_parameters()
    }
    with pytest.raises(DataError, match="another shape .* give --dim 16"):
        build(tmp_path / "bare", dim=8)
    save_model(Colbert.build(ColbertConfig(), str(deep_model)), tmp_path / "filled", {})
    with pytest.raises(
        PreconditionError, match="get markers or .*--query-augmentation no --query-marker none"
    ):
        build(tmp_path / "filled")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"alignment": "first"}, "'first' is none; expected top1"),
        ({"salience": "none", "alpha_query": 0.3}, "--alpha-query says how .* --salience is none"),
        ({"alpha_query": 0.3}, "--alpha-query says how"),
        ({"salience": "relu", "alpha_query": 0.3}, "--alpha-query means nothing to --salience relu"),
        ({"salience": "hard", "epsilon": 0.3}, "--epsilon means nothing to --salience hard"),
        ({"salience": "entropy", "iterations": 3}, "--iterations counts the steps of eq5"),
        ({"salience": "entropy", "alpha_query": 1.5}, "--alpha-query 1.5"),
    ],
)
def test_options_that_mean_nothing_are_refused(deep_model, options, said):
    with pytest.raises(UsageError, match=said):
        build(deep_model, **options)


def config_of(backbone, collection, output, own):
    own = {"dim": 8, "query_max_len": 12, "passage_max_len": 24} | own
    options = {"max_steps": 5, "per_device_train_batch_size": 4, "save_steps": 2, "learning_rate": 1e-3}
    return training("aligner", own, backbone, f"{collection}:train", output, grad_cache=64, **options)


def test_interrupted_and_resumed_is_the_unbroken_model(deep_model, tiny_collection, tmp_path):
    own = {"salience": "entropy", "alignment": "top2"}
    assert num_resumed(lambda output: config_of(deep_model, tiny_collection, output, own), tmp_path) >= 4


@pytest.mark.parametrize("family", ["bert", "t5"])
def test_the_pipeline(cli_here, deep_model, small_t5, tiny_collection, tmp_path, family):
    """Trained with a salience, chosen on --dev, encoded, searched by several alignments over one folder."""
    backbone = deep_model if family == "bert" else small_t5("v1.1")
    model, passages, queries = (tmp_path / name for name in ("m", "p", "q"))
    cli_here(
        "train", "aligner", "--backbone", backbone, "--data", f"{tiny_collection}:train", "--dim", 16,
        "--salience", "entropy", "--alignment", "top2", "--lowercase", "yes", "--passage-max-len", 40,
        "--output", model,
        "--dev", f"{tiny_collection}:train", "--max-steps", 2, "--batch-size", 4, "--device", "cpu",
        "--learning-rate", 1e-2,
    )  # fmt: skip
    cli_here("encode", "--model", model, "--corpus", tiny_collection, "--output", passages)
    cli_here("encode", "--model", model, "--queries", f"{tiny_collection}:train", "--output", queries)
    cli_here("validate", passages)
    stored = Embeddings.open(passages)
    weights = stored.all_vectors().weights
    assert stored.extra["inference"] == {"alignment": "top2", "max_tokens": 40}
    assert weights is not None
    assert (weights > 0).any()
    # A gate that is shut is 1e-7 or 0, as the machine rounds it.
    assert (weights < 1e-3 * weights.max()).mean() > 0.2, "a share of .4 leaves many without"
    search = ["search", "--index", passages, "--query-embeddings", queries, "--output"]
    for word in ("top1", "top2", "p40", "da,k=2,eps=0.1"):
        cli_here(*search, tmp_path / f"{word}.trec", "--set", f"alignment={word}")
    cli_here(*search, tmp_path / "default.trec")
    runs = {path.name: path.read_bytes() for path in tmp_path.glob("*.trec")}
    assert runs["default.trec"] == runs["top2.trec"]
    assert len(set(runs.values())) == 4
    with_model = ["search", "--index", passages, "--queries", f"{tiny_collection}:train", "--model", model]
    cli_here(*with_model, "--output", tmp_path / "model.trec", "--set", "alignment=p40")
    assert [line.split()[:3] for line in (tmp_path / "model.trec").read_text().splitlines()] == [
        line.split()[:3] for line in runs["p40.trec"].decode().splitlines()
    ]
    for side in (("--queries", f"{tiny_collection}:train"), ("--corpus", tiny_collection)):
        ignored = (
            "encode",
            "--model",
            model,
            *side,
            "--output",
            tmp_path / "none",
            "--set",
            "alignment=top1",
        )
        assert "give it to `dretrieve search --set alignment=top1`" in cli_here(*ignored, code=2).err
    said = cli_here(*search, tmp_path / "x.trec", "--set", "alignment=p0.5").err
    assert "alignment p0.5 is top1 here" in said
    assert "expected top1" in cli_here(*search, tmp_path / "y.trec", "--set", "alignment=x", code=2).err
    short = [*with_model[:2], tmp_path / "short", *with_model[3:], "--output", tmp_path / "z.trec"]
    words = ["encode", "--model", model, "--corpus", tiny_collection, "--output", tmp_path / "short"]
    cli_here(*words, "--set", "max_tokens=6")
    assert Embeddings.open(tmp_path / "short").all_vectors().values.shape[0] < len(weights)
    assert "of a model" in cli_here(*short, code=5).err
    cli_here(*short, "--set", "max_tokens=6")
