import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.errors import DataError, PreconditionError
from dretrieve.text.qrels import read_qrels


def judgements(qrels):
    return {
        query: {
            qrels.passage_ids[qrels.passages[row]]: int(qrels.grades[row])
            for row in range(qrels.offsets[place], qrels.offsets[place + 1])
        }
        for place, query in enumerate(qrels.query_ids)
    }


def read(tmp_path, text):
    path = tmp_path / "qrels.tsv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return judgements(read_qrels(path))


EXPECTED = {"001": {"a": 1, "b": 0}, "q2": {"a": -1, "c": 3}}


@pytest.mark.parametrize(
    "text",
    [
        "query-id\tcorpus-id\tscore\n001\ta\t1\n001\tb\t0\nq2\ta\t-1\nq2\tc\t3\n",
        "001\ta\t1\n001\tb\t0\nq2\ta\t-1\nq2\tc\t3",
        "001 0 a 1\n001 0 b 0\nq2 Q0 a -1\nq2 0 c +3\n",
        "001\t0\ta\t1\r\n\r\n001\t0\tb\t0\r\nq2\t0\ta\t-1\r\nq2\t0\tc\t3\r\n",
        "\ufeffqid iter docid relevance\n001 0 a 1\n001 0 b 0\nq2 0 a -1\nq2 0 c 3\n",
        "001 0 a 1\nq2 0 a -1\n001 0 b 0\nq2 0 c 3\n",
        "# pool A\n001 0 a 1\n001 0 b 0\n# more\nq2 0 a -1\nq2 0 c 3.0\n",
        "corpus-id\tquery-id\tscore\na\t001\t1\nb\t001\t0\na\tq2\t-1\nc\tq2\t3\n",
        "qid\tdocno\trel\n001\ta\t1.0\n001\tb\t0\nq2\ta\t-1\nq2\tc\t3\n",
        "".join(
            json.dumps({"query-id": query, "corpus-id": passage, "score": grade}) + "\n"
            for query, judged in EXPECTED.items()
            for passage, grade in judged.items()
        ),
        json.dumps(
            [{"qid": q, "docno": p, "label": grade} for q, of in EXPECTED.items() for p, grade in of.items()]
        ),
        json.dumps(EXPECTED),
        json.dumps(EXPECTED, indent=2),
    ],
)
def test_forms(tmp_path, text):
    assert read(tmp_path, text) == EXPECTED


def test_a_header_is_one_by_the_name_of_its_last_column_only(tmp_path):
    with pytest.raises(DataError, match="line 1: the grade 'high' is not a whole number"):
        read(tmp_path, "q1\ta\thigh\nq1\tb\t1\n")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("q a 1\nq 0 b 1\n", "line 2: expected 3 columns as on the lines before (query passage grade"),
        ("q1\tx\ta b\t1\tz\n", "line 1: expected 3 or 4 columns"),
        ("q1 0\ta\t1\n", "found 3 parted by tabs (4 by blanks too; part all by tabs)"),
        ("1 0 12\n2 0 15\n", "every passage would be called 0"),
        ("1 d12 1 0\n2 d15 2 0\n", "every passage would be called 1, 2; order them so, or name them"),
        ("1\td12\t0\t1\n2\td15\t0\t2\n", "every passage would be called 0"),
        ('[{"qid": "q", "docno": "a", "label": 1}, 5]', "expected an array of objects, found a number"),
        ('[{"qid": "q"}]', "JSON qrels are one object"),
        (
            '{"qid": "q", "docno": "a", "label": 1}\n{"qid": "q", "docno": "b"}\n',
            "line 2: lacks the key 'label' (has qid, docno)",
        ),
        (
            '{"qid": "q", "docno": "a", "label": 1, "run": "r", "by": "x"}\n',
            "of 3 or 4 keys with a query, a passage and a grade; found the keys 'qid', 'docno', 'label'",
        ),
        ("q\t\t1\n", "column 2 of 3 is empty"),
        ("q a\n", "line 1: expected 3 or 4 columns"),
        ("q a 1\nq b 1.5\n", "line 2: the grade '1.5' is not a whole number; grades are integers"),
        ("q a 99999999999\n", "line 1: the grade '99999999999' is not a whole number of 32 bits"),
        (f"q a {'9' * 5000}\n", "99'… (5,000 characters) is not a whole number of 32 bits"),
        (
            "q a 1\np a 1\nq a 2\n",
            "line 3: passage 'a' is judged twice for query 'q' (first on line 1); remove one",
        ),
        ("", "the file holds no judgements; name the qrels of the right split"),
        ("query-id\tcorpus-id\tscore\n", "the file holds no judgements"),
        (b"q a 1\nq \xff 1\n", "line 2: not UTF-8"),
        ('{"q": 1}', 'JSON qrels are one object {"query": {"passage": grade, …}, …}'),
        ('{"q": {"a": "x"}}', "the grade '\"x\"' is not a whole number (query 'q', passage 'a')"),
        ("{}", "the file holds no judgements"),
    ],
)
def test_broken_qrels(tmp_path, text, message):
    with pytest.raises(DataError) as caught:
        read(tmp_path, text)
    assert message in str(caught.value)


def test_small_numbers_are_ids_behind_trecs_zero(tmp_path):
    assert read(tmp_path, "1 0 1 1\n2 Q0 0 2\n") == {"1": {"1": 1}, "2": {"0": 2}}
    assert read(tmp_path, "qid docno rel iter\n1 1 2 0\n") == {"1": {"1": 2}}
    assert read(tmp_path, "[q 0 d 1\n") == {"[q": {"d": 1}}


def test_a_line_with_tabs_is_cut_at_tabs_only(tmp_path):
    assert read(tmp_path, "q1\t0\tOld Harbour\t1\nq2 0 d1 2\n") == {"q1": {"Old Harbour": 1}, "q2": {"d1": 2}}


def test_no_such_file(tmp_path):
    with pytest.raises(PreconditionError, match="does not exist"):
        read_qrels(tmp_path / "none")


IDS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters=" \t\r\n"), min_size=1, max_size=5)


@given(
    st.dictionaries(
        IDS.filter(lambda name: not name.startswith("#")),
        st.dictionaries(IDS, st.integers(-3, 5), min_size=1, max_size=5),
        min_size=1,
        max_size=4,
    )
)
def test_judgements_survive_writing_and_reading(tmp_path_factory, found):
    path = tmp_path_factory.mktemp("qrels") / "test.tsv"
    rows = [f"{query}\t{passage}\t{grade}\n" for query in found for passage, grade in found[query].items()]
    path.write_text("query-id\tcorpus-id\tscore\n" + "".join(rows))
    assert judgements(read_qrels(path)) == found


def test_comments_tabs_and_ids_with_blanks(tmp_path):
    path = tmp_path / "qrels"
    path.write_text("# pool A\nq1 0 d2 1\n  # second topic\nq2 0 d#9 2\n")
    qrels = read_qrels(path)
    assert (list(qrels.query_ids), list(qrels.passage_ids)) == (["q1", "q2"], ["d2", "d#9"])
    path.write_text("query-id\tcorpus-id\tscore\nq 1\tOld Harbour\t1\nq 1\tHarbour\t0\n")
    qrels = read_qrels(path)
    assert (list(qrels.query_ids), list(qrels.passage_ids)) == (["q 1"], ["Old Harbour", "Harbour"])
    path.write_text("q1\t0\td1\t1\nq1\t0\t\t1\n")
    with pytest.raises(DataError, match="line 2: column 3 of 4 is empty"):
        read_qrels(path)
    path.write_text("q1\t0\td1\t1\nq1 0\tOld Harbour 1\n")
    with pytest.raises(
        DataError, match=r"line 2: expected 4 columns .* found 2 parted by tabs \(5 by blanks too"
    ):
        read_qrels(path)


def test_a_key_twice_in_json_is_refused(tmp_path):
    (tmp_path / "q.json").write_text('{"q": {"a": 1, "a": 0}}')
    with pytest.raises(DataError, match="the key 'a' stands twice in one object"):
        read_qrels(tmp_path / "q.json")


def test_json_one_object_a_line(tmp_path):
    (tmp_path / "q.jsonl").write_text('{"q": {"a": 1}}\n{"r": {"a": 0, "b": 2}}\n')
    qrels = read_qrels(tmp_path / "q.jsonl")
    assert (list(qrels.query_ids), list(qrels.grades)) == (["q", "r"], [1, 0, 2])
    (tmp_path / "q.jsonl").write_text('{"q": {"a": 1}}\n{"q": {"b": 2}}\n')
    with pytest.raises(DataError, match="line 2: the query 'q' stands twice; join the two"):
        read_qrels(tmp_path / "q.jsonl")


def test_keys_of_json_rows_may_stand_in_any_order(tmp_path):
    text = '{"qid": "q", "docno": "a", "label": 1}\n{"label": 2, "docno": "b", "qid": "r"}\n'
    assert read(tmp_path, text) == {"q": {"a": 1}, "r": {"b": 2}}


@pytest.mark.parametrize("indent", [None, 1])
def test_a_table_of_pandas_is_no_object_by_query_id(tmp_path, indent):
    row = {"query-id": 1, "corpus-id": 5, "score": 1}
    with pytest.raises(DataError, match=r"a table by its columns or .*'query-id, corpus-id, score'"):
        read(tmp_path, json.dumps({"0": row, "1": {**row, "corpus-id": 7}}, indent=indent))
    with pytest.raises(DataError, match=r"a table by its columns or|'query-id' is an object"):
        read(tmp_path, json.dumps({key: {"0": value} for key, value in row.items()}, indent=indent))
