import gzip
import json
import os
import threading

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from dretrieve.errors import DataError, PreconditionError, UsageError
from dretrieve.runs.lines import forms_for, read_blocks
from dretrieve.runs.read import read_run
from dretrieve.runs.write import write_run
from tests.common import hits_of


@pytest.fixture(params=["plain", "compiled"])
def path_taken(request, monkeypatch):
    """Both ways of reading must agree on everything."""
    if request.param == "compiled":
        monkeypatch.setattr("dretrieve.runs.lines.SMALL", 0)
    return request.param


def read(tmp_path, text, **options):
    path = tmp_path / "r.trec"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_run(path, **options)


TREC = "q1 Q0 a 1 2.5 mine\nq1 Q0 b 2 1.5 mine\n001 Q0 c 1 -3e-2 mine\n"


@pytest.mark.parametrize(
    "text",
    [
        TREC,
        TREC.replace(" ", "\t"),
        TREC.replace("\n", "\r\n"),
        TREC.rstrip("\n"),
        "\n \n" + TREC.replace("\n", "\n\n"),
        "\ufeff" + TREC,
        "q1 Q0 b 2 1.5 mine\n001 Q0 c 1 -3e-2 mine\nq1 Q0 a 1 2.5 mine\n",
        "# a comment\n" + TREC.replace("\nq1", "\n \t# q1 Q0 z 1 9 mine\n\nq1"),
    ],
)
def test_trec(tmp_path, path_taken, text):
    run = read(tmp_path, text)
    assert hits_of(run) == {"q1": [("a", 2.5), ("b", 1.5)], "001": [("c", -0.03)]}
    assert run.tag == "mine"


def test_the_rank_column_is_ignored(tmp_path, path_taken):
    run = read(tmp_path, "q Q0 a 0 1.0 beir\nq Q0 b 0 3.0 beir\nq Q0 c 0 2.0 beir\n")
    assert [passage for passage, _ in run.hits(0)] == ["b", "c", "a"]


def test_ties_are_by_id_descending_in_utf8(tmp_path, path_taken):
    text = "".join(f"q Q0 {name} 0 1 t\n" for name in ["a", "é", "B", "𝄞", "\uffff", "aa", "10", "9"])
    assert [passage for passage, _ in read(tmp_path, text).hits(0)] == [
        "𝄞", "\uffff", "é", "aa", "a", "B", "9", "10",
    ]  # fmt: skip


def test_scores_equal_only_as_floats_are_no_ties(tmp_path, path_taken):
    text = "q Q0 a 1 1.00000001 t\nq Q0 b 2 1.0 t\np Q0 zed 1 16777216 t\np Q0 abc 2 16777217 t\n"
    assert [passage for row in (0, 1) for passage, _ in read(tmp_path, text).hits(row)] == [
        "a",
        "b",
        "abc",
        "zed",
    ]


def test_msmarco_ranks(tmp_path, path_taken):
    run = read(tmp_path, "q\td1\t1\np\td1\t1\nq\td2\t2\n")
    assert hits_of(run) == {"q": [("d1", 1.0), ("d2", 0.5)], "p": [("d1", 1.0)]}
    assert run.by_rank


@pytest.mark.parametrize(
    "text",
    ["q\td1\t12\nq\td2\t9\np\td1\t0.5\n", "q d1 12\nq d2 9.0\np d1 .5\n", "q d1 12\nq d2 9\np d1 5E-1\n"],
)
def test_three_columns_of_scores(tmp_path, path_taken, text):
    run = read(tmp_path, text)
    assert hits_of(run) == {"q": [("d1", 12.0), ("d2", 9.0)], "p": [("d1", 0.5)]}
    assert not run.by_rank
    assert hits_of(read(tmp_path, "q a 3.0\nq b 2.0\nq c 1.0\n"))["q"][0] == ("a", 3.0)
    assert hits_of(read(tmp_path, "q a -3\nq b -2\n"))["q"][0] == ("b", -2.0)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("# c\nq\ta\t0\nq\tb\t1\n", "line 2: .* but here is 0 where the query's rank 1 was due"),
        ("q\ta\t1\np\ta\t1\np\tb\t3\nq\tb\t2\n", "line 3: .* but here is 3 where the query's rank 2 was due"),
        ("q\ta\t1\nq\tb\t1\n", "line 2: .* but here is 1 where the query's rank 2 was due"),
        ("q\ta\t3\nq\tb\t2\nq\tc\t1\n", "line 1: .* but here is 3"),
        ("q\ta\t2\nq\tb\t1\n", "line 1: .* but here is 2"),
        (
            "q\ta\t1.0\nq\tb\t2.0\n",
            "r.trec: .* they rise by one from 1 in every query, as ranks do, but have a decimal",
        ),
    ],
)
def test_three_columns_of_either_meaning_are_asked_about(tmp_path, path_taken, text, place):
    with pytest.raises(DataError, match=place) as caught:
        read(tmp_path, text)
    assert (
        "say which: --run-format msmarco (ranks, the lowest is best) or --run-format tevatron (scores"
        in str(caught.value)
    )
    order = [
        [passage for passage, _ in read(tmp_path, text, form=form).hits(0)]
        for form in ("msmarco", "tevatron")
    ]
    assert order[0][0] == min(
        order[0], key=lambda p: float(text.split(f"q\t{p}\t")[1].split()[0]) - ord(p) / 1e3
    )
    assert read(tmp_path, text, form="msmarco").by_rank


def test_the_form_can_be_named(tmp_path, path_taken):
    assert hits_of(read(tmp_path, "q\ta\t1\nq\tb\t2\n", form="tevatron")) == {"q": [("b", 2.0), ("a", 1.0)]}
    assert hits_of(read(tmp_path, "q\ta\t0\nq\tb\t1\n", form="msmarco")) == {"q": [("a", 1.0), ("b", 0.5)]}
    with pytest.raises(
        DataError, match=r"line 2: the third column of an MS MARCO run is a rank \(1, 2, 3 …\), found 1.5"
    ):
        read(tmp_path, "q\ta\t2\nq\tb\t1.5\n", form="msmarco")


def test_ids_with_blanks_between_tabs(tmp_path, path_taken):
    run = read(tmp_path, "q 1\tQ0\tOld Harbour\t1\t3.5\tmy run\nq 1\tQ0\tHarbour\t2\t2.5\tmy run\n")
    assert hits_of(run) == {"q 1": [("Old Harbour", 3.5), ("Harbour", 2.5)]}
    assert run.tag == "my run"


def test_headers_are_no_hits_and_say_what_the_columns_hold(tmp_path, path_taken):
    lines = "q\td1\t2\nq\td2\t1\n"
    ranks, scores = (
        read(tmp_path, "qid\tpid\tRank\n" + lines),
        read(tmp_path, "query-id\tcorpus-id\tscore\n" + lines, form="tevatron"),
    )
    assert ranks.by_rank
    assert hits_of(ranks) == {"q": [("d2", 1.0), ("d1", 0.5)]}
    assert not scores.by_rank
    assert hits_of(scores) == {"q": [("d1", 2.0), ("d2", 1.0)]}
    with pytest.raises(DataError, match="whole numbers alone is that of judgements; give them as --qrels"):
        read(tmp_path, "query-id\tcorpus-id\tscore\n" + lines)
    assert len(read(tmp_path, "query-id\tcorpus-id\tscore\nq\td3\t0.5\n" + lines)) == 1
    trec = read(
        tmp_path,
        "# c\nqid Q0 docno rank score tag\n" + TREC + "qid Q0 docno rank score tag\nz Q0 a 1 1 mine\n",
    )
    assert list(hits_of(trec)) == ["q1", "001", "z"]
    assert len(read(tmp_path, "qid docno rank score\n")) == 0
    assert hits_of(read(tmp_path, "qid\tdocno\tscore\trank\nq\td\t2.5\t0\nq\te\t3.5\t1\n")) == {
        "q": [("e", 3.5), ("d", 2.5)]
    }
    assert read(tmp_path, "qid rank docno tag\nq 2 d t\n").by_rank
    for text in (
        "qid docno tag\nq d 1\n",
        "docid qid score\nd q 1.5\n",
        "qid docid docno score\nq 1 d 1.5\n",
    ):
        with pytest.raises(DataError, match="line 1: the header of a run names the query first"):
            read(tmp_path, text)
    for form, text in (
        ("tevatron", "qid pid rank\nq a 1\n"),
        ("msmarco", "qid pid score\nq a 1\n"),
        ("colbert", "qid pid score rank\nq a 2.5 1\n"),
        ("trec", "qid q0 pid score rank tag\nq Q0 a 2.5 1 t\n"),
        ("auto", "qid pid score\nq a 2.5\nqid pid rank\nq b 1\n"),
    ):
        named = "tevatron" if form == "auto" else form
        with pytest.raises(DataError, match=rf"the header 'qid .*' does not fit the form {named} \("):
            read(tmp_path, text, form=form)
    with pytest.raises(
        DataError, match=r"line 1: .* found 1 \(parted by commas; part them by tabs\): 'qid,docno,score'"
    ):
        read(tmp_path, "qid,docno,score\nq,d,1\n")
    with pytest.raises(DataError, match="line 6: the score 'x' is not a number"):
        read(
            tmp_path,
            "qid Q0 docno rank score tag\n" + TREC + "qid Q0 docno rank score tag\nz Q0 a 1 x mine\n",
        )


def test_forms_for_several_runs():
    assert forms_for([], 2) == ["auto", "auto"]
    assert forms_for(["trec"], 2) == ["trec", "trec"]
    assert forms_for(["trec", "msmarco"], 2) == ["trec", "msmarco"]
    with pytest.raises(
        UsageError, match="--run-format is given 3 times for 2 runs; give one for all, or one for each"
    ):
        forms_for(["trec"] * 3, 2)


def test_colbert_ranking(tmp_path, path_taken):
    assert hits_of(read(tmp_path, "7\t1\t1\t20.5\n7\t3\t2\t21.5\n")) == {"7": [("3", 21.5), ("1", 20.5)]}


@pytest.mark.parametrize("ending", ["gz", "zst"])
def test_compressed(tmp_path, path_taken, ending):
    data = gzip.compress(TREC.encode()) if ending == "gz" else zstandard.compress(TREC.encode())
    (tmp_path / f"r.trec.{ending}").write_bytes(data)
    assert len(hits_of(read_run(tmp_path / f"r.trec.{ending}"))) == 2


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "q Q0 a 1 2.5 t\nq Q0 b 2 2.5\n",
            "line 2: expected 6 columns (query Q0 passage rank score tag), found 5",
        ),
        ("q a 2.5\nq b c 1.5\n", "line 2: expected 3 columns (query passage score), found 4: 'q b c 1.5'"),
        ("q Q0 a 1 2.5 t\n\nq Q0 b 2 nan t\n", "line 3: the score is 'nan'; scores must be finite"),
        ("q Q0 a 1 inf t\n", "line 1: the score is 'inf'"),
        ("q Q0 a 1 1e400 t\n", "line 1: the score '1e400' is larger than a 64-bit float can hold"),
        (
            "q Q0 a 1 2 t\nq Q0 Old Harbour 1 2.5 t\n",
            "line 2: expected 6 columns (query Q0 passage rank score tag), found 7",
        ),
        ("q\tQ0\ta\t1\t2\tt\nq\tQ0\t\t1\t2\tt\n", "line 2: column 3 of 6"),
        (
            "q Q0 a 1 2 t\nq Q0\td 1 2.5 t\n",
            "line 2: expected 6 columns (query Q0 passage rank score tag), found 2 parted by tabs "
            "(6 by blanks too; part all by tabs)",
        ),
        (
            "q\tQ0\ta\t1\t2\tt\nq\tQ0\tOld\rb\t1\t2\tt\n",
            "line 2: expected 6 columns (query Q0 passage rank score tag), found lines that end "
            "with a carriage return alone; end them with a newline",
        ),
        ("q Q0 a 1 x t\n", "line 1: the score 'x' is not a number"),
        (
            "q Q0 a 1 3 t\nq Q0 b 2 2 t\np Q0 a 1 1 t\nq Q0 a 3 1 t\n",
            "line 4: passage 'a' stands twice for query 'q' (first on line 1); remove one of the two lines",
        ),
        (b"q Q0 a 1 3 t\nq Q0 \xe9 2 2 t\n", "line 2: not UTF-8 (byte 0xe9)"),
        ("one two\n", "line 1: a run has 6 columns"),
    ],
)
def test_broken_runs_name_the_line(tmp_path, path_taken, text, message):
    with pytest.raises(DataError) as caught:
        read(tmp_path, text)
    assert message in str(caught.value)
    assert str(caught.value).startswith(str(tmp_path / "r.trec"))


@pytest.mark.parametrize("text", ["", "\n \n", "# nothing was found\n", "{}", "[]"])
def test_a_run_without_hits_is_a_run(tmp_path, text):
    run = read(tmp_path, text)
    assert len(run) == 0
    assert run.offsets.tolist() == [0]


def test_comments_longer_than_a_block_do_not_hide_the_hits(tmp_path, monkeypatch):
    monkeypatch.setattr(read_blocks, "__defaults__", (64,))
    run = read(tmp_path, "# comment\n" * 50 + "q\ta\t1\nq\tb\t3\n", form="msmarco")
    assert hits_of(run) == {"q": [("a", 1.0), ("b", 1 / 3)]}
    with pytest.raises(DataError, match="line 52: .* here is 3 where the query's rank 2 was due"):
        read(tmp_path, "# comment\n" * 50 + "q\ta\t1\nq\tb\t3\n")


@pytest.mark.parametrize("ending", ["gz", "zst"])
def test_cut_compression_is_refused(tmp_path, ending):
    text = "".join(f"q{row} Q0 d{row * 7919} 1 {row / 7} t\n" for row in range(5000)).encode()
    data = gzip.compress(text) if ending == "gz" else zstandard.compress(text)
    path = tmp_path / f"r.{ending}"
    path.write_bytes(data[: len(data) // 2])
    with pytest.raises(
        DataError, match=r"the compressed data end in the middle \(cut download\?\); fetch the file"
    ):
        read_run(path)


def test_damaged_compression_is_refused(tmp_path):
    data = bytearray(gzip.compress(TREC.encode() * 100))
    data[20] ^= 0xFF
    (tmp_path / "r.gz").write_bytes(bytes(data))
    with pytest.raises(DataError, match="compressed data"):
        read_run(tmp_path / "r.gz")


def test_no_such_file(tmp_path):
    with pytest.raises(PreconditionError, match="does not exist; correct the path or make the file first"):
        read_run(tmp_path / "nothing")


def test_blocks_join_to_the_file_and_end_with_lines(tmp_path):
    text = "".join(f"line {row} é{'x' * (row % 37)}\n" for row in range(300)).encode() + b"last without end"
    (tmp_path / "f").write_bytes(text)
    for size in (1, 7, 64, 1000, 1 << 20):
        blocks = list(read_blocks(tmp_path / "f", size))
        assert b"".join(blocks) == text + b"\n"
        assert all(block.endswith(b"\n") for block in blocks)


def test_lines_are_counted_across_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("dretrieve.runs.lines.SMALL", 0)
    monkeypatch.setattr(read_blocks, "__defaults__", (64,))
    lines = [f"q{row // 10} Q0 d{row} 1 {100 - row} t" for row in range(100)]
    lines[77] = "q7 Q0 d77 1 oops t"
    with pytest.raises(DataError, match="line 78: the score 'oops' is not a number"):
        read(tmp_path, "\n".join(lines))
    lines[77] = "q7 Q0 d71 1 3 t"
    with pytest.raises(
        DataError, match=r"line 78: passage 'd71' stands twice for query 'q7' \(first on line 72\)"
    ):
        read(tmp_path, "\n".join(lines))
    lines[77] = "q7 Q0 d77 1 3 t"
    assert len(read(tmp_path, "\n".join(lines)).scores) == 100


@pytest.mark.parametrize("lines", [3, 60_000])
def test_lines_may_end_in_a_carriage_return_alone(tmp_path, lines):
    text = "".join(
        f"q{row // 100} Q0 document-{row} {row % 100 + 1} {1e6 - row} system-of-old\n" for row in range(lines)
    )
    (tmp_path / "new").write_text(text, encoding="utf-8")
    (tmp_path / "old").write_bytes(text.replace("\n", "\r").encode())
    old, new = read_run(tmp_path / "old"), read_run(tmp_path / "new")
    assert [list(old.hits(row)) for row in range(len(old))] == [
        list(new.hits(row)) for row in range(len(new))
    ]
    assert int(old.offsets[-1]) == lines


# Files of every form, generated, against a reading that shares no code with ours.

ODD = st.characters(exclude_categories=("Cs",), exclude_characters="\t\r\n\ufeff")
IDS = st.text(ODD, min_size=1, max_size=6).filter(lambda text: text == text.strip(" "))
QUERY_IDS = IDS.filter(lambda text: text[0] not in "#[{")
CLOSE = st.builds(
    lambda base, steps: base * (1 + steps * 2.0**-52), st.sampled_from([0.5, -3.0, 1e-7]), st.integers(0, 3)
)
SCORES = CLOSE | st.floats(allow_nan=False, allow_infinity=False) | st.integers(-5, 1 << 60).map(float)
TEXTS = st.sampled_from([repr, "{:.17g}".format, "{:.20e}".format, "{:+.25f}".format, "{:g}".format])
FOUND = st.dictionaries(
    QUERY_IDS, st.dictionaries(IDS, SCORES, min_size=1, max_size=6), min_size=1, max_size=4
)


@st.composite
def run_files(draw):
    """A form's name and a file of it, with comments, line ends and compression as they come."""
    form = draw(st.sampled_from(["trec", "tevatron", "msmarco", "colbert", "ranx", "dpr", "pyserini-json"]))
    found, text = draw(FOUND), draw(TEXTS)
    if form in ("ranx", "dpr", "pyserini-json"):
        number = draw(st.sampled_from([float, repr]))
        name, key = {"dpr": ("ctxs", "id"), "pyserini-json": ("contexts", "docid"), "ranx": ("", "")}[form]
        entries = {
            q: {name: [{key: p, "score": number(score)} for p, score in scored.items()]}
            for q, scored in found.items()
        }
        value = found if form == "ranx" else entries
        value = [{"query_id": q} | entry for q, entry in entries.items()] if form == "dpr" else value
        data = json.dumps(value, ensure_ascii=draw(st.booleans()), indent=draw(st.sampled_from([None, 1])))
        return form, draw(PACKED)(data.encode())
    columns = {
        "trec": "{q}|Q0|{p}|{r}|{s}|t",
        "tevatron": "{q}|{p}|{s}",
        "msmarco": "{q}|{p}|{r}",
        "colbert": "{q}|{p}|{r}|{s}",
    }
    blanks = any(" " in name for q, scored in found.items() for name in (q, *scored))
    layout = columns[form].replace(
        "|", "\t" if blanks or draw(st.booleans()) else draw(st.sampled_from([" ", "   "]))
    )
    lines = [
        layout.format(q=q, p=p, r=rank, s=text(score))
        for q, scored in found.items()
        for rank, (p, score) in enumerate(scored.items(), 1)
    ]
    if form in ("trec", "tevatron"):
        lines = draw(st.permutations(lines))
    for comment in draw(
        st.lists(st.sampled_from(["# a b c", "#", "", "  ", "  # q Q0 p 1 2 t"]), max_size=3)
    ):
        lines.insert(draw(st.integers(0, len(lines))), comment)
    end = draw(st.sampled_from(["\n", "\r\n", " \n"]))
    data = draw(st.sampled_from(["", "\ufeff"])) + end.join(lines) + draw(st.sampled_from(["", end]))
    return form, draw(PACKED)(data.encode())


PACKED = st.sampled_from([bytes, gzip.compress, zstandard.compress])


def read_slowly(form, data):
    """Return the hits of each query, best first, by the words of the forms' description alone."""
    for magic, unpack in ((b"\x1f\x8b", gzip.decompress), (b"\x28\xb5", zstandard.decompress)):
        data = unpack(data) if data[:2] == magic else data
    found = {}
    if form in ("ranx", "dpr", "pyserini-json"):
        value = json.loads(data)
        entries = {entry["query_id"]: entry for entry in value} if form == "dpr" else value
        for query, entry in entries.items():
            hits = entry.get("ctxs") or entry.get("contexts") if form != "ranx" else None
            scored = (
                entry.items()
                if hits is None
                else [(hit.get("id", hit.get("docid")), hit["score"]) for hit in hits]
            )
            found[query] = [(p, float(score)) for p, score in scored]
    else:
        for line in data.decode("utf-8-sig").split("\n"):
            line = line.rstrip("\r ")
            cells = line.split("\t") if "\t" in line else [cell for cell in line.split(" ") if cell]
            if cells and not cells[0].startswith("#"):
                place = {"trec": (2, 4), "tevatron": (1, 2), "msmarco": (1, 2), "colbert": (1, 3)}[form]
                score = float(cells[place[1]]) * (-1 if form == "msmarco" else 1)
                found.setdefault(cells[0], []).append((cells[place[0]], score))
    return {
        q: sorted(hits, key=lambda hit: (hit[1], hit[0].encode()), reverse=True) for q, hits in found.items()
    }


@given(run_files(), st.booleans(), st.booleans())
def test_any_file_is_read_as_its_form_says(tmp_path_factory, file, compiled, named):
    form, data = file
    path = tmp_path_factory.mktemp("run") / "r"
    path.write_bytes(data)
    expected = read_slowly(form, data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dretrieve.runs.lines.SMALL", 0 if compiled else 1 << 21)
        try:
            run = read_run(path, form if named else "auto")
        except DataError as error:  # whole scores may be ranks, judgements may have four columns
            if named or "--run-format" not in str(error) or form not in ("tevatron", "colbert"):
                raise
            return
    assert run.by_rank == (form == "msmarco") or (form == "tevatron" and not named)
    if run.by_rank:
        order = {query: [passage for passage, _ in scored] for query, scored in hits_of(run).items()}
        if form == "msmarco":
            assert order == {q: [passage for passage, _ in scored] for q, scored in expected.items()}
        return
    assert hits_of(run) == expected
    write_run(path, run)
    assert hits_of(read_run(path)) == expected


def test_a_stream_is_read_once_and_its_errors_name_the_line(tmp_path, path_taken):
    lines = [f"q{row // 10} Q0 d{row} 1 {100 - row} t\n" for row in range(100)]
    for number, text in enumerate(("".join(lines), "".join(lines).replace("d77 1 23", "d71 1 23"))):
        pipe = tmp_path / f"pipe-{number}"
        os.mkfifo(pipe)
        writer = threading.Thread(target=pipe.write_text, args=(text,))
        writer.start()
        if number:
            with pytest.raises(
                DataError, match=r"line 78: passage 'd71' stands twice .* \(first on line 72\)"
            ):
                read_run(pipe)
        else:
            assert len(read_run(pipe).scores) == 100
        writer.join()
