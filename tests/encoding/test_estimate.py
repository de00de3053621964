from __future__ import annotations

from dretrieve.encoding.estimate import estimate
from dretrieve.store.shards import shard_rows


class Listed:
    sha256 = "x"

    def __init__(self, records):
        self._records = records

    def __len__(self):
        return len(self._records)

    def ids(self, start, stop):
        return [record.id for record in self._records[start:stop]]

    def records(self, start, stop):
        return self._records[start:stop]


def test_tokens_disk_and_time_are_near_the_truth(model, records):
    cost = estimate(model, "passage", Listed(records), shard_rows(len(records), 0, 1), "float16")
    tokens = model.tokenizers["passage"].tokenize(records)
    assert cost.rows == len(records)
    assert abs(cost.tokens / int(tokens.offsets[-1]) - 1) < 0.15
    assert abs(cost.truncated / tokens.truncated - 1) < 0.5
    exact = len(records) * 32 * 2 + sum(len(record.id) + 1 for record in records)
    assert abs(cost.disk_bytes / exact - 1) < 0.02
    assert cost.seconds > 0
    assert cost.memory_bytes > 1e7
    assert len(cost.lines("passages")) == 4


def test_an_empty_shard_costs_nothing(model, records):
    cost = estimate(model, "passage", Listed(records[:10]), shard_rows(10, 0, 2), "float16")
    assert (cost.rows, cost.tokens, cost.seconds, cost.disk_bytes) == (0, 0, 0.0, 0)
