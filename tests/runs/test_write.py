import bz2
import gzip
import io
import lzma
from dataclasses import replace

import numpy as np
import pytest
import zstandard

from dretrieve.errors import DataError
from dretrieve.runs.read import read_run
from dretrieve.runs.write import write_run
from dretrieve.store.ids import IdTable
from dretrieve.types import Run


@pytest.fixture(params=["plain", "compiled"])
def path_taken(request, monkeypatch):
    if request.param == "compiled":
        monkeypatch.setattr("dretrieve.runs.write.FEW", 0)
    return request.param


def make(table=False, query_ids=("q1", "001"), tag="mine"):
    ids = ["unused", "a", "é", "c"]
    return Run(
        list(query_ids),
        IdTable.of(ids) if table else ids,
        np.asarray([0, 3, 4], np.int64),
        np.asarray([1, 2, 3, 1], np.int32),
        np.asarray([12.5, 0.1, -3e-7, 1e10], np.float32),
        tag,
    )


def written(run, **options):
    file = io.BytesIO()
    write_run(file, run, **options)
    return file.getvalue().decode()


@pytest.mark.parametrize("table", [False, True])
def test_trec(path_taken, table):
    assert written(make(table)).splitlines() == [
        "q1 Q0 a 1 12.5 mine",
        "q1 Q0 é 2 0.100000001 mine",
        "q1 Q0 c 3 -3.00000011e-07 mine",
        "001 Q0 a 1 1e+10 mine",
    ]


def test_msmarco_and_tevatron(path_taken):
    assert written(make(), form="msmarco") == "q1\ta\t1\nq1\té\t2\nq1\tc\t3\n001\ta\t1\n"
    assert written(make(), form="tevatron").splitlines()[:2] == ["q1\ta\t12.5", "q1\té\t0.100000001"]


def test_the_lines_are_counted(path_taken):
    assert write_run(io.BytesIO(), make()) == 4


def test_both_ways_write_the_same_bytes_and_floats_survive(tmp_path, monkeypatch):
    rng = np.random.default_rng(7)
    bits = rng.integers(0, 1 << 32, 40_000, dtype=np.uint64).astype(np.uint32).view(np.float32)
    scores = np.concatenate([
        bits[np.isfinite(bits)],
        rng.random(20_000, dtype=np.float32) * 100,
        np.float32(10.0) ** rng.integers(-8, 12, 500).astype(np.float32),
        np.arange(-3000, 3000, dtype=np.float32) / 8,
        np.asarray([0.0, -0.0, 999999999.5, 99999999.5, 1e-4, 9.99999e-5, 1e9, 2.0**-149], np.float32),
    ])  # fmt: skip
    scores = -np.sort(-scores)
    count = len(scores)
    run = Run(
        ["q1", "empty", "q2"],
        [f"d{row}" for row in range(count)],
        np.asarray([0, count // 3, count // 3, count], np.int64),
        np.arange(count, dtype=np.int32),
        scores,
    )
    plain = written(run)
    monkeypatch.setattr("dretrieve.runs.write.FEW", 0)
    monkeypatch.setattr("dretrieve.runs.write.HITS_PER_BLOCK", 10_000)
    assert written(run) == plain
    (tmp_path / "r").write_text(plain)
    again = {p: s for row in range(2) for p, s in read_run(tmp_path / "r").hits(row)}
    assert all(np.float32(again[f"d{row}"]) == score for row, score in enumerate(scores))


def test_compression_by_name_is_deterministic(tmp_path, monkeypatch):
    for name, decompress in (
        ("r.gz", gzip.decompress),
        ("r.bz2", bz2.decompress),
        ("r.xz", lzma.decompress),
        ("r.zst", lambda data: zstandard.ZstdDecompressor().stream_reader(io.BytesIO(data)).read()),
    ):
        write_run(tmp_path / name, make())
        first = (tmp_path / name).read_bytes()
        monkeypatch.setattr("time.time", lambda: 1.0)
        write_run(tmp_path / f"other-{name}", make())
        assert (tmp_path / f"other-{name}").read_bytes() == first
        assert decompress(first).decode() == written(make())
        monkeypatch.undo()


def test_a_file_object_is_compressed_as_its_name_says():
    file = io.BytesIO()
    write_run(file, make(), name="run.trec.gz")
    assert gzip.decompress(file.getvalue()).decode() == written(make())


@pytest.mark.parametrize("bad", ["", " first", "last ", "tab\there", "line\nend", "return\rhere"])
@pytest.mark.parametrize("table", [False, True])
def test_ids_that_break_a_line_are_refused(path_taken, bad, table):
    run = make()
    ids = ["unused", "a", bad, "c"]
    passages = IdTable.of(ids) if table and "\n" not in bad else ids
    with pytest.raises(
        DataError,
        match=r"the passage id .* (is empty|holds a tab or|begins or ends with a blank).*, so no line",
    ):
        written(Run(run.query_ids, passages, run.offsets, run.passages, run.scores))
    with pytest.raises(DataError, match="the query id"):
        written(make(query_ids=["q1", bad]))


def test_a_query_id_that_would_be_a_comment_is_refused(path_taken):
    with pytest.raises(DataError, match="the query id '#1' begins with #, as a comment does, so no line"):
        written(make(query_ids=["q1", "#1"]))


def test_ids_and_tags_with_blanks_are_parted_by_tabs(tmp_path, path_taken):
    run = make()
    for odd in (
        Run(run.query_ids, ["x", "Old Harbour", "é", "c"], run.offsets, run.passages, run.scores),
        make(query_ids=["q 1", "q2"]),
        replace(run, tag="my run"),
    ):
        for form in ("trec", "tevatron"):
            write_run(tmp_path / "r", odd, form=form)
            again = read_run(tmp_path / "r")
            assert [[p for p, _ in again.hits(row)] for row in range(len(again))] == [
                [p for p, _ in odd.hits(row)] for row in range(len(odd)) if list(odd.hits(row))
            ]


def test_doubles_survive_and_whole_scores_are_told_from_ranks(tmp_path, path_taken):
    scores = np.sort(np.random.default_rng(3).random(500) * 10.0 ** np.arange(-8, 12, 0.04))[::-1]
    scores = np.concatenate([[1e300, 16777217, 16777216.5], scores, [0.0, -1e-5, -0.1, -1 / 3, -(2.0**60)]])
    scores = -np.sort(-scores)
    count = len(scores)
    names = [f"d{row}" for row in range(count)]
    run = Run(["q"], names, np.asarray([0, count]), np.arange(count, dtype=np.int32), scores)
    for form in ("trec", "tevatron"):
        write_run(tmp_path / "r", run, form=form)
        assert list(read_run(tmp_path / "r").hits(0)) == list(run.hits(0))
    for whole in (np.asarray([2.0, 1.0]), np.asarray([1e15, -0.0], np.float32)):
        write_run(
            tmp_path / "r",
            Run(["q"], ["a", "b"], np.asarray([0, 2]), np.arange(2, dtype=np.int32), whole),
            form="tevatron",
        )
        assert [passage for passage, _ in read_run(tmp_path / "r").hits(0)] == ["a", "b"]
        assert not read_run(tmp_path / "r").by_rank


def test_unused_ids_are_not_looked_at(path_taken):
    run = make()
    assert written(Run(run.query_ids, ["not used", "a", "é", "c"], run.offsets, run.passages, run.scores))


def test_a_run_without_hits(path_taken):
    none = np.empty(0, np.int32)
    assert written(Run(["q"], [], np.zeros(2, np.int64), none, none.astype(np.float32))) == ""


def test_nothing_is_left_when_writing_fails(tmp_path):
    with pytest.raises(DataError):
        write_run(tmp_path / "r.trec", make(query_ids=["q1", ""]))
    assert list(tmp_path.iterdir()) == []


def test_both_ways_write_the_same_doubles_and_they_survive(tmp_path, monkeypatch):
    rng = np.random.default_rng(3)
    scores = np.concatenate([
        rng.random(3000) * np.repeat([1e-5, 1e-3, 1, 80, 1e4, 1e9], 500),
        rng.random(500, dtype=np.float32).astype(np.float64),
        np.round(rng.random(2000) * 100, 10),
        -np.arange(1, 500) / 3,
        np.asarray([0.0, -0.0, 1e22, 1e-300, 2.0**-13, 999999999.5, 12345678901.0, 1e16, 0.1 + 0.2]),
    ])  # fmt: skip
    scores = -np.sort(-scores)
    count = len(scores)
    ids = [f"d{row}" for row in range(count)]
    run = Run(["q"], ids, np.asarray([0, count]), np.arange(count, dtype=np.int32), scores)
    plain = written(run)
    assert [line.split()[4] for line in plain.splitlines()] == [
        f"{score:.9g}" if float(f"{score:.9g}") == score else repr(score) for score in scores.tolist()
    ]
    monkeypatch.setattr("dretrieve.runs.write.FEW", 0)
    assert written(run) == plain
    (tmp_path / "r").write_text(plain)
    assert [score for _, score in read_run(tmp_path / "r").hits(0)] == scores.tolist()


def test_a_run_made_of_ranks_is_known_when_it_is_read_back(tmp_path, path_taken):
    (tmp_path / "ranks").write_text("q\ta\t1\nq\tb\t2\n")
    write_run(tmp_path / "r", read_run(tmp_path / "ranks", "msmarco"))
    assert (tmp_path / "r").read_text() == "q Q0 a 1 1 dretrieve-ranks\nq Q0 b 2 0.5 dretrieve-ranks\n"
    again = read_run(tmp_path / "r")
    assert again.by_rank
    assert again.scores.tolist() == [1.0, 0.5]
