from __future__ import annotations

import pytest
import torch

from dretrieve.encoding.estimate import estimate
from dretrieve.encoding.pipeline import encode_records
from dretrieve.models.colbert import Colbert
from dretrieve.models.colbert_config import ColbertConfig
from dretrieve.models.loading import load_model
from dretrieve.models.model_folder import save_model
from dretrieve.store.shards import shard_rows
from dretrieve.store.text_store import TextStore


@pytest.fixture
def texts(tmp_path, records):
    return TextStore.build(tmp_path / "texts", records, {})


def test_tokens_disk_and_time_are_near_the_truth(model, records, texts):
    cost = estimate(model, "passage", texts, shard_rows(len(records), 0, 1), "float16")
    tokens = model.tokenizers["passage"].tokenize(records)
    assert cost.rows == len(records)
    assert abs(cost.tokens / int(tokens.offsets[-1]) - 1) < 0.15
    assert abs(cost.truncated / tokens.truncated - 1) < 0.5
    exact = len(records) * 32 * 2 + sum(len(record.id) + 1 for record in records)
    assert abs(cost.disk_bytes / exact - 1) < 0.02
    assert cost.seconds > 0
    assert cost.memory_bytes > 1e7
    assert len(cost.lines("passages")) == 4


def test_an_empty_shard_costs_nothing(model, texts):
    cost = estimate(model, "passage", texts, shard_rows(10, 0, 2), "float16")
    assert (cost.rows, cost.tokens, cost.seconds, cost.disk_bytes) == (0, 0, 0.0, 0)


@pytest.mark.parametrize("side", ["query", "passage"])
def test_a_vector_for_each_token_takes_the_room_of_those_that_are_kept(
    tiny_model, tmp_path, side, records, texts
):
    with torch.random.fork_rng():
        markers = {"query_marker": "honey", "passage_marker": "moon"}
        config = ColbertConfig(dim=16, query_max_len=40, passage_max_len=64, **markers)
        save_model(Colbert.build(config, str(tiny_model)), tmp_path / "model", {})
    model, some = load_model(str(tmp_path / "model")), records[:600]
    cost = estimate(model, side, texts, shard_rows(len(some), 0, 1), "float16")
    stored = encode_records(model, side, some)
    exact = stored.values.nbytes + stored.tokens.nbytes + stored.offsets.nbytes
    exact += sum(len(record.id) + 1 for record in some)
    assert abs(cost.disk_bytes / exact - 1) < 0.2
    assert cost.seconds > 0
