"""One exit code per kind of error."""

import pytest

from dretrieve import errors


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
