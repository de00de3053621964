"""Modules behind the pooling: what sentence-transformers' give, and what is no vector to a vector."""

from __future__ import annotations

import json

import pytest
import torch
from sentence_transformers.base.modules import Dense

from dretrieve.errors import DataError
from dretrieve.models.head import load_head


@pytest.fixture
def dense(tmp_path):
    """A Dense in ``2_Dense`` of the test's folder."""
    torch.manual_seed(4)
    module = Dense(32, 12)
    (tmp_path / "2_Dense").mkdir()
    module.save(str(tmp_path / "2_Dense"))
    return module


def test_a_layer_gives_their_vectors(dense, tmp_path):
    vectors = torch.randn(3, 32)
    theirs = dense({"sentence_embedding": vectors})["sentence_embedding"]
    torch.testing.assert_close(load_head(tmp_path, ["2_Dense"], 32)(vectors), theirs)


@pytest.mark.parametrize("key", ["module_input_name", "module_output_name"])
def test_a_layer_of_another_input_or_output_is_refused(dense, tmp_path, key):
    file = tmp_path / "2_Dense" / "config.json"
    said = json.loads(file.read_text())
    file.write_text(json.dumps(said | {key: None}))
    load_head(tmp_path, ["2_Dense"], 32)
    file.write_text(json.dumps(said | {key: "token_embeddings"}))
    with pytest.raises(DataError, match=rf"{key} is 'token_embeddings'; only the pooled vector"):
        load_head(tmp_path, ["2_Dense"], 32)
