"""One exit code per kind of error; values in sentences are short and visible."""

import pytest

from dretrieve import errors
from dretrieve.errors import quoted, visible


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("DretrieveError", 1),
        ("UsageError", 2),
        ("PreconditionError", 3),
        ("DataError", 4),
        ("VerificationError", 5),
        ("Interrupted", 75),
    ],
)
def test_exit_codes_are_those_of_the_design(name: str, code: int) -> None:
    kind = getattr(errors, name)
    assert issubclass(kind, errors.DretrieveError)
    assert kind("x").exit_code == code


def test_data_errors_begin_with_their_place() -> None:
    assert str(errors.DataError.at("c.jsonl", 7, "no id")) == "c.jsonl, line 7: no id"
    assert str(errors.DataError.at("c.jsonl", None, "empty")) == "c.jsonl: empty"


def test_visible_writes_out_what_a_terminal_obeys_and_nothing_else() -> None:
    hostile = "\x1b[31mred\x1b]0;title\x07 \x9b2J a\rb \u202eevil\u2028\x7f\x00"
    assert visible(hostile) == (
        "\\x1b[31mred\\x1b]0;title\\x07 \\u009b2J a\\rb \\u202eevil\\u2028\\u007f\\x00"
    )
    kept = "tab\there\nnew line, é 漢字 नमस्\u200dते 👩\u200d🔬 a\xa0b"
    assert visible(kept) == kept


def test_quoted_shows_at_most_200_characters_on_one_line() -> None:
    assert quoted("q 1") == "'q 1'"
    assert quoted("a\nb\x1b[2J") == "'a\\nb\\x1b[2J'"
    assert quoted("x" * 200) == "'" + "x" * 200 + "'"
    assert quoted("x" * 2_000_000) == "'" + "x" * 200 + "'… (2,000,000 characters)"
    assert quoted(["a"] * 1000).startswith("['a', 'a'")
    assert len(quoted(["a"] * 1000)) < 230
    assert quoted(3.5) == "3.5"
    assert quoted(None) == "None"


def test_quoted_survives_what_cannot_be_written() -> None:
    deep: list[object] = []
    for _ in range(100_000):
        deep = [deep]
    assert quoted(deep) == "a value of type list that is too large to be shown"
    assert quoted(10**5000) == "a value of type int that is too large to be shown"
