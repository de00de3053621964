"""A whole T5 driven block by block is transformers' own: logits, states, attention, and what is refused."""

from __future__ import annotations

import shutil

import pytest
import torch
from transformers import T5EncoderModel, T5ForConditionalGeneration
from transformers.activations import NewGELUActivation

from dretrieve.errors import DataError, PreconditionError
from dretrieve.models import t5 as module
from dretrieve.models.backbone import load_module
from dretrieve.models.t5 import T5, load_t5

KINDS = ("original", "v1.1")


@pytest.fixture(params=KINDS)
def folder(request, small_t5):
    return small_t5(request.param)


@pytest.fixture
def texts(batch_of):
    batch = batch_of([9, 4, 6])
    answers = torch.randint(2, 60, (3, 5), generator=torch.Generator().manual_seed(2))
    answers[:, 0] = 0
    return batch.input_ids, batch.mask, answers


def whole(t5, ids, mask, answers):
    states = t5.finished(t5.through(t5.embedded(ids), mask, 0))
    return t5.decoded(answers, states, mask)


def test_logits_and_gradients_are_transformers(folder, texts):
    ids, mask, answers = texts
    t5 = T5(load_t5(folder)).eval()
    theirs = T5ForConditionalGeneration.from_pretrained(folder).eval()
    expected = theirs(input_ids=ids, attention_mask=mask, decoder_input_ids=answers).logits
    found, _ = whole(t5, ids, mask, answers)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    found.square().mean().backward()
    expected.square().mean().backward()
    ours = dict(t5.backbone.named_parameters())
    for name, of in theirs.named_parameters():
        torch.testing.assert_close(ours[name].grad, of.grad, atol=1e-5, rtol=1e-4, msg=name)


def test_the_encoder_alone_has_its_gelu_as_one_operation(folder, texts):
    encoder, theirs = load_module(folder), T5EncoderModel.from_pretrained(folder).eval()
    assert not any(isinstance(part, NewGELUActivation) for part in encoder.modules())
    ids, mask, _ = texts
    with torch.inference_mode():
        own, other = (of(input_ids=ids, attention_mask=mask).last_hidden_state for of in (encoder, theirs))
    torch.testing.assert_close(own[mask], other[mask], atol=1e-5, rtol=1e-5)


def test_a_saved_folder_opens_with_transformers_and_generates_alike(folder, texts, tmp_path):
    ids, mask, answers = texts
    load_t5(folder).save_pretrained(tmp_path / "t5")
    models = [T5ForConditionalGeneration.from_pretrained(place) for place in (folder, tmp_path / "t5")]
    logits = [of(input_ids=ids, attention_mask=mask, decoder_input_ids=answers).logits for of in models]
    assert torch.equal(*logits)
    assert models[1].config.use_cache
    said = [of.generate(input_ids=ids, attention_mask=mask, max_new_tokens=5) for of in models]
    assert torch.equal(*said)


def test_float16_keeps_in_float32_what_leaves_its_range(folder, texts):
    """The products of a feed-forward part, as transformers does when it loads a T5 in float16."""
    ids, mask, _ = texts
    t5 = T5(load_t5(folder)).eval()
    with torch.inference_mode():
        for layer in t5.layers:
            weight = layer.layer[-1].DenseReluDense.wo.weight
            weight.mul_(6e4 / weight.abs().max())
        found = []
        for dtype in (torch.float32, torch.float16):
            t5.prepare(torch.device("cpu"), dtype)
            states = t5.through(t5.embedded(ids), mask, 0, 3)
            found.append(t5.projected(states, 3, "passage", range(t5.heads))[mask].float())
        assert t5.engine.precision == "fp16"
    assert torch.cosine_similarity(*found, dim=-1).min() > 0.999


def test_layers_one_after_the_other_are_the_whole(folder, texts):
    """Cut anywhere; each layer has its own mask, and no mask of an earlier one stays in the bias."""
    ids, mask, _ = texts
    t5 = T5(load_t5(folder)).eval()
    states = t5.embedded(ids)
    expected = t5.through(states, mask, 0)
    for cut in range(5):
        torch.testing.assert_close(t5.through(t5.through(states, mask, 0, cut), mask, cut), expected)
    narrow = mask.clone()
    narrow[:, 3:] = False
    behind = t5.through(t5.through(states, narrow, 0, 2), mask, 2)
    alone = t5.through(t5.through(states[:, :3], mask[:, :3], 0, 2), mask[:, :3], 2)
    assert (behind[:, :3] - alone).abs().max() > 1e-4, "the later layers see what the earlier did not"
    torch.testing.assert_close(
        t5.through(states, narrow, 0, 2)[:, :3], t5.through(states[:, :3], mask[:, :3], 0, 2)
    )


def test_queries_and_keys_are_those_of_the_layer(folder, texts):
    """Before bias and softmax, unscaled: the layer's own products."""
    ids, mask, _ = texts
    t5 = T5(load_t5(folder)).eval()
    heard = {}
    attention = t5.layers[2].layer[0].SelfAttention
    for name in ("q", "k"):
        getattr(attention, name).register_forward_hook(
            lambda module, given, of, name=name: heard.update({name: of})
        )
    states = t5.through(t5.embedded(ids), mask, 0, 2)
    t5.through(states, mask, 2, 3)
    for side, name in (("query", "q"), ("passage", "k")):
        every = heard[name].view(3, 9, 4, 8)
        torch.testing.assert_close(t5.projected(states, 2, side, range(4)), every)
        torch.testing.assert_close(t5.projected(states, 2, side, [3, 1]), every[:, :, [3, 1]])


def test_what_the_first_position_looks_at_is_the_last_layers_attention(folder, texts):
    """Its softmax over the real tokens is what transformers attends with, of the eager attention."""
    ids, mask, answers = texts
    t5 = T5(load_t5(folder)).eval()
    theirs = T5ForConditionalGeneration.from_pretrained(folder, attn_implementation="eager").eval()
    _, looks = whole(t5, ids, mask, answers)
    assert not looks.requires_grad
    found = looks.masked_fill(~mask[:, None], -torch.inf).softmax(-1)
    given = theirs(input_ids=ids, attention_mask=mask, decoder_input_ids=answers, output_attentions=True)
    torch.testing.assert_close(found, given.cross_attentions[-1][:, :, 0], atol=1e-5, rtol=1e-4)


def test_other_models_are_refused(small_t5, tiny_model, tmp_path):
    with pytest.raises(PreconditionError, match=r"type bert, and this method wants a T5 with its decoder"):
        load_t5(tiny_model)
    T5EncoderModel.from_pretrained(small_t5()).save_pretrained(tmp_path / "encoder")
    with pytest.raises(PreconditionError, match="the encoder of a T5 without its decoder"):
        load_t5(tmp_path / "encoder")
    shutil.copytree(small_t5(), tmp_path / "short")
    model = T5ForConditionalGeneration.from_pretrained(small_t5())
    kept = {name: of for name, of in model.state_dict().items() if "decoder.block.1.layer.2" not in name}
    model.save_pretrained(tmp_path / "short", state_dict=kept)
    with pytest.raises(DataError, match=r"lack .*decoder\.block\.1\.layer\.2"):
        load_t5(tmp_path / "short")
    kept = {name: of for name, of in model.state_dict().items() if not name.startswith("encoder.")}
    model.save_pretrained(tmp_path / "short", state_dict=kept)
    for load in (load_t5, load_module):
        with pytest.raises(DataError, match=r"lack .* of the t5 encoder that .* first is encoder\.block\.0"):
            load(tmp_path / "short")


def test_texts_of_like_length_run_together_and_come_back_in_order(folder, batch_of, monkeypatch):
    """States of real tokens and all gradients are those of one batch."""
    batch = batch_of([3, 9, 4, 9, 2, 6])
    found = []
    for budget in (10_000, 12):
        monkeypatch.setitem(module.BUDGETS, "cpu", budget)
        t5 = T5(load_t5(folder)).eval()
        states = t5.through(t5.embedded(batch.input_ids), batch.mask, 0)[batch.mask]
        states.square().mean().backward()
        found.append([states.detach(), *(of.grad for of in t5.backbone.encoder.parameters())])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
