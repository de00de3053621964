from __future__ import annotations

import numpy as np
import pytest
import torch

from dretrieve.encoding import pipeline
from dretrieve.encoding.pipeline import encode_chunks, encode_records
from dretrieve.errors import DataError, Interrupted
from dretrieve.models.loading import load_model
from dretrieve.types import Record


def reads(records, rows=1024):
    return [(lambda start=start: records[start : start + rows]) for start in range(0, len(records), rows)]


def test_vectors_come_in_the_order_of_the_texts(model, records):
    some = records[:40]
    together = encode_records(model, "passage", some, "float32").values
    for row in (0, 7, 39):
        alone = encode_records(model, "passage", [some[row]], "float32").values[0]
        np.testing.assert_allclose(alone, together[row], atol=1e-3)


@pytest.mark.parametrize("threads", ["1", "2", "5"])
def test_bytes_do_not_depend_on_the_number_of_threads(model, records, threads, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    expected = encode_records(model, "passage", records[:300]).values
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    assert np.array_equal(encode_records(model, "passage", records[:300]).values, expected)


def test_a_chunk_does_not_depend_on_the_chunks_before_it(model, records):
    whole = [chunk.vectors.values for chunk in encode_chunks(model, "passage", reads(records))]
    assert [len(chunk) for chunk in whole] == [1024, 1024, 452]
    later = [chunk.vectors.values for chunk in encode_chunks(model, "passage", reads(records)[1:])]
    for one, other in zip(whole[1:], later, strict=True):
        assert np.array_equal(one, other)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_batch_1_and_64_agree(tiny_model, records, precision, monkeypatch):
    model = load_model(str(tiny_model), "cpu", precision)
    some = [record for record in records[:64] if record.text]
    usual = encode_records(model, "passage", some, "float32").values
    monkeypatch.setitem(__import__("dretrieve.encoding.pieces", fromlist=["BUDGETS"]).BUDGETS, "cpu", (1, 1))
    alone = encode_records(model, "passage", some, "float32").values
    units = [vectors / np.linalg.norm(vectors, axis=1, keepdims=True) for vectors in (usual, alone)]
    assert (units[0] * units[1]).sum(axis=1).min() > 1 - 1e-3
    if precision == "fp32":
        np.testing.assert_allclose(alone, usual, atol=1e-3)


def test_progress_and_counts_add_up(model, records):
    seen: list[int] = []
    chunks = list(encode_chunks(model, "passage", reads(records[:1500]), advance=seen.append))
    assert sum(seen) == sum(len(chunk.vectors) for chunk in chunks) == 1500
    expected = model.tokenizers["passage"].tokenize(records[:1500])
    assert sum(chunk.tokens for chunk in chunks) == int(expected.offsets[-1])
    assert sum(chunk.truncated for chunk in chunks) == expected.truncated > 0


def test_the_sides_have_their_own_templates(tiny_model, model):
    record = [Record("1", "bees", "honey")]
    passage, query = (encode_records(model, side, record, "float32").values for side in ("passage", "query"))
    assert not np.allclose(passage, query)
    assert np.array_equal(encode_records(model, "query", [Record("1", "", "honey")], "float32").values, query)


def test_what_is_stored_is_what_search_gets(model, records):
    half, full = (
        encode_records(model, "passage", records[:50], dtype).values for dtype in ("float16", "float32")
    )
    assert half.dtype == np.float16
    assert np.array_equal(half, full.astype(np.float16))


def test_no_texts_give_no_vectors(model):
    assert encode_records(model, "query", []).values.shape == (0, 32)
    assert list(encode_chunks(model, "query", [])) == []


def test_a_stop_ends_the_work_and_gives_the_threads_back(model, records):
    class Stop:
        asked = 0

        def check(self):
            self.asked += 1
            raise Interrupted("stopped")

    threads = torch.get_num_threads()

    def slow():
        import time

        time.sleep(0.5)
        return records[:5]

    with pytest.raises(Interrupted):
        list(encode_chunks(model, "passage", [slow], Stop()))
    assert torch.get_num_threads() == threads


def test_an_error_in_reading_or_computing_reaches_the_caller(model, records, monkeypatch):
    def broken():
        raise DataError("line 7 is broken")

    with pytest.raises(DataError, match="line 7"):
        list(encode_chunks(model, "passage", [broken]))
    monkeypatch.setattr(pipeline, "run_batch", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        list(encode_chunks(model, "passage", reads(records[:3])))


def test_vectors_that_are_not_numbers_name_their_texts(tiny_model, records):
    model = load_model(str(tiny_model))
    model.encoder.encoder._packed._words[:] = float("nan")  # type: ignore[attr-defined]
    with pytest.raises(DataError, match="NaN or infinity .*d0"):
        encode_records(model, "passage", records[:3])
