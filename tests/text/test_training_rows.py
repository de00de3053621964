"""Training rows that carry their texts: DPR's (array, pretty-printed, lines), Tevatron's, bare texts."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dretrieve.errors import DataError
from dretrieve.text.beir import Query
from dretrieve.text.forms import detect
from dretrieve.text.training_rows import content_id, read_training
from dretrieve.types import Record
from tests.common import lines


def rows_of(path: Path) -> list:
    """Return the training rows by the detected form."""
    return [row for _, row in read_training(path, detect(path).name)]


def test_content_ids_tell_title_from_text() -> None:
    assert content_id("a", "b") != content_id("", "ab") != content_id("ab", "")


def dpr_rows() -> list[dict]:
    """Two questions, the second without positives."""
    return [
        {
            "question": "who wrote dune",
            "answers": ["Frank Herbert", 1965],
            "positive_ctxs": [
                {"title": "Dune", "text": "Dune is", "passage_id": "12"},
                {"title": "H", "text": "F"},
            ],
            "negative_ctxs": [{"title": "", "text": "easy", "psg_id": 5}],
            "hard_negative_ctxs": [{"title": "A", "text": "hard", "score": 1000, "passage_id": ""}],
        },
        {
            "question": "none",
            "answers": [],
            "positive_ctxs": [],
            "negative_ctxs": [],
            "hard_negative_ctxs": [],
        },
    ]


@pytest.mark.parametrize("form", ["array", "pretty", "jsonl"])
def test_dpr_training(tmp_path: Path, form: str) -> None:
    path = tmp_path / "train.json"
    if form == "jsonl":
        lines(path, *dpr_rows())
    else:
        path.write_text(json.dumps(dpr_rows(), indent=4 if form == "pretty" else None), encoding="utf-8")
    first, second = rows_of(path)
    assert first.query == Query("0", "who wrote dune", ("Frank Herbert", "1965"))
    assert first.positives == (Record("12", "Dune", "Dune is"), Record(content_id("H", "F"), "H", "F"))
    assert first.negatives == (Record(content_id("A", "hard"), "A", "hard"),)
    assert first.others == (Record("5", "", "easy"),)
    assert second.positives == ()


def test_easy_negatives_serve_where_there_are_no_hard_ones(tmp_path: Path) -> None:
    row = {**dpr_rows()[0], "hard_negative_ctxs": []}
    (found,) = rows_of(lines(tmp_path / "train.json", row))
    assert found.negatives == (Record("5", "", "easy"),)
    assert found.others == ()


def test_tevatron_classic(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "t.jsonl",
        {
            "query_id": "7",
            "query": "who wrote dune",
            "answers": ["Frank Herbert"],
            "positive_passages": [{"docid": "p12", "title": "Dune", "text": "Dune is", "score": 3}],
            "negative_passages": [
                {"docid": "p9", "text": "Arrakis"},
                {"docid": "p8", "title": "", "text": ""},
            ],
        },
    )
    (row,) = rows_of(path)
    assert (row.query.id, row.query.answers) == ("7", ("Frank Herbert",))
    assert row.positives == (Record("p12", "Dune", "Dune is"),)
    assert row.negatives == (Record("p9", "", "Arrakis"), Record("p8", "", ""))
    assert (row.positive_scores, row.negative_scores) == ((3.0,), None)


def test_bare_texts_get_ids_by_content(tmp_path: Path) -> None:
    flag = lines(
        tmp_path / "flag.jsonl",
        {
            "query": "q",
            "pos": ["a"],
            "neg": ["b", "a"],
            "pos_scores": [0.9],
            "neg_scores": [0.2, 0.1],
            "prompt": "x",
        },
    )
    (row,) = rows_of(flag)
    assert row.positives[0].id == row.negatives[1].id == content_id("", "a")
    assert row.negative_scores == (0.2, 0.1)
    triplets = lines(
        tmp_path / "st.jsonl",
        {"anchor": "q", "positive": "a", "negative_1": "b", "negative_2": "c", "label": [3, 2.5, 1]},
    )
    (row,) = rows_of(triplets)
    assert [record.text for record in (*row.positives, *row.negatives)] == ["a", "b", "c"]
    assert (row.positive_scores, row.negative_scores) == ((3.0,), (2.5, 1.0))


@pytest.mark.parametrize(
    ("given", "scores"),
    [
        ({"negative": "b"}, (None, None)),
        ({"negative": "b", "score": 2.5}, ((0.0,), (-2.5,))),  # the margin of MarginMSELoss
        ({"negative1": "b", "negative2": "c", "scores": [2.5, -1]}, ((0.0,), (-2.5, 1.0))),
        ({"negative": "b", "scores": [9, 2]}, ((9.0,), (2.0,))),
    ],
)
def test_a_teachers_scores_of_triplets(tmp_path: Path, given: dict, scores: tuple) -> None:
    (row,) = rows_of(lines(tmp_path / "st.jsonl", {"anchor": "q", "positive": "a", **given}))
    assert (row.positive_scores, row.negative_scores) == scores
    assert len(row.negatives) == len(scores[1] or "1")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"score": 0.8}, "'score' is a grade of a pair, which is not learned here; drop the key"),
        ({"negative": "b", "scores": [1, 2, 3]}, "'scores' must hold a teacher's 2 scores .* or 1 margins"),
        ({"negative": "b", "negative_2": "c", "label": 1}, "'label' must hold a teacher's 3 scores"),
        ({"negative": "b", "scores": [1, None]}, "'scores' must hold"),
        ({"negative": "b", "scores": [True, 2]}, "'scores' must hold"),
    ],
)
def test_scores_that_are_not_one_for_each_passage(tmp_path: Path, given: dict, message: str) -> None:
    path = lines(tmp_path / "st.jsonl", {"anchor": "q", "positive": "a", **given})
    with pytest.raises(DataError, match=f"line 1: .*{message}"):
        rows_of(path)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"query": "q", "neg": []}, "none"),
        ({"query": "q", "pos": ["a"], "neg": "b"}, "'neg' is a string, expected an array"),
        ({"query": "q", "pos": ["a"], "pos_scores": [1, 2]}, "'pos_scores' must hold 1 numbers"),
        ({"query": "q", "pos": [1]}, "'pos' is a number, expected a string"),
    ],
)
def test_broken_flag_embedding(tmp_path: Path, row: dict, message: str) -> None:
    path = lines(tmp_path / "flag.jsonl", {"query": "q", "pos": ["a"]}, row)
    message = "lacks the key 'pos'" if message == "none" else message
    with pytest.raises(DataError, match=f"line 2: .*{message}"):
        rows_of(path)


@pytest.mark.parametrize("form", ["array", "lines"])
def test_every_form_may_be_an_array(tmp_path: Path, form: str) -> None:
    rows = [{"query": "q", "pos": ["a"], "neg": ["b"]}, {"query": "r", "pos": ["c"], "neg": []}]
    path = lines(tmp_path / "flag", *(rows if form == "lines" else [rows]))
    assert [row.query for row in rows_of(path)] == [Query("0", "q"), Query("1", "r")]


@pytest.mark.parametrize(
    ("given", "negatives"),
    [
        ({"negative": "b", "negative_2": "c"}, ["b", "c"]),
        ({"negatives": ["b", "c"], "id": 7}, ["b", "c"]),
        ({"hard_negative": "b", "neg_1": "c"}, ["b", "c"]),
        ({"negative": []}, []),
    ],
)
def test_negatives_of_triplets_by_their_names(tmp_path: Path, given: dict, negatives: list[str]) -> None:
    (row,) = rows_of(lines(tmp_path / "st.jsonl", {"anchor": "q", "positive": "a", **given}))
    assert [record.text for record in row.negatives] == negatives
    path = lines(tmp_path / "st.jsonl", {"anchor": "q", "positive": "a", "bm25_neg": "x", **given})
    with pytest.raises(DataError, match="line 1: 'bm25_neg' may hold negatives; call them negative"):
        rows_of(path)


def test_arrays_of_texts(tmp_path: Path) -> None:
    """sentence-transformers' embedding-training-data: pairs and triplets, an array a line."""
    path = lines(
        tmp_path / "gooaq.jsonl", ["rust", "oxide"], ["what is rust", "Rust, a\tlanguage", "iron", "b"]
    )
    first, second = rows_of(path)
    assert (first.query, second.query) == (Query("0", "rust"), Query("1", "what is rust"))
    assert [of.text for of in (*first.positives, *first.negatives)] == ["oxide"]
    assert [of.text for of in (*second.positives, *second.negatives)] == ["Rust, a\tlanguage", "iron", "b"]
    for row in (["alone"], ["q", 7], ["q", ["a"]], {"anchor": "q"}):
        with pytest.raises(DataError, match=r'line 2: expected \["query", "positive", "negative", …\], all'):
            rows_of(lines(tmp_path / "bad.jsonl", ["what is", "a"], row))


@pytest.mark.parametrize(
    ("text", "scores"),
    [
        ('what is rust\tRust, a language\tiron "oxide"\nrust\tx\t7\n', None),
        ('\ufeffwhat is rust\tRust, a language\tiron "oxide"\r\nrust\tx\t7\r\n', None),
        ('query\tpos\tneg\nwhat is rust\tRust, a language\t"iron ""oxide"""\nrust\tx\t7\n', None),
        ('Negative,Anchor,Positive\n"iron ""oxide""",what is rust,"Rust, a language"\n7,rust,x\n', None),
        ('score\tquery\tpos\tneg\n2.5\twhat is rust\tRust, a language\tiron "oxide"\n1\trust\tx\t7\n', -2.5),
    ],
)
def test_triples_of_texts_in_columns(tmp_path: Path, text: str, scores: float | None) -> None:
    (tmp_path / "triples.tsv").write_text(text, encoding="utf-8", newline="")
    first, second = rows_of(tmp_path / "triples.tsv")
    assert (first.query, second.query) == (Query("0", "what is rust"), Query("1", "rust"))
    assert [of.text for of in (*first.positives, *first.negatives)] == ["Rust, a language", 'iron "oxide"']
    assert [of.text for of in (*second.positives, *second.negatives)] == ["x", "7"]
    assert first.negative_scores == (None if scores is None else (scores,))
    with (tmp_path / "triples.tsv").open("a") as file:
        file.write("one\tmore\n")
    with pytest.raises(DataError, match=r"line \d: found \d columns, expected"):
        rows_of(tmp_path / "triples.tsv")


def test_blank_cells_of_triples(tmp_path: Path) -> None:
    (tmp_path / "triples.csv").write_text("anchor,positive,negative_1,negative_2\nq,a,b,\nq,,b,c\n")
    rows = read_training(tmp_path / "triples.csv", "triples-of-texts")
    assert [of.text for of in next(rows)[1].negatives] == ["b"]
    with pytest.raises(DataError, match="line 3: expected an anchor .* and a positive"):
        next(rows)
