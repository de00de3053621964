"""Lines cut into columns, and the words of a header."""

from __future__ import annotations

from dretrieve.text.columns import header, split_line


def test_columns_are_parted_by_blanks_or_by_tabs():
    assert split_line(b" q  Q0 \xc2\xa0d\x0b 1\r") == [b"q", b"Q0", b"\xc2\xa0d\x0b", b"1"]
    assert split_line(b"q\t Q0 \tOld Harbour\t\t1\t\r") == [b"q", b"Q0", b"Old Harbour", b"", b"1"]


def test_a_header_holds_words_of_a_header_alone() -> None:
    assert header(b"qid\tdocid\tscore") == ["qid", "docid", "score"]
    found = header(b"Query-ID Q0 DocNo Rank Score Run-ID")
    assert found == ["query_id", "q0", "docno", "rank", "score", "run_id"]
    assert header(b"topic passage sim") == ["topic", "passage", "sim"]
    assert header(b"q1 docid score") == [] == header(b"qid score")
