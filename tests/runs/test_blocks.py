import gzip

import numpy as np
import pytest

from dretrieve.errors import DataError
from dretrieve.runs.blocks import scanned
from dretrieve.runs.lines import FORMS
from dretrieve.runs.scan import interned_ids

LINES = [f"q{row // 7} Q0 d{row} 1 {1000 - row} t" for row in range(200)]


@pytest.fixture(params=["r.trec", "r.trec.gz"])
def path(request, tmp_path, monkeypatch):
    monkeypatch.setattr("dretrieve.runs.blocks.BLOCK", 512)
    path = tmp_path / request.param
    data = ("\n".join(LINES) + "\n").encode()
    path.write_bytes(gzip.compress(data) if request.param.endswith("gz") else data)
    return path


@pytest.mark.parametrize("threads", ["1", "4"])
def test_parts_hold_the_lines_in_order(path, monkeypatch, threads):
    monkeypatch.setenv("OMP_NUM_THREADS", threads)
    seen, shares = [], []
    for part in scanned(path, FORMS["trec"]):
        for stretch, name in enumerate(part.query_ids):
            seen += [
                (name, part.scan.scores[row]) for row in range(part.bounds[stretch], part.bounds[stretch + 1])
            ]
        shares.append(part.share)
    assert seen == [(f"q{row // 7}".encode(), 1000 - row) for row in range(200)]
    assert len(shares) > 5
    assert shares[-1] == (0 if path.suffix == ".gz" else 1)


def test_wanted_ids_are_found_with_their_places(path):
    found = []
    for part in scanned(path, FORMS["trec"], interned_ids(["d150", "zzz", "d3"])):
        found += [(float(part.scan.scores[row]), int(part.scan.places[row])) for row in part.found]
    assert found == [(997.0, 2), (850.0, 0)]


def test_ranks_obey_the_scores_and_not_the_lines(path):
    lines = LINES.copy()
    lines[73] = "q10 Q0 d73 1 5000 t"
    path.write_bytes(("\n".join(lines) + "\n").encode())
    ranks = {}
    for part in scanned(path, FORMS["trec"], interned_ids([f"d{row}" for row in range(70, 77)])):
        ranks |= {int(part.scan.places[row]): int(part.scan.ranks[row]) for row in part.found}
    assert ranks == {3: 1, 0: 2, 1: 3, 2: 4, 4: 5, 5: 6, 6: 7}


def test_a_passage_twice_in_a_stretch(path):
    lines = LINES.copy()
    lines[151] = lines[150].replace(" 1 ", " 2 ")
    path.write_bytes(("\n".join(lines) + "\n").encode())
    with pytest.raises(
        DataError, match=r"line 152: passage 'd150' stands twice for query 'q21' \(first on line 151\)"
    ):
        list(scanned(path, FORMS["trec"], interned_ids(["x"])))


def test_stopping_early_leaves_nothing_behind(path):
    parts = scanned(path, FORMS["trec"])
    assert len(next(parts).query_ids) > 0
    parts.close()
    assert np.array_equal(
        [part.bounds[0] for part in scanned(path, FORMS["trec"])],
        np.zeros(len(list(scanned(path, FORMS["trec"])))),
    )
