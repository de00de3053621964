"""The documentation of Python's library: what becomes passage and query, and that judgements are right."""

from __future__ import annotations

from pathlib import Path

import pytest

from dretrieve.errors import PreconditionError
from dretrieve.text.pydocs import (
    MOST_RELEVANT,
    docstrings,
    documentation,
    is_question,
    library_files,
    library_sha256,
    split_docstring,
    split_of,
)

BODY = "The body goes on for more than eight words, so it can be found."


def library(folder: Path, **modules: str) -> list[tuple[str, Path]]:
    """Write modules (names may hold ``/``) and list them."""
    for name, source in modules.items():
        path = folder / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(source, encoding="utf-8")
    return files_in(folder)


def files_in(folder: Path) -> list[tuple[str, Path]]:
    """List what a Python would have whose library stood in that folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sysconfig.get_paths", lambda: {"stdlib": str(folder)})
        return library_files()


def definition(name: str, summary: str, body: str, indent: str = "") -> str:
    """Return a function with a docstring."""
    return f'{indent}def {name}():\n{indent}    """{summary}\n\n{indent}    {body}\n{indent}    """\n'


def test_summary_is_the_query_and_not_in_the_passage(tmp_path: Path) -> None:
    found = documentation(
        library(tmp_path, fill=definition("wrap", "Wrap one paragraph\n    of plain text.", BODY))
    )
    assert [(record.id, record.title, record.text) for record in found.passages] == [
        ("fill.wrap", "fill.wrap", BODY)
    ]
    assert [(query.id, query.text) for query in found.queries] == [
        ("q.fill.wrap", "Wrap one paragraph of plain text.")
    ]
    assert found.judgements == [("q.fill.wrap", "fill.wrap")]


def test_what_is_walked(tmp_path: Path) -> None:
    source = (
        '"""Module summary of four words.\n\nBody of the module."""\n'
        + "class A:\n"
        + definition("method", "s", "b", "    ")
        + definition("_hidden", "s", "b", "    ")
        + definition("__call__", "s", "b", "    ")
        + "class _Private:\n"
        + definition("method", "s", "b", "    ")
        + "if True:\n"
        + definition("under_if", "s", "b", "    ")
        + "try:\n    pass\nexcept ImportError:\n"
        + definition("under_except", "s", "b", "    ")
        + "def outer():\n"
        + definition("inner", "s", "b", "    ")
    )
    names = [name for name, _ in docstrings(library(tmp_path, m=source))]
    assert names == ["m", "m.A.method", "m.A.__call__", "m.under_if", "m.under_except"]


def test_what_is_left_out_of_the_library(tmp_path: Path) -> None:
    files = library(
        tmp_path,
        b="",
        this="",
        **dict.fromkeys(("a/x", "a/__init__", "test/t", "site-packages/s", "a/tests/u"), ""),
    )
    assert [name for name, _ in files] == ["a", "a.x", "b"]
    with pytest.raises(PreconditionError, match="holds no library sources; run with a Python that has them"):
        files_in(tmp_path / "test" / "nothing")


def test_modules_that_do_not_parse_are_passed_over(tmp_path: Path) -> None:
    files = library(tmp_path, bad="def :", good=definition("f", "Return the sum of all.", BODY))
    assert [record.id for record in documentation(files).passages] == ["good.f"]


def test_modules_are_never_imported(tmp_path: Path) -> None:
    source = f"open({str(tmp_path / 'ran')!r}, 'w')\n" + definition("f", "Return the sum of all.", BODY)
    assert len(documentation(library(tmp_path / "lib", m=source)).queries) == 1
    assert not (tmp_path / "ran").exists()


def test_shared_bodies_are_one_passage(tmp_path: Path) -> None:
    """A copy of a docstring elsewhere would be an unjudged right answer."""
    source = definition("f", "Return the sum of all.", BODY) + definition("g", "Return the sum of all.", BODY)
    source += definition("h", "Add up all the numbers.", BODY.replace(" ", "  "))
    found = documentation(library(tmp_path, m=source))
    assert [record.id for record in found.passages] == ["m.f"]
    assert found.judgements == [("q.m.f", "m.f"), ("q.m.f#1", "m.f")]
    assert [query.text for query in found.queries] == ["Return the sum of all.", "Add up all the numbers."]


def test_shared_summaries_judge_all_their_passages(tmp_path: Path) -> None:
    source = "".join(
        definition(f"f{row}", "Return the sum of all.", f"{row} {BODY}") for row in range(MOST_RELEVANT)
    )
    found = documentation(library(tmp_path, m=source))
    assert found.judgements == [("q.m.f0", f"m.f{row}") for row in range(MOST_RELEVANT)]
    found = documentation(
        library(tmp_path, m=source + definition("g", "Return the sum of all.", "more " + BODY))
    )
    assert found.queries == []
    assert len(found.passages) == MOST_RELEVANT + 1


def test_two_definitions_of_one_name_stay_two_passages(tmp_path: Path) -> None:
    source = definition("f", "Return the sum of all.", BODY) + definition(
        "f", "Return it on Windows.", "Other " + BODY
    )
    ids = [record.id for record in documentation(library(tmp_path, m=source)).passages]
    assert ids[0] == "m.f"
    assert ids[1].startswith("m.f#")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Summary.\n\n" + BODY, ("Summary.", BODY)),
        ("Two\nlines.\n\n  " + BODY + "\n", ("Two lines.", "  " + BODY)),
        ("Only a summary.", None),
        ("Summary.\n\nToo short a body.", None),
        ("word " * 60 + "\n\n" + BODY, None),
    ],
)
def test_split_docstring(text: str, expected: tuple[str, str] | None) -> None:
    assert split_docstring(text) == expected


@pytest.mark.parametrize(
    ("summary", "expected"),
    [
        ("Return a list of all matches.", True),
        ("Constructor.", False),
        ("spawnve(mode, file, args, env) -> integer", False),
        ("round(self, number of digits wanted)", False),
        ('attribute [section] ["*"] [CFWS] "=" value', False),
        ("atext = <matches _atext_matcher>", False),
        ("distutils.command.install_scripts", False),
        ("**DEPRECATED** use the other one", False),
    ],
)
def test_is_question(summary: str, expected: bool) -> None:
    assert is_question(summary) is expected


def test_splits_are_fixed_shares() -> None:
    names = [split_of(f"module.function{row}") for row in range(4000)]
    assert split_of("textwrap.fill") == split_of("textwrap.fill")
    assert 0.17 < names.count("test") / 4000 < 0.23
    assert 0.08 < names.count("dev") / 4000 < 0.12


def test_the_running_library() -> None:
    """Enough real text to search in, the same every time, and no query without its passage."""
    files = library_files()
    found, again = documentation(files), documentation(files)
    assert (found.passages, found.queries, found.judgements) == (
        again.passages,
        again.queries,
        again.judgements,
    )
    assert library_sha256(files) == library_sha256(files)
    passages = {record.id: record for record in found.passages}
    assert len(passages) == len(found.passages) > 1000
    assert len({query.id for query in found.queries}) == len(found.queries) > 1000
    assert {passage for _, passage in found.judgements} <= passages.keys()
    assert {query for query, _ in found.judgements} == {query.id for query in found.queries}
    assert not passages.keys() & {query.id for query in found.queries}
    assert all(record.id.split() == [record.id] for record in found.passages)
    assert len({" ".join(record.text.split()) for record in found.passages}) == len(passages)
    assert "textwrap.TextWrapper.fill" in passages or "textwrap.fill" in passages
