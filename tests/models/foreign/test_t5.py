"""A T5 of pickles becomes one of safetensors; ReAtt's own folder gives the scores that its T5 gave."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, T5ForConditionalGeneration

from dretrieve.encoding.pipeline import encode_records
from dretrieve.errors import DataError, PreconditionError
from dretrieve.models.foreign import reatt, t5
from dretrieve.models.foreign.t5 import UNUSED, weight_files
from dretrieve.models.loading import load_model
from dretrieve.models.model_folder import save_model
from dretrieve.models.t5 import load_t5
from dretrieve.types import Record

LAYER, HEAD = 2, 3
BIAS = "encoder.block.{}.layer.0.SelfAttention.relative_attention_bias.weight"


@pytest.fixture
def theirs(small_t5, tmp_path):
    """``theirs(parts=2, drop=…, add=…)``: the small T5 as hubs have it, with an output table of its own."""

    def make(parts=1, drop=(), add=None, **config):
        folder = tmp_path / "theirs"
        shutil.copytree(small_t5(), folder)
        model = T5ForConditionalGeneration.from_pretrained(folder)
        (folder / "model.safetensors").unlink()
        tensors = {name: of.clone() for name, of in model.state_dict().items() if name not in drop}
        tensors["lm_head.weight"] = tensors["lm_head.weight"] + 1
        names = [*tensors]
        tensors |= add(tensors) if add else {}
        names = [*tensors]
        for part in range(parts):
            file = f"pytorch_model-{part + 1:05d}-of-{parts:05d}.bin" if parts > 1 else "pytorch_model.bin"
            torch.save({name: tensors[name] for name in names[part::parts]}, folder / file)
        said = json.loads((folder / "config.json").read_text()) | config
        (folder / "config.json").write_text(json.dumps(said))
        model.lm_head.weight = torch.nn.Parameter(tensors["lm_head.weight"])
        return folder, model.eval()

    return make


def copied(tensors):
    """Return the first bias table for every layer, as ReAtt's authors have it, and what is never read."""
    found = {UNUSED: torch.ones(32, 4)}
    for side, layers in (("encoder", 4), ("decoder", 2)):
        first = BIAS.replace("encoder", side)
        found |= {first.format(layer): tensors[first.format(0)].clone() for layer in range(1, layers)}
    return found


@pytest.mark.parametrize("parts", [1, 2])
def test_the_same_logits_from_safetensors(theirs, tmp_path, parts):
    folder, model = theirs(
        parts, drop=("decoder.embed_tokens.weight",), add=lambda of: {UNUSED: torch.ones(32, 4)}
    )
    assert len(weight_files(folder)) == parts
    with pytest.raises(PreconditionError, match=r"no weights as safetensors.* convert FOLDER --from t5"):
        load_t5(folder)
    t5.convert(folder).save(tmp_path / "ours")
    ours = T5ForConditionalGeneration.from_pretrained(tmp_path / "ours").eval()
    ids = torch.tensor([[5, 9, 11, 1]])
    with torch.no_grad():
        expected, found = (of(input_ids=ids, decoder_input_ids=ids).logits for of in (model, ours))
    assert torch.equal(expected, found)
    tokens = [AutoTokenizer.from_pretrained(of)("queen bee").input_ids for of in (folder, tmp_path / "ours")]
    assert tokens[0] == tokens[1]


def test_scores_of_the_authors_form_are_those_of_its_t5(theirs, tmp_path):
    folder, model = theirs(add=copied, retrieval_layer=LAYER, retrieval_head=HEAD, distillation_tau=0.001)
    save_model(reatt.convert(folder), tmp_path / "ours")
    ours = load_model(str(tmp_path / "ours"))
    assert (ours.card.method, ours.card.method_config["bi_layers"]) == ("reatt", LAYER)
    assert "open" not in ours.card.source  # one head has all the weight
    tokenizer = AutoTokenizer.from_pretrained(folder)
    attention = model.encoder.block[LAYER].layer[0]

    def heads(text, weight):
        ids = tokenizer(text, return_tensors="pt").input_ids
        with torch.no_grad():
            states = model.encoder(ids, output_hidden_states=True).hidden_states[LAYER]
            found = attention.layer_norm(states) @ weight.T
        return found.view(-1, 4, 8)[:, HEAD].numpy()

    question = encode_records(ours, "query", [Record("q", "", "queen bee")], "float32")
    passage = encode_records(ours, "passage", [Record("p", "tide", "moon tide honey")], "float32")
    q = heads("question: queen bee", attention.SelfAttention.q.weight)
    k = heads("title: tide context: moon tide honey", attention.SelfAttention.k.weight)
    np.testing.assert_allclose(question.values, q, atol=1e-5)
    np.testing.assert_allclose(passage.values, k, atol=1e-5)


def wrong(tensors):
    return copied(tensors) | {BIAS.format(2): torch.zeros(32, 4)}


@pytest.mark.parametrize(
    ("made", "error", "message"),
    [
        (
            {"add": wrong, "retrieval_layer": 2, "retrieval_head": 1},
            DataError,
            r"block\.2\..* which should be a copy of encoder\.block\.0\.",
        ),
        (
            {"add": copied, "retrieval_layer": 4, "retrieval_head": 0},
            DataError,
            r"retrieval_layer 4; it is 0 to 3 \(num_layers 4\)",
        ),
        (
            {"add": copied, "retrieval_layer": 2, "retrieval_head": 9},
            DataError,
            "retrieval_head 9; it is 0 to 3",
        ),
        ({"add": copied}, DataError, "retrieval_layer None"),
        ({"model_type": "bert"}, PreconditionError, "is not the folder of a T5"),
        (
            {
                "drop": ("encoder.block.1.layer.0.layer_norm.weight",),
                "retrieval_layer": 2,
                "retrieval_head": 1,
            },
            DataError,
            r"lack .*block\.1\.layer\.0\.layer_norm\.weight",
        ),
    ],
)
def test_folders_that_do_not_fit(theirs, made, error, message):
    folder, _ = theirs(**made)
    with pytest.raises(error, match=message):
        reatt.convert(folder)


def test_a_folder_without_pickles_or_tokenizer(theirs, small_t5):
    with pytest.raises(
        PreconditionError, match=r"holds no pytorch_model\.bin; a folder with model\.safetensors"
    ):
        weight_files(small_t5())
    folder, _ = theirs()
    (folder / "tokenizer.json").unlink()
    (folder / "tokenizer_config.json").unlink()
    with pytest.raises(PreconditionError, match="holds no tokenizer; fetch its tokenizer's files too"):
        t5.convert(folder)
