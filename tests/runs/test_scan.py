import gzip

import numpy as np
import pytest

from dretrieve.errors import DataError
from dretrieve.runs.read import read_run, sniff
from dretrieve.runs.scan import interned_ids, scan_run


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr("dretrieve.runs.blocks.BLOCK", 256)
    monkeypatch.setattr("dretrieve.runs.read.SMALL", 0)


def lines(count=300, per_query=40):
    rng = np.random.default_rng(2)
    return [
        f"q{row // per_query} Q0 d{rng.integers(0, 9)}-{row} {row} {rng.integers(0, 5) / 3:.17g} t"
        for row in range(count)
    ]


def write(tmp_path, rows, ending="\n", name="r.trec"):
    path = tmp_path / name
    data = (ending.join(rows) + ending).encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def hits(run):
    return {query: list(run.hits(row)) for row, query in enumerate(run.query_ids)}


@pytest.mark.parametrize("threads", ["1", "3"])
@pytest.mark.parametrize("name", ["r.trec", "r.trec.gz"])
def test_blocks_threads_and_form_change_nothing(tmp_path, monkeypatch, threads, name):
    path = write(tmp_path, lines(), name=name)
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    scanned = scan_run(path, sniff(path))
    monkeypatch.setattr("dretrieve.runs.read.SMALL", 1 << 30)
    assert hits(scanned) == hits(read_run(path))


def test_a_passage_has_one_row(tmp_path):
    path = write(tmp_path, ["q1 Q0 a 1 2 t", "q1 Q0 b 2 1 t", "q2 Q0 b 1 2 t", "q2 Q0 a 2 1 t"])
    assert list(read_run(path).passage_ids) == ["a", "b"]


def test_queries_in_any_order(tmp_path):
    rows = lines()
    np.random.default_rng(0).shuffle(rows)
    path = write(tmp_path, rows)
    scanned = scan_run(path, sniff(path))
    expected = hits(read_run(write(tmp_path, lines(), name="sorted")))
    assert {query: expected[query] for query in scanned.query_ids} == hits(scanned)


def test_a_line_longer_than_a_block(tmp_path):
    long = "x" * 1000
    path = write(tmp_path, ["q Q0 a 1 3 t", f"q Q0 {long} 2 2 t", "q Q0 b 3 1 t"])
    assert [passage for passage, _ in read_run(path).hits(0)] == ["a", long, "b"]


@pytest.mark.parametrize(
    ("row", "broken", "message"),
    [
        (250, "q6 Q0 d 1 nan t", "line 251: the score is 'nan'"),
        (250, "q6 Q0 d 1 1e309 t", "line 251: the score '1e309' is larger than a 64-bit float can hold"),
        (250, "q6 Q0 d 1", "line 251: expected 6 columns"),
        (3, "q0 Q0 d \udcff 1 t", "line 4: not UTF-8 (byte 0xff)"),
        (250, "q6 Q0 d \udcff 1 t", "line 251: not UTF-8 (byte 0xff)"),
    ],
)
@pytest.mark.parametrize("name", ["r.trec", "r.trec.gz"])
def test_errors_name_the_line_of_the_file(tmp_path, row, broken, message, name):
    rows = lines()
    rows[row] = broken
    path = tmp_path / name
    data = ("\n".join(rows) + "\n").encode("utf-8", "surrogateescape")
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    with pytest.raises(DataError) as caught:
        read_run(path)
    assert message in str(caught.value)


def test_repetitions_far_apart(tmp_path):
    rows = lines()
    rows[299] = rows[1].replace(" t", " u")
    path = write(tmp_path, rows)
    with pytest.raises(
        DataError, match=r"line 300: passage .* stands twice for query 'q0' \(first on line 2\)"
    ):
        read_run(path)


def test_the_last_line_needs_no_end(tmp_path):
    path = tmp_path / "r"
    path.write_text("\n".join(lines()))
    assert len(read_run(path).scores) == 300


def test_interned_ids_have_their_places(tmp_path):
    table = interned_ids(["b", "a", "é"])
    assert bytes(table.data[: table.counts[1]]).decode().split() == ["b", "a", "é"]
    assert table.counts[0] == 3
