import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.errors import DataError
from dretrieve.runs.locate import locate, locate_file, rows_of
from dretrieve.runs.read import read_run
from dretrieve.store.ids import IdTable
from dretrieve.types import Run

IDS = ["d1", "zzz", "d40", "d7", "d100", "d3"]


@pytest.fixture(autouse=True)
def large(monkeypatch):
    """Every file counts as large, and is read in many blocks."""
    monkeypatch.setattr("dretrieve.runs.lines.SMALL", 0)
    monkeypatch.setattr("dretrieve.runs.scan.BLOCK", 300)


def as_sets(located):
    rows = zip(located.query.tolist(), located.rank.tolist(), located.place.tolist(), strict=True)
    lengths = dict(zip(located.query_ids, located.lengths.tolist(), strict=True))
    return lengths, {(located.query_ids[query], rank, located.ids[place]) for query, rank, place in rows}


def check(path):
    located = locate_file(path, IDS)
    assert as_sets(located) == as_sets(locate(read_run(path), IDS))
    order = np.lexsort((located.rank, located.query))
    assert order.tolist() == list(range(len(order)))
    return located


def lines(sizes, jitter=0):
    chance = np.random.default_rng(len(sizes) + jitter)
    rows = []
    for query, size in enumerate(sizes):
        for rank, passage in enumerate(chance.permutation(120)[:size]):
            score = int(chance.integers(0, 9)) if jitter else 100 - rank
            rows.append(f"q{query} Q0 d{passage} {rank} {score} t")
    return rows


@pytest.mark.parametrize("jitter", [0, 1])
@pytest.mark.parametrize("sizes", [[5] * 40, [60] * 4, [1] * 100, [100], [3, 90, 2, 50, 1, 1, 80]])
def test_a_file_gives_what_its_run_gives(tmp_path, sizes, jitter):
    (tmp_path / "r").write_text("\n".join(lines(sizes, jitter)) + "\n")
    located = check(tmp_path / "r")
    assert located.query_ids == [f"q{query}" for query in range(len(sizes))]
    assert located.lengths.tolist() == sizes


def test_queries_in_several_places(tmp_path):
    rows = lines([20] * 12)
    np.random.default_rng(1).shuffle(rows)
    (tmp_path / "r").write_text("\n".join(rows) + "\n")
    check(tmp_path / "r")
    rows = lines([5] * 40)
    (tmp_path / "r").write_text("\n".join([*rows[3:], *rows[:3]]) + "\n")
    check(tmp_path / "r")
    (tmp_path / "r").write_text("\n".join([*rows[:100], *rows[102:], *rows[100:102]]) + "\n")
    check(tmp_path / "r")


def test_ranks_instead_of_scores(tmp_path):
    rows = [f"q{query}\td{rank * 3}\t{rank}" for query in range(30) for rank in range(1, 9)]
    (tmp_path / "r").write_text("\n".join(rows) + "\n")
    check(tmp_path / "r")


def test_a_repetition_across_blocks_is_refused(tmp_path):
    rows = [*lines([100]), "q0 Q0 d5000 1 0 t"]
    rows.insert(1, "q0 Q0 d5000 1 99 t")
    (tmp_path / "r").write_text("\n".join(rows) + "\n")
    with pytest.raises(
        DataError, match=r"line 102: passage 'd5000' stands twice for query 'q0' \(first on line 2\)"
    ):
        locate_file(tmp_path / "r", IDS)


def test_judgements_are_no_run(tmp_path):
    rows = [f"q{row // 20}\td{row}\t1" for row in range(100)]
    (tmp_path / "r").write_text("\n".join(["query-id\tcorpus-id\tscore", *rows]) + "\n")
    with pytest.raises(DataError, match="is that of judgements; give them as --qrels"):
        locate_file(tmp_path / "r", IDS)
    (tmp_path / "r").write_text("\n".join(["query-id\tcorpus-id\tscore", *rows, "q9\td1\t.5"]) + "\n")
    check(tmp_path / "r")


def test_a_repetition_in_scattered_lines_is_refused(tmp_path):
    rows = [*lines([5] * 40), "q3 Q0 d5000 1 0 t"]
    rows.insert(16, "q3 Q0 d5000 1 99 t")
    (tmp_path / "r").write_text("\n".join(rows) + "\n")
    with pytest.raises(DataError, match="stands twice for query 'q3'"):
        locate_file(tmp_path / "r", IDS)


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 30), st.integers(0, 3)), min_size=1, max_size=60))
def test_any_file(tmp_path_factory, rows):
    unique = {(query, passage): score for query, passage, score in rows}
    path = tmp_path_factory.mktemp("r") / "r.trec"
    path.write_text(
        "".join(f"q{query} Q0 d{passage} 0 {score} t\n" for (query, passage), score in unique.items())
    )
    check(path)


def test_only(tmp_path):
    (tmp_path / "r").write_text("\n".join(lines([50] * 5)) + "\n")
    located = locate_file(tmp_path / "r", IDS)
    some = located.only(located.rank <= 10)
    assert set(as_sets(some)[1]) == {row for row in as_sets(located)[1] if row[1] <= 10}
    assert some.lengths.tolist() == [50] * 5


@pytest.fixture(params=["plain", "compiled"])
def run(request, monkeypatch):
    ids = ["a", "b", "q1", "é", "unused"]
    if request.param == "compiled":
        monkeypatch.setattr("dretrieve.runs.locate.MANY", 0)
    return Run(
        ["q1", "none", "é"],
        IdTable.of(ids) if request.param == "compiled" else ids,
        np.asarray([0, 3, 3, 6], np.int64),
        np.asarray([2, 0, 1, 0, 3, 2], np.int32),
        np.asarray([9, 8, 7, 6, 5, 4], np.float32),
    )


def test_the_hits_of_some_ids(run, monkeypatch):
    monkeypatch.setattr("dretrieve.runs.locate.CHUNK", 2)
    located = locate(run, ["é", "zzz", "a"])
    assert (located.query.tolist(), located.rank.tolist()) == ([0, 2, 2], [2, 1, 2])
    assert (located.place.tolist(), located.lengths.tolist()) == ([2, 2, 0], [3, 0, 3])


def test_rows_of_ids(run):
    assert rows_of(run, ["é", "zzz", "a", "é"]).tolist() == [3, -1, 0, 3]
    assert rows_of(run, []).tolist() == []
