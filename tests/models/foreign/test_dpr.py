"""DPR's checkpoints: the converted model's vectors are those of the authors' forward, written here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from dretrieve.encoding.pipeline import encode_records
from dretrieve.errors import DataError
from dretrieve.models.foreign.checkpoint import ForeignCheckpoint, read_checkpoint
from dretrieve.models.foreign.dpr import convert
from dretrieve.models.loading import load_model
from dretrieve.models.model_folder import save_model
from dretrieve.types import Record

PARAMS = {"do_lower_case": True, "projection_dim": 0, "sequence_length": 24}
QUESTIONS = ["who keeps the bee’s hive", "Moon tide", "queen " * 40]
PASSAGES = [("bees 0", "the honey bee hive."), ("", "moon tide ocean"), ("chess", "rook bishop knight " * 12)]


def test_vectors_are_those_of_the_authors_forward(tiny_model, two_berts, dpr_tensors, save_state, tmp_path):
    """Cut and padded to 24 tokens by transformers, mask = not 0, segments 0, the [CLS] state."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)

    def reference(bert, texts, pairs=None):
        ids = tokenizer(
            texts, pairs, max_length=24, padding="max_length", truncation=True, return_tensors="pt"
        )["input_ids"]
        with torch.no_grad():
            states = bert(
                input_ids=ids, token_type_ids=torch.zeros_like(ids), attention_mask=(ids != 0).long()
            )
        return states.last_hidden_state[:, 0]

    checkpoint = read_checkpoint(save_state(dpr_tensors, PARAMS))
    save_model(convert(checkpoint, str(tiny_model)), tmp_path / "model")
    model = load_model(str(tmp_path / "model"))
    assert model.card.method == "dpr"
    questions = [Record(str(row), "", text) for row, text in enumerate(QUESTIONS)]
    ours = torch.from_numpy(encode_records(model, "query", questions, "float32").values)
    straight = [text.replace("’", "'") for text in QUESTIONS]
    torch.testing.assert_close(ours, reference(two_berts["question_model"], straight), atol=1e-5, rtol=0)
    assert not torch.allclose(ours[0], reference(two_berts["question_model"], QUESTIONS[:1])[0], atol=1e-3)
    passages = [Record(str(row), title, text) for row, (title, text) in enumerate(PASSAGES)]
    ours = torch.from_numpy(encode_records(model, "passage", passages, "float32").values)
    bert = two_berts["ctx_model"]
    theirs = [
        reference(bert, [title], [text]) if title else reference(bert, [text]) for title, text in PASSAGES
    ]
    torch.testing.assert_close(ours, torch.cat(theirs), atol=1e-5, rtol=0)


def test_a_backbone_that_treats_capitals_otherwise_is_refused(tiny_model, dpr_tensors, tmp_path):
    backbone = Path(shutil.copytree(tiny_model, tmp_path / "cased"))
    told = json.loads((backbone / "tokenizer.json").read_text())
    told["normalizer"]["lowercase"] = False
    (backbone / "tokenizer.json").write_text(json.dumps(told))
    checkpoint = ForeignCheckpoint(tmp_path, dpr_tensors, PARAMS)
    with pytest.raises(DataError, match=r'says do_lower_case True, .* write "do_lower_case": true into'):
        convert(checkpoint, str(backbone))
    config = json.loads((backbone / "tokenizer_config.json").read_text())
    config |= {"do_lower_case": True, "tokenizer_class": "BertTokenizer"}
    (backbone / "tokenizer_config.json").write_text(json.dumps(config))
    method = convert(checkpoint, str(backbone))
    save_model(method, tmp_path / "model")
    tokenizer = load_model(str(tmp_path / "model")).tokenizers["query"]
    assert tokenizer([Record("1", "", "QUEEN")]) == tokenizer([Record("1", "", "queen")])


def test_every_tensor_arrives(tiny_model, two_berts, dpr_tensors, tmp_path):
    method = convert(ForeignCheckpoint(tmp_path, dpr_tensors, PARAMS), str(tiny_model))
    for ours, side in ((method.query_encoder, "question_model"), (method.passage_encoder, "ctx_model")):
        theirs = two_berts[side].state_dict()
        for name, tensor in ours.backbone.state_dict().items():
            assert torch.equal(tensor, theirs[name])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e300])
def test_weights_that_are_no_numbers_are_refused_by_name(tiny_model, dpr_tensors, tmp_path, value):
    names = ["ctx_model.encoder.layer.1.output.dense.weight", "ctx_model.encoder.layer.1.output.dense.bias"]
    for name in names:
        dpr_tensors[name] = dpr_tensors[name].double()  # 1e300 is a number only there
        dpr_tensors[name].view(-1)[3] = value
    message = f"holds NaN or infinity in 2 tensors, the first is {names[0]}; the training went astray or the"
    with pytest.raises(DataError, match=message) as found:
        convert(ForeignCheckpoint(tmp_path, dpr_tensors, PARAMS), str(tiny_model))
    assert found.value.exit_code == 4


def test_a_pooler_that_no_vector_depends_on_may_hold_anything(tiny_model, dpr_tensors, tmp_path):
    dpr_tensors["ctx_model.pooler.dense.bias"].fill_(float("nan"))
    assert convert(ForeignCheckpoint(tmp_path, dpr_tensors, PARAMS), str(tiny_model)).name == "dpr"


def changed(tensors, *, drop="", add="", shape=""):
    found = {name: tensor for name, tensor in tensors.items() if not (drop and drop in name)}
    if add:
        found[add] = torch.zeros(2, 2)
    return {name: torch.zeros(3, 5) if shape and shape in name else value for name, value in found.items()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"drop": "ctx_model.encoder.layer.1"},
            r"lacks 16 tensors .*the first is ctx_model\.encoder\.layer\.1\..*; give the backbone",
        ),
        (
            {"add": "question_model.encoder.layer.1.output.gate.weight"},
            r"has 1 tensor for which .*no place, the first is question_model\.encoder\.layer\.1\.output",
        ),
        (
            {"shape": "intermediate.dense.weight"},
            r"has 4 tensors of another shape .*intermediate\.dense\.weight: 3 x 5 in the file, 64 x 32",
        ),
        ({"add": "question_model.encode_proj.weight"}, r"a projection \(encode_proj\), which has no counter"),
        (
            {"drop": "question_model"},
            r"holds no question_model\.embeddings \(its first tensor is ctx_model\.",
        ),
        (
            {"shape": "question_model.embeddings.word_embeddings"},
            r"has 3 words, 64 positions, 32 dimensions, 2 layers, the backbone .* 150 words, 64 positions",
        ),
    ],
)
def test_tensors_that_do_not_fit(tiny_model, dpr_tensors, tmp_path, change, message):
    checkpoint = ForeignCheckpoint(tmp_path / "cp", changed(dpr_tensors, **change), PARAMS)
    with pytest.raises(DataError, match=message):
        convert(checkpoint, str(tiny_model))


def test_settings_decide_length_pooling_and_title(tiny_model, dpr_tensors, tmp_path):
    def of(**settings):
        return convert(ForeignCheckpoint(tmp_path, dpr_tensors, settings), str(tiny_model))

    assert of().card().query.max_tokens == 64  # 256 where the positions reach so far
    told = of(sequence_length=24, mean_pool=True, use_title=False).card()
    assert (told.passage.max_tokens, told.passage.pooling, told.passage.pair) == (24, "mean", False)
    assert told.passage.template == "{text}"
    for setting in ({"factor_rep": True}, {"mean_pool": True, "mean_pool_ctx_only": True}):
        with pytest.raises(
            DataError, match=f"was trained with {list(setting)[-1]}, which has no counterpart"
        ):
            of(**setting)
