from __future__ import annotations

import json
import shutil
import string
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dretrieve.errors import DataError, Interrupted, PreconditionError, UsageError
from dretrieve.jobs.convert import ConvertConfig, run
from dretrieve.jobs.inspect import InspectConfig
from dretrieve.jobs.inspect import run as inspect
from dretrieve.jobs.train import TrainConfig
from dretrieve.jobs.train import run as train
from dretrieve.models.cards import read_card
from dretrieve.models.dpr_config import DprConfig
from dretrieve.models.loading import load_model
from dretrieve.store.card import ModelCard
from dretrieve.store.stage import Stage
from dretrieve.training.options import TrainOptions
from dretrieve.types import VectorSpec
from tests.common import Told, bytes_of


@pytest.fixture
def config(tiny_model, tmp_path):
    """The tiny model's weights twice, by DPR's names, the question's shifted a little."""
    weights = load_file(tiny_model / "model.safetensors")
    tensors = {f"ctx_model.{name}": tensor for name, tensor in weights.items()}
    tensors |= {f"question_model.{name}": tensor + 0.01 for name, tensor in weights.items()}
    torch.save(
        {"model_dict": tensors, "encoder_params": {"sequence_length": 20}}, tmp_path / "dpr_biencoder.3"
    )
    return ConvertConfig(
        source=tmp_path / "dpr_biencoder.3",
        form="dpr",
        backbone=str(tiny_model),
        output=tmp_path / "model",
    )


def test_a_checkpoint_becomes_a_model_once(config, tmp_path):
    result = run(config)
    assert (result.state, result.card.method) == ("converted", "dpr")
    model = load_model(str(config.output))
    assert result.parameters == sum(part.numel() for part in model.encoder.parameters())
    assert model.card.query.max_tokens == 20
    assert model.card.training["from"].startswith("facebookresearch/DPR")
    assert "dretrieve encode --model" in result.render()
    again = run(config)
    assert (again.state, again.as_json()["parameters"]) == ("up to date", result.parameters)
    run(replace(config, output=tmp_path / "other"))
    assert bytes_of(config.output) == bytes_of(tmp_path / "other")
    shown = inspect(InspectConfig(path=str(config.output), verify=True))
    assert (shown.kind, shown.problems) == ("model", ())


def test_another_checkpoint_is_refused_and_forced(config):
    run(config)
    tensors = torch.load(config.source, weights_only=True)
    tensors["model_dict"]["ctx_model.embeddings.LayerNorm.bias"] += 1
    torch.save(tensors, config.source)
    with pytest.raises(
        PreconditionError, match=r"holds the result of other options \(input checkpoint.*--force"
    ):
        run(config)
    before = ModelCard.load(config.output).passage.files
    assert run(replace(config, force=True)).state == "converted"
    assert ModelCard.load(config.output).passage.files != before


def test_a_replaced_model_stands_until_the_new_one_is_ready_or_another_process_has_made_it(
    config, monkeypatch
):
    run(config)
    before, beside = bytes_of(config.output), []
    given = torch.load(config.source, weights_only=True)
    torch.save(given | {"encoder_params": {"sequence_length": 21}}, config.source)
    monkeypatch.setenv("DRETRIEVE_STALE", "replace")

    def killed(stage):
        raise Interrupted("stopped")

    def meanwhile(stage):
        beside.append(stage)
        if len(beside) == 1:
            assert run(config).state == "converted"

    monkeypatch.setattr(Stage, "refuse_strangers", killed)
    with pytest.raises(Interrupted):
        run(config)
    assert bytes_of(config.output) == before
    monkeypatch.setattr(Stage, "refuse_strangers", meanwhile)
    result = run(config)
    assert (result.state, result.card.query.max_tokens, len(beside)) == ("up to date", 21, 2)


def test_a_converted_model_is_trained_on(config, tiny_collection, tmp_path):
    run(config)
    fast = {"max_steps": 2, "per_device_train_batch_size": 3, "device": "cpu", "precision": "fp32"}
    result = train(
        TrainConfig(
            method="dpr",
            method_config=DprConfig(),
            backbone=str(config.output),
            data=(f"{tiny_collection}:train",),
            output=tmp_path / "trained",
            options=TrainOptions(**fast),
        )
    )
    assert result.steps == 2
    card = ModelCard.load(tmp_path / "trained")
    assert (card.query.max_tokens, card.query.settings) == (20, {"straight_quotes": True})
    assert card.passage.settings == {}


def test_a_dry_run_compares_everything_and_writes_nothing(config):
    result = run(replace(config, dry_run=True))
    assert result.state == "to do"
    assert result.text.endswith("to a model of the method dpr")
    assert not config.output.exists()
    tensors = torch.load(config.source, weights_only=True)
    del tensors["model_dict"]["ctx_model.embeddings.LayerNorm.bias"]
    torch.save(tensors, config.source)
    with pytest.raises(DataError, match="lacks 1 tensor"):
        run(replace(config, dry_run=True))


def test_a_forced_dry_run_keeps_what_stands(config):
    run(config)
    assert run(replace(config, force=True, dry_run=True)).state == "to do"
    assert run(replace(config, dry_run=True)).state == "up to date"
    assert run(config).state == "up to date"


def test_what_cannot_be_converted(config, tmp_path):
    with pytest.raises(UsageError, match="--from colbert is unknown"):
        run(replace(config, form="colbert"))
    with pytest.raises(PreconditionError, match="none.bin does not exist"):
        run(replace(config, source=tmp_path / "none.bin"))
    with pytest.raises(PreconditionError, match="model 'nobody' does not exist"):
        run(replace(config, backbone="nobody"))
    config.output.mkdir()
    (config.output / "thesis.txt").write_text("mine")
    for dry_run in (True, False):
        with pytest.raises(PreconditionError, match="holds thesis.txt and was not made by convert"):
            run(replace(config, dry_run=dry_run))
    assert (config.output / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("layers", ["1,0", "1,1", "one", "0,", "-1"])
def test_layers_that_cannot_be_kept(layers, tiny_model, tmp_path):
    with pytest.raises(
        UsageError, match=f"layers '{layers}' of a model of 2: give numbers from 0 to 1, each"
    ):
        run(ConvertConfig(source=tiny_model, layers=layers, output=tmp_path / "cut"))


def test_layers_of_a_model_that_does_not_say_its_pooling(tiny_model, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(tiny_model, bare, ignore=shutil.ignore_patterns("modules.json"))
    with pytest.raises(UsageError, match="say by --pooling"):
        run(ConvertConfig(source=bare, layers="0", output=tmp_path / "cut"))
    result = run(ConvertConfig(source=bare, layers="0", said={"pooling": "mean"}, output=tmp_path / "cut"))
    assert result.card.passage.pooling == "mean"


def test_prompts_alone_are_said_of_a_folder_that_says_its_pooling(tiny_model, tmp_path):
    said = {"query_template": "query: {text}", "passage_template": "passage: {title} {text}"}
    config = ConvertConfig(source=tiny_model, said=said, output=tmp_path / "e5")
    card, before = run(config).card, read_card(tiny_model)[0]
    assert (card.query.template, card.passage.template) == tuple(said.values())
    assert card.passage.pooling == before.passage.pooling
    assert card.passage.normalize == before.passage.normalize
    assert card.training["from"] == "a folder, with query_template, passage_template said"
    with pytest.raises(UsageError, match="say by --pooling"):
        run(replace(config, said={}))
    with pytest.raises(UsageError, match="is the source itself; choose another folder"):
        replace(config, output=tiny_model, force=True)


def test_what_sentence_transformers_will_not_do_with_the_folder_is_said(tiny_model, tmp_path):
    said, told = {"query_template": "{text} [SEP]"}, Told()
    run(ConvertConfig(source=tiny_model, said=said, output=tmp_path / "ended"), told)
    line = "SentenceTransformer does not know the template '{text} [SEP]': give it every query in that form"
    assert told.lines[1:] == [line]


def test_a_t5_of_pickles_becomes_a_backbone(small_t5, tmp_path):
    theirs, output = tmp_path / "theirs", tmp_path / "t5"
    shutil.copytree(small_t5(), theirs)
    torch.save(load_file(theirs / "model.safetensors"), theirs / "pytorch_model.bin")
    (theirs / "model.safetensors").unlink()
    config = ConvertConfig(source=theirs, form="t5", output=output)
    assert run(replace(config, dry_run=True)).text == f"would convert {theirs} to a T5"
    result = run(config)
    assert (result.state, result.card.method) == ("converted", "t5")
    then = f"next: dretrieve train reatt --backbone {output} --data path=DIR,split=train,run=RUN,depth=10 "
    assert then in result.render()
    again = run(config)
    assert (again.state, again.parameters, again.card) == ("up to date", result.parameters, result.card)
    said = json.loads((theirs / "config.json").read_text())
    (theirs / "config.json").write_text(json.dumps(said | {"retrieval_layer": 2, "retrieval_head": 1}))
    reatt = run(replace(config, form="reatt", output=tmp_path / "reatt"))
    assert (reatt.card.method, reatt.card.method_config["bi_layers"]) == ("reatt", 2)
    with pytest.raises(UsageError, match="--from t5 reads a whole folder; leave --backbone"):
        run(replace(config, backbone="bert"))
    with pytest.raises(PreconditionError, match="is no folder; --from t5 reads weights and config.json"):
        run(replace(config, source=theirs / "pytorch_model.bin"))


@pytest.fixture
def tokens(tiny_model, tiny_collection, tmp_path):
    said = {"pooling": "tokens", "dim": 8}
    return ConvertConfig(source=tiny_model, said=said, pca=str(tiny_collection), output=tmp_path / "tokens")


def test_untrained_states_keep_their_principal_components(tokens, tiny_model, tiny_collection):
    """Those of transformers' own states of every passage's words, found by another decomposition."""
    from transformers import AutoModel, AutoTokenizer

    assert run(tokens).card.vectors == VectorSpec(8, "many", "maxsim_sum")
    found = load_model(str(tokens.output)).encoder.encoder.projection.weight
    tokenizer, model = AutoTokenizer.from_pretrained(tiny_model), AutoModel.from_pretrained(tiny_model)
    states = []
    with torch.no_grad():
        for row in map(json.loads, (tiny_collection / "corpus.jsonl").read_text().splitlines()):
            read = tokenizer(
                f"{row['title']} {row['text']}", return_tensors="pt", return_token_type_ids=False
            )
            kept = [
                piece not in string.punctuation
                for piece in tokenizer.convert_ids_to_tokens(read.input_ids[0])
            ]
            states.append(model(**read).last_hidden_state[0][kept])
    expected = torch.linalg.svd(torch.nn.functional.normalize(torch.cat(states), dim=-1))[2][:8]
    torch.testing.assert_close(found.abs(), expected.abs(), atol=1e-4, rtol=0)
    assert (found.gather(1, found.abs().argmax(dim=1, keepdim=True)) > 0).all()


def test_principal_components_are_made_once_and_depend_on_the_collection(tokens, tmp_path):
    assert run(replace(tokens, dry_run=True)).state == "to do"
    assert (run(tokens).state, run(tokens).state) == ("converted", "up to date")
    run(replace(tokens, output=tmp_path / "other"))
    assert bytes_of(tokens.output) == bytes_of(tmp_path / "other")
    corpus = Path(tokens.pca) / "corpus.jsonl"
    corpus.write_text(corpus.read_text().replace("the ", "bees "))
    with pytest.raises(PreconditionError, match=r"other options \(input collection"):
        run(tokens)


def test_layers_are_dropped_before_components_are_found(tokens, tmp_path):
    whole, cut = run(tokens), run(replace(tokens, layers="0", output=tmp_path / "cut"))
    weights = [load_model(str(of.output)).encoder.encoder.projection.weight for of in (whole, cut)]
    assert (weights[0] - weights[1]).abs().max() > 0.01
    assert run(replace(tokens, layers="0", output=tmp_path / "cut")).state == "up to date"


@pytest.mark.parametrize(
    ("changes", "said", "sentence"),
    [
        ({"pca": ""}, {}, "--pooling tokens, --dim and --pca go together"),
        ({}, {"pooling": "mean"}, "--pooling tokens, --dim and --pca go together"),
        ({}, {"dim": 33}, "--dim 33: .* with states of 32 numbers have no so many"),
        ({"pca": "nowhere"}, {}, "'nowhere' does not exist"),
        ({"form": "dpr"}, {}, "--from and --backbone are for a checkpoint's file"),
        ({"source": Path("minilm"), "pca": ""}, {}, "--pooling tokens, --dim and --pca go together"),
        ({"source": Path("nobody"), "pca": ""}, {}, "model 'nobody' does not exist"),
    ],
)
def test_what_gives_no_principal_components(tokens, changes, said, sentence):
    with pytest.raises((UsageError, PreconditionError), match=sentence):
        run(replace(tokens, said={**tokens.said, **said}, **changes))
    assert not tokens.output.exists()


def test_a_model_of_token_vectors_has_its_own_projection(tokens, tmp_path):
    run(tokens)
    with pytest.raises(UsageError, match="has token vectors already"):
        run(replace(tokens, source=tokens.output, output=tmp_path / "again"))
