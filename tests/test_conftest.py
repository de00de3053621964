"""The fixtures hold what they promise."""

from __future__ import annotations

import pytest


def test_tiny_model_encodes_the_tiny_collection(tiny_model, tiny_collection):
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(tiny_model), AutoModel.from_pretrained(tiny_model)
    batch = tokenizer(["the honey bee", "dough"], padding=True, return_tensors="pt")
    with torch.no_grad():
        states = model(**batch).last_hidden_state
    assert batch["input_ids"].tolist()[1][0] == tokenizer.cls_token_id
    assert batch["attention_mask"].sum(1).tolist() == [5, 3]
    assert states.shape == (2, 5, 32)
    assert tokenizer.decode(batch["input_ids"][0]) == "[CLS] the honey bee [SEP]"
    assert len((tiny_collection / "corpus.jsonl").read_text().splitlines()) == 30


@pytest.mark.realdata
def test_data_dir_holds_the_collections(data_dir):
    assert (data_dir / "scifact" / "corpus.jsonl.gz").is_file()
