"""The authors' checkpoints: vectors equal those of their forward, written out here from their tensors."""

from __future__ import annotations

import re
import shutil

import pytest
import torch
from torch.nn.functional import gelu, layer_norm

from dretrieve.encoding.pipeline import encode_records
from dretrieve.errors import DataError
from dretrieve.models.foreign.checkpoint import ForeignCheckpoint, read_checkpoint
from dretrieve.models.foreign.taser import convert
from dretrieve.models.loading import load_model
from dretrieve.models.model_folder import save_model
from dretrieve.types import Record

LAYERS, EVERY, HEADS = 6, 3, 2
QUESTIONS = ["who keeps the bee’s hive", "Moon tide", "queen " * 40]
PASSAGES = [("bees 0", "the honey bee hive."), ("", "moon tide ocean"), ("chess", "rook bishop knight " * 12)]


@pytest.fixture
def six_layers(tiny_model, tmp_path):
    """The tiny model with six layers: the backbone."""
    from transformers import BertConfig, BertModel

    folder = tmp_path / "six"
    shutil.copytree(tiny_model, folder)
    config = BertConfig.from_pretrained(tiny_model)
    config.num_hidden_layers = LAYERS
    with torch.random.fork_rng():
        torch.manual_seed(3)
        BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    return folder


@pytest.fixture
def tensors(six_layers):
    """A ``model_dict``: both sides the same, experts of layers 2 and 5 each with weights of its own."""
    from transformers import AutoModel

    draw = torch.Generator().manual_seed(4)
    found = {}
    for name, tensor in AutoModel.from_pretrained(six_layers).state_dict().items():
        if "pooler" in name:
            continue
        place = re.fullmatch(r"encoder\.layer\.(2|5)\.(intermediate|output)\.(.*)", name)
        names = [name]
        if place:
            part = {"intermediate": "interm_layers", "output": "output_layers"}[place[2]]
            names = [f"encoder.layer.{place[1]}.moe_layer.{part}.{expert}.{place[3]}" for expert in (0, 1)]
        for inner in names:
            found[f"encoder.{inner}"] = tensor + 0.05 * torch.randn(tensor.shape, generator=draw)
    found["encoder.pooler.dense.weight"] = torch.zeros(32, 32)
    found["encoder.pooler.dense.bias"] = torch.zeros(32)
    return {
        f"{side}.{name}": value for side in ("question_model", "ctx_model") for name, value in found.items()
    }


@torch.no_grad()
def forward(tensors, side, expert, ids):
    """The authors' forward: segments 0, [CLS] of the last layer, experts in every third layer.

    A layer: self-attention and its norm as in BERT; then LayerNorm(x + W2 gelu(W1 x)) with the weights of
    the one expert where the layer has experts. ids: one text, no padding.
    """

    def of(name):
        return tensors[f"{side}.encoder.{name}"]

    def linear(states, name):
        return states @ of(f"{name}.weight").T + of(f"{name}.bias")

    def norm(states, name):
        return layer_norm(states, (32,), of(f"{name}.weight"), of(f"{name}.bias"), 1e-12)

    words = of("embeddings.word_embeddings.weight")[ids]
    words = words + of("embeddings.position_embeddings.weight")[: len(ids)]
    states = norm(words + of("embeddings.token_type_embeddings.weight")[0], "embeddings.LayerNorm")
    for number in range(LAYERS):
        layer = f"encoder.layer.{number}"
        query, key, value = (
            linear(states, f"{layer}.attention.self.{part}").view(len(ids), HEADS, -1).transpose(0, 1)
            for part in ("query", "key", "value")
        )
        weights = (query @ key.transpose(1, 2) / 16**0.5).softmax(-1)
        mixed = linear(
            (weights @ value).transpose(0, 1).reshape(len(ids), 32), f"{layer}.attention.output.dense"
        )
        states = norm(states + mixed, f"{layer}.attention.output.LayerNorm")
        up, down = f"{layer}.intermediate", f"{layer}.output"
        if (number + 1) % EVERY == 0:
            up, down = (f"{layer}.moe_layer.{part}.{expert}" for part in ("interm_layers", "output_layers"))
        inner = linear(gelu(linear(states, f"{up}.dense")), f"{down}.dense")
        states = norm(states + inner, f"{down}.LayerNorm")
    return states[0]


def test_vectors_are_those_of_the_authors_forward(six_layers, tensors, save_state, hydra_config, tmp_path):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(six_layers)

    def reference(side, expert, *texts):
        ids = tokenizer(*texts, max_length=24, truncation=True)["input_ids"]
        return forward(tensors, side, expert, torch.tensor(ids))

    settings = hydra_config(sequence_length=24, moe_type="mod3:fwd", num_expert=2, use_infer_expert=False)
    path = save_state(tensors, {"do_lower_case": True, "encoder": settings})
    save_model(convert(read_checkpoint(path), str(six_layers)), tmp_path / "model")
    model = load_model(str(tmp_path / "model"))
    card = model.card
    assert (card.method, card.method_config["router"], card.method_config["every"]) == ("taser", "det", EVERY)
    records = [Record(str(row), "", text) for row, text in enumerate(QUESTIONS)]
    ours = torch.from_numpy(encode_records(model, "query", records, "float32").values)
    theirs = [reference("question_model", 0, text.replace("’", "'")) for text in QUESTIONS]
    torch.testing.assert_close(ours, torch.stack(theirs), atol=1e-5, rtol=0)
    records = [Record(str(row), title, text) for row, (title, text) in enumerate(PASSAGES)]
    ours = torch.from_numpy(encode_records(model, "passage", records, "float32").values)
    theirs = [reference("ctx_model", 1, *filter(None, parts)) for parts in PASSAGES]
    torch.testing.assert_close(ours, torch.stack(theirs), atol=1e-5, rtol=0)
    swapped = reference("ctx_model", 0, *PASSAGES[0])
    assert not torch.allclose(ours[0], swapped, atol=1e-2), "the two experts differ"


def test_one_side_may_stand_for_both(six_layers, tensors, tmp_path):
    """A safetensors file does not hold shared weights twice."""
    from safetensors.torch import save_file

    half = {name: tensor for name, tensor in tensors.items() if name.startswith("question_model")}
    save_file(half, tmp_path / "taser.safetensors")
    one, both = (
        convert(checkpoint, str(six_layers)).state_dict()
        for checkpoint in (read_checkpoint(tmp_path / "taser.safetensors"), of(tensors, tmp_path))
    )
    assert all(torch.equal(one[name], both[name]) for name in both)


def of(tensors, path):
    return ForeignCheckpoint(path / "pytorch_model.bin", tensors, {"sequence_length": 24})


def renamed(tensors, pattern, with_what):
    return {re.sub(pattern, with_what, name): tensor for name, tensor in tensors.items()}


def added(tensors, *names):
    return tensors | {f"question_model.encoder.encoder.{name}": torch.zeros(2, 32) for name in names}


def without(tensors, pattern):
    return {name: tensor for name, tensor in tensors.items() if not re.search(pattern, name)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda found: without(found, r"question_model.*output_layers\.1\.LayerNorm"),
            r"lacks 4 tensors .*the first is question_model.*2\.moe_layer\.output_layers\.1\.LayerNorm",
        ),
        (
            lambda found: without(found, r"ctx_model.*layer\.0\.attention\.self\.key\.bias"),
            r"lacks 1 tensor .*ctx_model\.encoder\.encoder\.layer\.0\.attention\.self\.key\.bias",
        ),
        (
            lambda found: added(found, "layer.2.moe_layer.extra.0.weight"),
            r"has 1 tensor for which .*no place, the first is .*extra\.0\.weight",
        ),
        (
            lambda found: {name: part[:1] if "interm_layers.0.dense.bias" in name else part
                           for name, part in found.items()},
            r"has 2 tensors of another shape .*the first is .*: 1 in the file, 64 ",
        ),
        (
            lambda found: added(found, "expert_gate.fwd_func.weight"),
            r"has gates \(question_model.*expert_gate.*only TASER with fixed experts",
        ),
        (
            lambda found: added(found, "layer.2.attention.self.moe_query.0.weight"),
            "has experts in the attention",
        ),
        (
            lambda found: without(found, "layers\\.1\\."),
            "has 1 expert in a layer and no gate",
        ),
        (lambda found: without(found, "moe_layer"), "has no experts"),
        (
            lambda found: renamed(found, r"layer\.2\.moe_layer", "layer.3.moe_layer"),
            r"experts in the layers 3, 5 \(from 0\) of 6, which are not every n-th",
        ),
        (
            lambda found: {name: part + name.startswith("ctx") for name, part in found.items()},
            r"has an encoder for each side \(they differ in \d+ tensors, the first is question_model",
        ),
        (
            lambda found: renamed(found, r"model\.encoder\.", "model."),
            r"holds no question_model\.encoder\.embeddings .*another --from fits",
        ),
    ],
)  # fmt: skip
def test_what_is_no_such_checkpoint(six_layers, tensors, tmp_path, change, message):
    with pytest.raises(DataError, match=message):
        convert(of(change(tensors), tmp_path), str(six_layers))


def test_a_backbone_of_fewer_layers(tiny_model, tensors, tmp_path):
    with pytest.raises(DataError, match=r"6 layers, the backbone .* 2 layers; give the backbone"):
        convert(of(tensors, tmp_path), str(tiny_model))
