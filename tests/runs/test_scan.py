import gzip

import numpy as np
import pytest

from dretrieve.errors import DataError
from dretrieve.runs.lines import FORMS, sniff
from dretrieve.runs.read import read_run
from dretrieve.runs.scan import Scanner, interned_ids, scan_run
from tests.common import hits_of


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr("dretrieve.runs.scan.BLOCK", 256)
    monkeypatch.setattr("dretrieve.runs.lines.SMALL", 0)


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


@pytest.mark.parametrize("threads", ["1", "3"])
@pytest.mark.parametrize("name", ["r.trec", "r.trec.gz"])
def test_blocks_threads_and_form_change_nothing(tmp_path, monkeypatch, threads, name):
    path = write(tmp_path, lines(), name=name)
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    found = scan_run(path, sniff(path))
    monkeypatch.setattr("dretrieve.runs.lines.SMALL", 1 << 30)
    assert hits_of(found) == hits_of(read_run(path))


def test_a_passage_has_one_row(tmp_path):
    path = write(tmp_path, ["q1 Q0 a 1 2 t", "q1 Q0 b 2 1 t", "q2 Q0 b 1 2 t", "q2 Q0 a 2 1 t"])
    assert list(read_run(path).passage_ids) == ["a", "b"]


def test_queries_in_any_order(tmp_path):
    rows = lines()
    np.random.default_rng(0).shuffle(rows)
    path = write(tmp_path, rows)
    found = scan_run(path, sniff(path))
    expected = hits_of(read_run(write(tmp_path, lines(), name="sorted")))
    assert {query: expected[query] for query in found.query_ids} == hits_of(found)


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


def scanned(path, wanted=None):
    return Scanner(path, FORMS["trec"], wanted).parts()


LINES = [f"q{row // 7} Q0 d{row} 1 {1000 - row} t" for row in range(200)]


@pytest.fixture(params=["r.trec", "r.trec.gz"])
def path(request, tmp_path):
    path = tmp_path / request.param
    data = ("\n".join(LINES) + "\n").encode()
    path.write_bytes(gzip.compress(data) if request.param.endswith("gz") else data)
    return path


@pytest.mark.parametrize("threads", ["1", "4"])
def test_parts_hold_the_lines_in_order(path, monkeypatch, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    seen, parts = [], 0
    for part in scanned(path):
        for stretch, name in enumerate(part.query_ids):
            seen += [
                (name, part.scan.scores[row]) for row in range(part.bounds[stretch], part.bounds[stretch + 1])
            ]
        parts += 1
    assert seen == [(f"q{row // 7}".encode(), 1000 - row) for row in range(200)]
    assert parts > 5


def test_wanted_ids_are_found_with_their_places(path):
    found = []
    for part in scanned(path, interned_ids(["d150", "zzz", "d3"])):
        found += [(float(part.scan.scores[row]), int(part.scan.places[row])) for row in part.found]
    assert found == [(997.0, 2), (850.0, 0)]


def test_ranks_obey_the_scores_and_not_the_lines(path, monkeypatch):
    monkeypatch.setattr("dretrieve.runs.scan.BLOCK", 1 << 16)
    lines = LINES.copy()
    lines[73] = "q10 Q0 d73 1 5000 t"
    path.write_bytes(("\n".join(lines) + "\n").encode())
    ranks = {}
    for part in scanned(path, interned_ids([f"d{row}" for row in range(70, 77)])):
        ranks |= {int(part.scan.places[row]): int(part.scan.ranks[row]) for row in part.found}
    assert ranks == {3: 1, 0: 2, 1: 3, 2: 4, 4: 5, 5: 6, 6: 7}


def test_a_passage_twice_in_a_stretch(path):
    lines = LINES.copy()
    lines[151] = lines[150].replace(" 1 ", " 2 ")
    path.write_bytes(("\n".join(lines) + "\n").encode())
    with pytest.raises(
        DataError, match=r"line 152: passage 'd150' stands twice for query 'q21' \(first on line 151\)"
    ):
        list(scanned(path, interned_ids(["x"])))


def test_stopping_early_leaves_nothing_behind(path):
    parts = scanned(path)
    assert len(next(parts).query_ids) > 0
    parts.close()
    assert np.array_equal(
        [part.bounds[0] for part in scanned(path)],
        np.zeros(len(list(scanned(path)))),
    )
