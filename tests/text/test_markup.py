"""TREC's topics and documents."""

from __future__ import annotations

from pathlib import Path

import pytest

from dretrieve.errors import DataError
from dretrieve.text.beir import Query
from dretrieve.text.forms import detect
from dretrieve.text.records import read_corpus, read_queries
from dretrieve.types import Record

ROBUST = """<top>

<num> Number: 301
<title> harbour lights &amp; mills

<desc> Description:
What lights are
lit?

<narr> Narrative:
Any light.

</top>

<top>
<num> Number: 302
<title> Topic: old mill
<desc> Description: Which mill?
<narr> Narrative: None.
</top>
"""
COVID = """<?xml version="1.0" encoding="UTF-8"?>
<topics task="COVIDSearch" batch="5">
  <topic number="1">
    <query>harbour origin</query>
    <question>what is the origin</question>
    <narrative>seeking
 a range</narrative>
  </topic>
</topics>
"""


def read(tmp_path: Path, text: str, topic_field: str | None = None) -> list[Query]:
    (tmp_path / "topics").write_text(text, encoding="utf-8")
    return list(read_queries(tmp_path / "topics", topic_field))


def test_sgml_topics_whose_inner_tags_stay_open(tmp_path: Path) -> None:
    found = read(tmp_path, ROBUST)
    assert [(query.id, query.text) for query in found] == [
        ("301", "harbour lights & mills"),
        ("302", "old mill"),
    ]
    assert found[0].fields == {"description": "What lights are lit?", "narrative": "Any light."}
    assert [query.text for query in read(tmp_path, ROBUST, "description")] == [
        "What lights are lit?",
        "Which mill?",
    ]
    assert read(tmp_path, ROBUST, "title+narr")[1].text == "old mill None."
    with pytest.raises(
        DataError, match="no field .scope. for --topic-field .* its keys .id., .title., .description."
    ):
        read(tmp_path, ROBUST, "scope")


@pytest.mark.parametrize(
    ("field", "text"),
    [(None, "harbour origin"), ("question", "what is the origin"), ("narrative", "seeking a range")],
)
def test_xml_topics(tmp_path: Path, field: str | None, text: str) -> None:
    assert [(query.id, query.text) for query in read(tmp_path, COVID, field)] == [("1", text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ('<topics><topic number="7">\n A 64-year-old\n man\n</topic></topics>', [("7", "A 64-year-old man")]),
        ("<TOPIC><NUM>0008</NUM><TITLE>mill</TITLE><DESC>x</DESC></TOPIC>", [("0008", "mill")]),
        ("<parameters><query><number>9</number><text>mill</text></query></parameters>", [("9", "mill")]),
        ("<DOC>\n<DOCNO> 1 </DOCNO>\n\n What\nexists\n</DOC>", [("1", "What exists")]),
        ("<query><qid>0001</qid><content>mill</content></query>", [("0001", "mill")]),  # NTCIR
        (
            '<topic lang="en"><identifier>10/401-AH</identifier><title>mill</title></topic>',
            [("10/401-AH", "mill")],
        ),
        ("<TOPIC>\n<ID>7</ID>\n<TITLE>mill</TITLE>\n</TOPIC>", [("7", "mill")]),
        ('<topic number="7"><title>mill</title><subtopic><id>7.1</id></subtopic></topic>', [("7", "mill")]),
        ('<topic topic_id="7"><title>mill</title></topic>', [("7", "mill")]),
        (
            "<query><text>mill</text></query><query><text>sea</text></query>",
            [("0", "mill"), ("1", "sea")],
        ),  # Indri
        ('{"301": {"title": "mill", "description": "x"}}', [("301", "mill")]),
        ('{\n "301": {"title": "mill"}\n}', [("301", "mill")]),
    ],
)
def test_topics_of_other_tracks(tmp_path: Path, text: str, expected: list[tuple[str, str]]) -> None:
    assert [(query.id, query.text) for query in read(tmp_path, text)] == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "<topic><title>mill</title></topic>",
            r"line 1: a <topic> without its number \(.*qid.*\); give every",
        ),
        ("<top><num>1<title>mill</top>\n<top><title>sea</top>", "line 2: a <top> without its number"),
        ("<query><recid>7</recid><text>mill</text></query>", "line 1: a <query> without its number"),
        (
            "<query><qid>1</qid><text>a</text></query>\n<query><text>b</text></query>",
            "some queries have an id",
        ),
        ("<topics></topics>", "topics: holds no <top> or <topic> or <query> or <doc>; name the file"),
    ],
)
def test_topics_without_number_or_of_another_tag_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read(tmp_path, text)


def test_documents_of_another_tag_are_refused(tmp_path: Path) -> None:
    (tmp_path / "docs").write_text("<page><id>1</id>x</page>\n", encoding="utf-8")
    with pytest.raises(DataError, match="docs: holds no <doc>; name the file"):
        list(read_corpus(tmp_path / "docs"))


def test_an_id_in_brackets_is_no_tag(tmp_path: Path) -> None:
    path = tmp_path / "dbpedia.tsv"
    path.write_text("<dbpedia:Mill_(book)>\tA mill.\n<dbpedia:Sea>\tThe sea.\n", encoding="utf-8")
    assert detect(path).name == "text-columns"
    assert list(read_corpus(path)) == [
        Record("<dbpedia:Mill_(book)>", "", "A mill."),
        Record("<dbpedia:Sea>", "", "The sea."),
    ]
    assert [query.id for query in read(tmp_path, "<top>\t\n<num>\t1\n<title>\tmill\n</top>")] == ["1"]


def test_documents(tmp_path: Path) -> None:
    path = tmp_path / "docs"
    path.write_text(
        "<DOC>\n<DOCNO> AB-1 </DOCNO>\n<HEAD>Harbour</HEAD><HEAD>Lights</HEAD>\n<DATE>1 May</DATE>\n"
        '<TEXT lang="en">\n<P>The lights &amp; mills.</P>\n</TEXT>\n<TEXT>\nMore.\n</TEXT>\n</DOC>\n'
        '<DOC id="AB-2"><TEXT>x</TEXT></DOC><DOC><DOCNO>AB-3</DOCNO> bare <B>text</B></DOC>\n',
        encoding="utf-8",
    )
    assert list(read_corpus(path)) == [
        Record("AB-1", "Harbour Lights", "The lights & mills.\nMore."),
        Record("AB-2", "", "x"),
        Record("AB-3", "", "bare  text"),
    ]
    path.write_text("<DOC><DOCNO>1</DOCNO><TEXT>x", encoding="utf-8")
    with pytest.raises(DataError, match="line 1: the last <DOC> is not closed; the file was cut"):
        list(read_corpus(path))


@pytest.mark.realdata
def test_cacm_topics(data_dir: Path) -> None:
    found = list(read_queries(data_dir / "eval-truth" / "topics-qrels" / "topics.cacm.txt"))
    assert len(found) == 64
    assert found[2].id == "3"
