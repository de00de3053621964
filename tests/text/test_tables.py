"""Tab-separated passages and questions."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dretrieve.errors import DataError
from dretrieve.text.beir import Query
from dretrieve.text.forms import detect
from dretrieve.text.records import read_corpus, read_queries
from dretrieve.text.tables import read_rows
from dretrieve.types import Record
from tests.common import lines


def test_tab_separated_passages(tmp_path: Path) -> None:
    two = lines(tmp_path / "a.tsv", '7\tHe said "no', '007\t"quotes" are text')
    assert list(read_corpus(two)) == [Record("7", "", 'He said "no'), Record("007", "", '"quotes" are text')]
    three = lines(tmp_path / "b.tsv", "0\tDune is a novel\tDune", "1\t\t")
    assert list(read_corpus(three)) == [Record("0", "Dune", "Dune is a novel"), Record("1", "", "")]
    assert (detect(two).name, detect(three).name) == ("text-columns", "passage-columns")
    assert next(iter(read_queries(two))) == Query("7", 'He said "no')


def test_dpr_cells_over_several_lines_keep_their_line_numbers(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "p.tsv", "id\ttext\ttitle", '1\t"two\nlines ""here"""\tA', "2\tplain\tB", "3\tplain"
    )
    rows = table_rows(path)
    assert rows[:2] == [
        (2, {"id": "1", "text": 'two\nlines "here"', "title": "A"}),
        (4, {"id": "2", "text": "plain", "title": "B"}),
    ]
    assert rows[2] == (
        "line 5: found 2 columns, expected 3 as in the header ('id', 'text', 'title'): '3 | plain'"
    )


def table_rows(path: Path) -> list[object]:
    """Return the rows that come before an error, and its message after the path."""
    found: list[object] = []
    try:
        found.extend(read_rows(path, "corpus"))
    except DataError as error:
        found.append(str(error).partition(", ")[2])
    return found


def test_an_unclosed_quote_is_found(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "p.tsv",
        "id\ttext\ttitle",
        '1\t"open\tA',
        *(f"{row}\t{'word ' * 50}\tB" for row in range(2, 900)),
    )
    with pytest.raises(DataError, match="line 2: a quote that opens here is never closed"):
        list(read_corpus(path))


def test_dpr_questions(tmp_path: Path) -> None:
    path = lines(
        tmp_path / "test.qa.csv",
        "who wrote dune\t['Frank Herbert']",
        '"who said ""yes"""\t"[""it\'s me"", \'a ""b""\']"',
        "who\t[]",
        "when\t[1969, '1969']",
    )
    assert detect(path).name == "query-columns"
    assert list(read_queries(path)) == [
        Query("0", "who wrote dune", ("Frank Herbert",)),
        Query("1", 'who said "yes"', ("it's me", 'a "b"')),
        Query("2", "who", ()),
        Query("3", "when", ("1969", "1969")),
    ]


def test_answers_in_json_and_of_other_literals(tmp_path: Path) -> None:
    """PopQA's are JSON; a tuple or a set was once one answer that nothing holds, half a pair a traceback."""
    answers = ["a/b", "\U0001d5a0 é", "it's"]
    cell = json.dumps(answers).replace("/", "\\/")
    path = lines(tmp_path / "q.tsv", "id\tquestion\tpossible_answers", f"1\twho\t{cell}", "2\twho\t(1984)")
    assert [query.answers for query in read_queries(path)] == [tuple(answers), ("(1984)",)]
    for cell in (r"['\ud835']", "('a', 'b')", "{'b', 'a'}", "{'text': ['a']}", '"(""a"", ""b"")"'):
        path = lines(tmp_path / "q.tsv", "id\tquestion\tanswers", f"1\twho\t{cell}")
        with pytest.raises(DataError, match="line 2: the answers are no list of strings: "):
            list(read_queries(path))


def test_answers_are_never_evaluated(tmp_path: Path) -> None:
    path = lines(tmp_path / "q.csv", "who\t['a']", "bad\t[__import__('os').getcwd()]")
    with pytest.raises(DataError, match=r"line 2: the answers are no list of strings: .\[__import__"):
        list(read_queries(path))
    path = lines(
        tmp_path / "q.csv", "id,question,answers", "1,who,['a'  'b']"
    )  # a numpy array as pandas writes it
    with pytest.raises(DataError, match="line 2: the answers are no list of strings"):
        list(read_queries(path))
    for cell in ("[1969]", "[0, 1]", "['a', 0x7B1]", "['a', 2.5]", "['a', True]"):
        path = lines(tmp_path / "q.csv", "who\t['1969', 1969]", f"when\t{cell}")
        with pytest.raises(DataError, match="line 2: the answers are no list of strings"):
            list(read_queries(path))
    path = lines(tmp_path / "q.csv", "who\t['a']", "a\tb\tc")
    with pytest.raises(DataError, match="line 2: found 3 columns, expected 2 as in the first line"):
        list(read_queries(path))


def test_tab_separated_lines_keep_their_width(tmp_path: Path) -> None:
    path = lines(tmp_path / "c.tsv", "0\ttext one", "1\ttext\ttwo")
    with pytest.raises(DataError, match="line 2: found 3 columns, expected 2 as in the first line"):
        list(read_corpus(path))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("docno\ttext\r\nd1\tharbour\r\n", [Record("d1", "", "harbour")]),
        (
            '\ufeffid,title,text\r\n1,Mill,"old, ""mill""\r\nriver"\r\n',
            [Record("1", "Mill", 'old, "mill"\nriver')],
        ),
        ("Title\tDoc-ID\tContents\nT\t7\tx\n", [Record("7", "T", "x")]),
        ("D1\thttps://a.b/c\tT\tbody\n", [Record("D1", "T", "body")]),
        ("1\t" + "word " * 40_000 + "\n", [Record("1", "", "word " * 40_000)]),
        ("id\ttext\n1\t" + "word " * 40_000 + "\n", [Record("1", "", "word " * 40_000)]),
    ],
)
def test_passages_in_columns(tmp_path: Path, text: str, expected: list[Record]) -> None:
    (tmp_path / "c").write_text(text, encoding="utf-8", newline="")
    assert list(read_corpus(tmp_path / "c")) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("qid\tquery\nq1\tharbour\n", [Query("q1", "harbour")]),
        ("5\t0 to 60\n6\t42\n", [Query("5", "0 to 60"), Query("6", "42")]),
        (
            "query_id,question,answers,relation\n1,who,\"['a', 'b']\",P1\n",
            [Query("1", "who", ("a", "b"), fields={"relation": "P1"})],
        ),
        ("question\tanswer\nwho\tme\n", [Query("0", "who", ("me",))]),
        ('id\ttext\n1\tx\n"2"\t"y"\n', [Query("1", "x"), Query("2", "y")]),  # quoted in a part of the lines
        ('"#1\tx\n', [Query('"#1', "x")]),
        (
            'id\tquestion\tpossible_answers\n1\twho\t"[""a"", ""it\'s \'b\' \'c\'""]"\n',
            [Query("1", "who", ("a", "it's 'b' 'c'"))],
        ),
        ("7\twho\t['me']\n", [Query("7", "who", ("me",))]),
        ("7\tby name, id, text\n8\tx\n", [Query("7", "by name, id, text"), Query("8", "x")]),
        ("1\t\n", [Query("1", "")]),
    ],
)
def test_queries_in_columns(tmp_path: Path, text: str, expected: list[Query]) -> None:
    (tmp_path / "q").write_text(text, encoding="utf-8", newline="")
    assert list(read_queries(tmp_path / "q")) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("qid\tutter\n1\tx\n", "no header that names an id .* and a text"),
        ("q1\td1\tsome text\tmore\n", "is no row of queries"),
        ("1\tx\ty\n", "is no row of queries"),
        ("docid\tpassage\n1\tx\n", "is no row of queries"),
        ("key\tquery\n1\tx\n", "is no row of queries"),
        ("qid\tquery\n1\tx\ty\n", r"line 2: found 3 columns, expected 2 as in the header \('qid', 'query'\)"),
        ('qid\tquery\n1\t"to be" or not\n', "line 2: text follows a closing quote; below a header"),
        ("qid\tquery\nold mill\tx\n", "the id 'old mill' holds white space"),
        ("qid\tquery\tqid\n1\tx\t2\n", "names a column twice"),
        ("#1\tx\n", "begins with #"),
        ('1\tx\n"2"\ty\n', 'line 2: the id ."2". stands in quotes; take them away, or write a header'),
        ("id;text\n1;x\n", "line 1: its columns seem to be parted by semicolons; part them by tabs"),
        ("1|x\n", "line 1: its columns seem to be parted by bars"),
        ("1,x\n", "parted by commas; part them by tabs, or by commas below a header that names an id"),
    ],
)
def test_queries_in_columns_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "q").write_text(text, encoding="utf-8", newline="")
    with pytest.raises(DataError, match=message):
        list(read_queries(tmp_path / "q"))


CELLS = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\r\0"), max_size=12)
IDS = st.from_regex(r"[A-Za-z0-9_.-]{1,6}", fullmatch=True)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(IDS, st.tuples(CELLS, CELLS), min_size=1, max_size=5),
    st.sampled_from(["\t", ","]),
    st.sampled_from(["\n", "\r\n"]),
    st.permutations(["docno", "Title", "text", "url"]),
    st.booleans(),
)
def test_generated_tables_are_read_as_the_standard_library_reads_them(
    tmp_path: Path, rows: dict[str, tuple[str, str]], mark: str, end: str, names: list[str], bom: bool
) -> None:
    """Columns in any order, quotes, marks and newlines inside cells, a byte-order mark, both line ends."""
    file = io.StringIO(newline="")
    table = csv.DictWriter(file, names, delimiter=mark, lineterminator=end)
    table.writeheader()
    for name, (title, text) in rows.items():
        table.writerow({"docno": name, "Title": title, "text": text, "url": "u"})
    path = tmp_path / "t"
    path.write_bytes(("\ufeff" * bom + file.getvalue()).encode())
    file.seek(0)
    expected = [
        Record(row["docno"], row["Title"], row["text"]) for row in csv.DictReader(file, delimiter=mark)
    ]
    assert list(read_corpus(path)) == expected


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.dictionaries(IDS, st.tuples(CELLS, CELLS), min_size=1, max_size=5),
    st.sampled_from(["_id", "docid", "doc_id", "docno", "pid", "id"]),
    st.sampled_from(["text", "passage", "segment", "body"]),
    st.sampled_from(["lines", "array", "pretty"]),
    st.booleans(),
)
def test_generated_json_is_read_under_every_key(
    tmp_path: Path, rows: dict[str, tuple[str, str]], key: str, text_key: str, form: str, bom: bool
) -> None:
    values = [{text_key: text, "title": title, key: name} for name, (title, text) in rows.items()]
    written = {
        "lines": "\r\n".join(map(json.dumps, values)),
        "array": json.dumps(values),
        "pretty": json.dumps(values, indent=1),
    }[form]
    (tmp_path / "t").write_bytes(("\ufeff" * bom + written).encode())
    assert list(read_corpus(tmp_path / "t")) == [Record(name, *cells) for name, cells in rows.items()]
