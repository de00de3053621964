"""The sort of a fused list: signs, zeros, ties, more of them than are sorted by insertion."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.kernels import fuse as kernels
from dretrieve.order import best_first, id_ranks
from dretrieve.store.ids import IdTable

scores = st.lists(st.sampled_from([-3.5, -1e-30, -0.0, 0.0, 1e-30, 1.0, 2.0, 1e30]), max_size=60)


@given(scores=scores, room=st.integers(1, 70))
def test_one_list_alone_comes_out_sorted(scores: list[float], room: int) -> None:
    names = [f"p{row * 7 % 61}" for row in range(len(scores))]
    values = np.asarray(scores, dtype=np.float32)
    order = best_first(values, id_ranks(names))
    table = IdTable.of([*names, "other"])
    none = kernels.Hits(np.asarray([0]), np.empty(0, np.int32), np.empty(0, np.float32))
    run = kernels.Hits(np.asarray([0, len(scores)]), np.arange(len(scores), dtype=np.int32), values)
    kept = min(room, len(scores))
    out = kernels.Hits(np.asarray([0, kept]), np.zeros(kept, np.int32), np.zeros(kept, np.float32))
    counts = np.zeros(1, np.int64)
    rule = kernels.Rule(1.0, 1.0, False, 60.0, True, max(len(scores), 1))
    rows = np.asarray([0]), np.asarray([-1])
    kernels.fuse(rows, (run, none), rule, (table.data, table.ends), out, counts, (0, 1))
    assert counts[0] == kept
    assert out.passages.tolist() == order[:kept].tolist()
    assert out.scores.tolist() == values[order[:kept]].tolist()
