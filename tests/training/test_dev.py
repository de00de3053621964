from __future__ import annotations

import pytest
import torch

from dretrieve.errors import DataError, UsageError
from dretrieve.models.base import Encoded
from dretrieve.models.loading import open_tokenizer
from dretrieve.models.shared import Shared
from dretrieve.models.shared_config import SharedConfig
from dretrieve.training.dev import open_dev
from dretrieve.training.options import TrainOptions
from dretrieve.types import Silent, VectorSpec


def options(collection, **changes):
    values = {"dev": f"{collection}:dev", "dev_metric": "RR@10", "dev_queries": 0, "dev_pool": 0, "seed": 1}
    return TrainOptions(**(values | changes))


@pytest.fixture
def method(tiny_model):
    return Shared.build(SharedConfig(pooling="mean", normalize="yes"), str(tiny_model))


@pytest.fixture
def tokenizers(method, tiny_model):
    return {side: open_tokenizer(tiny_model, method.card().side(side)) for side in ("query", "passage")}


def test_the_value_is_that_of_a_search_by_hand(method, tokenizers, tiny_collection):
    dev = open_dev(options(tiny_collection), Silent())
    method.train()
    value = dev.value(method, tokenizers, torch.device("cpu"))
    assert method.training
    method.eval()
    from dretrieve.training.sets import tokenise

    def vectors(side, records):
        table = tokenise(records, tokenizers[side])
        with torch.no_grad():
            return torch.cat(
                [
                    method.encode_side(table.batch(torch.tensor([row]).numpy(), pad=0), side).vectors
                    for row in range(len(table))
                ]
            )

    scores = vectors("query", dev.queries) @ vectors("passage", dev.passages).T
    names = [record.id for record in dev.passages]
    ranks = []
    for row, query in enumerate(dev.queries):
        order = scores[row].argsort(descending=True).tolist()
        ranks.append(1 + order.index(names.index(query.id.removeprefix("q-"))))
    by_hand = sum(1 / rank if rank <= 10 else 0.0 for rank in ranks) / len(ranks)
    assert value == pytest.approx(by_hand, abs=0.06)  # bf16 here and there may swap two neighbours


def test_the_pool_holds_all_positives_and_others_by_seed(tiny_collection):
    dev = open_dev(options(tiny_collection, dev_pool=10), Silent())
    names = {record.id for record in dev.passages}
    assert len(names) == 10
    assert {query.id.removeprefix("q-") for query in dev.queries} <= names
    again = open_dev(options(tiny_collection, dev_pool=10), Silent())
    assert [record.id for record in again.passages] == [record.id for record in dev.passages]
    assert again.fingerprint == dev.fingerprint
    assert open_dev(options(tiny_collection, dev_pool=10, seed=2), Silent()).fingerprint != dev.fingerprint


def test_other_judgements_of_the_same_texts_are_another_dev_set(tiny_collection):
    before = open_dev(options(tiny_collection), Silent()).fingerprint
    qrels = tiny_collection / "qrels" / "dev.tsv"
    head, *lines = [line.split("\t") for line in qrels.read_text().splitlines()]
    passages = [line[1] for line in lines]
    turned = [[one, passage, grade] for (one, _, grade), passage in zip(lines, passages[::-1], strict=True)]
    assert turned != lines
    qrels.write_text("".join("\t".join(line) + "\n" for line in [head, *turned]))
    assert open_dev(options(tiny_collection), Silent()).fingerprint != before


def test_fewer_queries(tiny_collection):
    assert len(open_dev(options(tiny_collection, dev_queries=4), Silent()).queries) == 4


def test_no_positive_in_the_collection(tiny_collection):
    qrels = tiny_collection / "qrels" / "dev.tsv"
    qrels.write_text(qrels.read_text().replace("\t1\n", "\t0\n"))
    with pytest.raises(DataError, match="has no query with a positive"):
        open_dev(options(tiny_collection), Silent())


def test_one_measure_only(tiny_collection):
    with pytest.raises(UsageError, match="names 2 measures"):
        open_dev(options(tiny_collection, dev_metric="nDCG@10 RR@10"), Silent())


def test_one_token_a_text_has_the_value_of_one_vector(method, tokenizers, tiny_collection, monkeypatch):
    dev = open_dev(options(tiny_collection), Silent())
    one = dev.value(method, tokenizers, torch.device("cpu"))
    encode = Shared.encode_side

    def as_tokens(self, batch, side):
        vectors = encode(self, batch, side).vectors
        mask = torch.ones(len(vectors), 1, dtype=torch.bool)
        return Encoded(vectors[:, None], mask, tokens=batch.input_ids[:, :1])

    monkeypatch.setattr(Shared, "spec", property(lambda self: VectorSpec(32, "many", "maxsim_sum")))
    monkeypatch.setattr(Shared, "encode_side", as_tokens)
    assert dev.value(method, tokenizers, torch.device("cpu")) == one
