"""The authors' prompts: vectors equal those of their forward, written out here from their tensors."""

from __future__ import annotations

import math

import pytest
import torch

from dretrieve.encoding.pipeline import encode_records
from dretrieve.errors import DataError
from dretrieve.jobs.configs.convert import ConvertConfig
from dretrieve.jobs.convert import run
from dretrieve.models.loading import load_model
from dretrieve.types import Record

LAYERS, DIM, LENGTH = 2, 32, 6
GENERAL = "general_prefix_encoder.embedding.weight"
RECORDS = [Record("1", "bees", "the honey bee hive."), Record("2", "", "moon tide ocean gravity")]


@pytest.fixture
def prompts(tmp_path):
    """A folder as their training leaves it; return the tensors by file."""
    draw = torch.Generator().manual_seed(4)
    names = ("general", "qa", "fact-verification")
    tensors = {name: torch.randn((LENGTH, 2 * LAYERS * DIM), generator=draw) for name in names}
    folder = tmp_path / "trained_prompts"
    folder.mkdir()
    both = {f"{side}.{GENERAL}": tensors["general"] for side in ("lm_q", "lm_p")}
    torch.save(both, folder / "general_state_dict.prompt")
    for name in names[1:]:
        for side in "qp":
            torch.save({"embedding.weight": tensors[name]}, folder / f"lm_{side}_attribute_{name}.prompt")
    return tensors


@torch.no_grad()
def forward(bert, ids, prompt):
    """A BERT that reads the prompt's keys and values first, cut as they cut it: [P, 2 L, heads, d]."""
    heads = bert.config.num_attention_heads
    past = prompt.view(LENGTH, 2 * LAYERS, heads, DIM // heads).permute(1, 2, 0, 3)
    places = torch.arange(LENGTH, LENGTH + len(ids)).unsqueeze(0)
    states = bert.embeddings(input_ids=torch.tensor([ids]), position_ids=places)
    for number, layer in enumerate(bert.encoder.layer):
        own = layer.attention.self
        query, key, value = (
            of(states)[0].view(len(ids), heads, -1).transpose(0, 1) for of in (own.query, own.key, own.value)
        )
        key, value = (torch.cat([past[2 * number + row], of], dim=1) for row, of in enumerate((key, value)))
        weights = (query @ key.transpose(1, 2) / math.sqrt(key.shape[-1])).softmax(dim=-1)
        context = (weights @ value).transpose(0, 1).reshape(states.shape)
        attended = layer.attention.output(context, states)
        states = layer.output(layer.intermediate(attended), attended)
    return states[0, 0]


def converted(tmp_path, backbone, **more):
    source = tmp_path / "trained_prompts" / "general_state_dict.prompt"
    return run(
        ConvertConfig(source=source, form="ddr", backbone=str(backbone), output=tmp_path / "D", **more)
    )


@pytest.mark.parametrize("domains", ["", "qa", "fact-verification+qa"])
def test_vectors_are_those_of_the_authors_forward(prompts, tiny_model, tmp_path, domains):
    from transformers import BertModel

    found = converted(tmp_path, tiny_model)
    assert (found.state, found.card.inference["routing"]) == ("converted", "prior")
    choices = {"domains": domains} if domains else {"routing": "none"}
    model = load_model(str(tmp_path / "D"), settings=choices)
    assert model.encoder.names == ("fact-verification", "qa")
    chosen = [prompts[name] for name in domains.split("+") if name]
    mixed = sum(chosen) / len(chosen) if chosen else 0
    bert = BertModel.from_pretrained(tiny_model).eval()
    for side, prompt in (("query", prompts["general"] + mixed), ("passage", prompts["general"])):
        vectors = encode_records(model, side, RECORDS, dtype="float32").values
        for row, record in enumerate(RECORDS):
            ids = model.tokenizers[side].tokenize([record]).row(0).tolist()
            expected = forward(bert, ids, prompt)
            torch.testing.assert_close(torch.from_numpy(vectors[row]), expected, atol=1e-4, rtol=1e-4)


def test_domains_beside_it_are_inputs(prompts, tiny_model, tmp_path):
    converted(tmp_path, tiny_model)
    assert converted(tmp_path, tiny_model).state == "up to date"
    (tmp_path / "trained_prompts" / "lm_q_attribute_qa.prompt").unlink()
    found = converted(tmp_path, tiny_model, dry_run=True, force=True)
    assert "input lm_q_attribute_qa.prompt" in found.changed
    for path in (tmp_path / "trained_prompts").glob("lm_q*"):
        path.unlink()
    found = converted(tmp_path, tiny_model, force=True)
    assert found.card.inference["routing"] == "none"
    assert set(found.card.query.parts) == {"general.safetensors"}


def test_what_does_not_fit_is_refused(prompts, tiny_model, tmp_path):
    folder = tmp_path / "trained_prompts"

    def refused(match):
        with pytest.raises(DataError, match=match):
            converted(tmp_path, tiny_model)

    def write(name, **tensors):
        torch.save({key.replace("__", "."): of for key, of in tensors.items()}, folder / name)

    general = prompts["general"]
    for value, match in (
        (general[:-1], "of another shape.*embedding.weight: 5 x 128 in the file, 6 x 128 there"),
        (general * torch.nan, "lm_q_attribute_qa.prompt holds NaN"),
    ):
        write("lm_q_attribute_qa.prompt", embedding__weight=value)
        refused(match)
    write("lm_q_attribute_qa.prompt", other=general)
    refused("lacks 1 tensor")
    (folder / "lm_q_attribute_qa.prompt").rename(folder / "lm_q_attribute_Q A.prompt")
    refused("domain 'Q A', and a domain's name here is small letters")
    name = "general_state_dict.prompt"
    torch.save({f"lm_q.{GENERAL}": general[:, :-DIM]}, folder / name)
    refused("6 x 96 in the file, 6 x 128 there; give the backbone")
    torch.save({f"lm_q.{GENERAL}": general, f"lm_p.{GENERAL}": general + 1}, folder / name)
    refused("a general prefix for each side")
    torch.save({"embedding.weight": general}, folder / name)
    refused("holds no lm_q.general_prefix_encoder")
