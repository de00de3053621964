import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.kernels.hits import find_repeated, rank_hits, sort_hits
from dretrieve.kernels.interning import hash_all
from dretrieve.order import best_first, id_ranks
from dretrieve.store.ids import IdTable


def sort(rows_by_query, ids):
    table = IdTable.of(ids)
    offsets = np.cumsum([0] + [len(rows) for rows in rows_by_query])
    passages = np.asarray([passage for rows in rows_by_query for passage, _ in rows], np.int32)
    scores = np.asarray([score for rows in rows_by_query for _, score in rows], np.float32)
    sort_hits(offsets, (passages, scores), (table.data, table.ends))
    return offsets, passages, scores


WORDS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\n"), max_size=4)
IDS = st.lists(WORDS, min_size=1, max_size=40, unique=True)  # more than are sorted by insertion


@given(IDS, st.data())
def test_every_query_is_sorted_by_the_one_rule(ids, data):
    rows_by_query = []
    for _ in range(data.draw(st.integers(0, 4))):
        passages = data.draw(st.permutations(range(len(ids))))[: data.draw(st.integers(0, len(ids)))]
        rows_by_query.append(
            [(passage, data.draw(st.sampled_from([0.0, 1.0, 2.5, -1.0]))) for passage in passages]
        )
    offsets, passages, scores = sort(rows_by_query, ids)
    ranks = id_ranks(ids)
    for query, rows in enumerate(rows_by_query):
        if not rows:
            continue
        before = np.asarray([passage for passage, _ in rows])
        values = np.asarray([score for _, score in rows], np.float32)
        order = best_first(values, ranks[before])
        here = slice(offsets[query], offsets[query + 1])
        assert passages[here].tolist() == before[order].tolist()
        assert scores[here].tolist() == values[order].tolist()


@given(IDS, st.data())
def test_ranks_are_the_places_after_sorting(ids, data):
    scores = np.asarray([data.draw(st.sampled_from([0.0, 1.0, 2.5])) for _ in ids], np.float32)
    cut = data.draw(st.integers(0, len(ids)))
    table, rows = IdTable.of(ids), np.arange(len(ids), dtype=np.int32)
    offsets, ranks = np.asarray([0, cut, len(ids)]), np.empty(len(ids), np.int32)
    rank_hits(offsets, (rows, scores), (table.data, table.ends), ranks)
    moved = rows.copy()
    sort_hits(offsets, (moved, scores.copy()), (table.data, table.ends))
    for start, stop in ((0, cut), (cut, len(ids))):
        assert [ranks[row] for row in moved[start:stop]] == list(range(1, stop - start + 1))


def test_many_hits_of_one_query():
    rng = np.random.default_rng(3)
    ids = [f"d{number}" for number in range(1000)]
    rows = [(int(passage), float(rng.integers(0, 20))) for passage in rng.permutation(1000)]
    _, passages, scores = sort([rows], ids)
    keys = [(score, ids[passage].encode()) for passage, score in zip(passages, scores, strict=True)]
    assert keys == sorted(keys, reverse=True)


def repeated(ids_by_query, hashes=None):
    table = IdTable.of([text_id for ids in ids_by_query for text_id in ids])
    if hashes is None:
        hashes = hash_all(table.data, table.ends)
    offsets = np.cumsum([0] + [len(ids) for ids in ids_by_query])
    return find_repeated(offsets, hashes, table.data, table.ends)


def test_a_passage_twice_for_a_query_is_found():
    assert repeated([["a"], ["b", "a", "b"], ["c", "c"]]) == (1, 3)
    assert repeated([[], ["a", "b"], [], ["b", "a"]]) == (-1, -1)
    assert repeated([]) == (-1, -1)


def test_equal_hashes_of_different_ids_are_no_repetition():
    same = np.zeros(4, np.uint64)
    assert repeated([["a", "b", "ab", "ba"]], same) == (-1, -1)
    assert repeated([["a", "b", "ab", "b"]], same) == (0, 3)


@given(st.lists(st.lists(st.sampled_from(["a", "b", "c", "dd", "é"]), max_size=5), max_size=6))
def test_repetitions_are_those_a_set_finds(ids_by_query):
    first = next((row for row, ids in enumerate(ids_by_query) if len(set(ids)) < len(ids)), -1)
    assert repeated(ids_by_query)[0] == first
