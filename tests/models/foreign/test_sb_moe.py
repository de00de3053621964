"""The authors' checkpoints: vectors equal those of their forward, written out here from their tensors."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from dretrieve.encoding.pipeline import encode_records
from dretrieve.errors import DataError
from dretrieve.models.foreign.checkpoint import ForeignCheckpoint
from dretrieve.models.foreign.sb_moe import convert
from dretrieve.models.loading import load_model
from dretrieve.models.model_folder import save_model
from dretrieve.types import Record

DIM, HIDDEN, EXPERTS = 32, 16, 3
RECORDS = [Record("1", "bees", "the honey bee hive."), Record("2", "", "moon tide ocean gravity")]


@pytest.fixture
def bert(tiny_model):
    from transformers import BertConfig, BertModel

    with torch.random.fork_rng():
        torch.manual_seed(7)
        return BertModel(BertConfig.from_pretrained(tiny_model)).eval()


@pytest.fixture
def tensors(bert):
    draw = torch.Generator().manual_seed(4)
    shapes = {"cls_1": (HIDDEN, DIM), "cls_3": (EXPERTS, HIDDEN), "noise_linear": (EXPERTS, DIM)}
    for number in range(EXPERTS):
        shapes[f"specializer.{number}.query_embedding_changer_1"] = (HIDDEN, DIM)
        shapes[f"specializer.{number}.query_embedding_changer_4"] = (DIM, HIDDEN)
    found = {f"doc_model.{name}": tensor for name, tensor in bert.state_dict().items()}
    for name, shape in shapes.items():
        found[f"{name}.weight"] = torch.randn(shape, generator=draw)
        found[f"{name}.bias"] = torch.randn(shape[0], generator=draw)
    return found


@torch.no_grad()
def forward(bert, tensors, ids, *, every):
    """Their forward in use: the largest gate's value is kept (TOP-1) or all; m gets length 1; x is added."""

    def linear(x, name):
        return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]

    x = bert(torch.tensor([ids])).last_hidden_state[0].mean(dim=0)
    gate = functional.softmax(linear(torch.relu(linear(x, "cls_1")), "cls_3"), dim=0)
    if not every:
        gate = torch.where(gate == gate.max(), gate, torch.zeros_like(gate))
    experts = [
        linear(torch.relu(linear(x, f"specializer.{n}.query_embedding_changer_1")),
               f"specializer.{n}.query_embedding_changer_4")
        for n in range(EXPERTS)
    ]  # fmt: skip
    mixed = sum(weight * expert for weight, expert in zip(gate, experts, strict=True))
    return functional.normalize(mixed, dim=0, eps=1e-6) + x


@pytest.mark.parametrize("every", [False, True])
def test_vectors_are_those_of_the_authors_forward(bert, tensors, tiny_model, tmp_path, every):
    method = convert(ForeignCheckpoint(tmp_path / "m.pt", tensors), str(tiny_model))
    save_model(method, tmp_path / "model")
    model = load_model(tmp_path / "model", "cpu", "fp32")
    model.encoder.choose({"activated": 0 if every else 1})
    found = encode_records(model, "passage", RECORDS, dtype="float32").values
    for row, record in enumerate(RECORDS):
        ids = model.tokenizers["passage"].tokenize([record]).row(0).tolist()
        expected = forward(bert, tensors, ids, every=every)
        torch.testing.assert_close(torch.from_numpy(found[row]), expected, atol=1e-4, rtol=1e-4)


def test_what_does_not_fit_is_refused(tensors, tiny_model, tmp_path):
    file = tmp_path / "m.pt"
    for name, match in (
        ("cls_3.bias", "lacks 1 tensor"),
        ("specializer.1.query_embedding_changer_1.weight", "no place|lacks"),
        ("doc_model.embeddings.word_embeddings.weight", "holds no specializer"),
    ):
        less = {key: value for key, value in tensors.items() if key != name}
        with pytest.raises(DataError, match=match):
            convert(ForeignCheckpoint(file, less), str(tiny_model))
    with pytest.raises(DataError, match="1 tensor for which"):
        convert(ForeignCheckpoint(file, tensors | {"adapter.weight": torch.zeros(1)}), str(tiny_model))


@pytest.mark.parametrize(
    ("name", "shape", "match"),
    [
        ("cls_3.weight", (EXPERTS + 1, HIDDEN), r"cls_3.weight: 4 x 16 in the file, 3 x 16 there"),
        ("specializer.2.query_embedding_changer_1.weight", (HIDDEN + 1, DIM), "17 x 32 in the file, 16 x 32"),
        ("specializer.0.query_embedding_changer_4.weight", (DIM + 1, HIDDEN), "33 x 16 in the file, 32 x 16"),
        ("doc_model.embeddings.position_embeddings.weight", (64, DIM + 1), "33 dimensions.*the backbone"),
    ],
)
def test_other_numbers_of_experts_and_other_widths_are_refused(
    tensors, tiny_model, tmp_path, name, shape, match
):
    """Of the gate's experts, inside an expert, of its vector, of the backbone."""
    with pytest.raises(DataError, match=f"{match}.*give the backbone"):
        convert(ForeignCheckpoint(tmp_path / "m.pt", tensors | {name: torch.zeros(shape)}), str(tiny_model))
