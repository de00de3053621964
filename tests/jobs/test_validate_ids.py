"""Why ids of two sides differ."""

from __future__ import annotations

import pytest

from dretrieve.jobs.validate_ids import explain_strangers


@pytest.mark.parametrize(
    ("strangers", "known", "clause"),
    [
        (["007", "012"], ["7", "12"], "leading zeros were added ('007' is '7' there)"),
        (
            ["7", "12"],
            ["007", "012"],
            "leading zeros were lost (ids went through a number type) ('7' is '007' there)",
        ),
        (["7.0", "12.0"], ["7", "12"], "ids went through a number type and got '.0' ('7.0' is '7' there)"),
        (
            ["med-1", "med-2"],
            ["MED-1", "MED-2"],
            "letters were turned to lower case ('med-1' is 'MED-1' there)",
        ),
        (["doc7", "doc12"], ["7", "12"], "the prefix 'doc' was added ('doc7' is '7' there)"),
        (["0", "1"], ["a", "b"], "they look like row numbers; write the collection's ids instead"),
        (["x", "y"], ["a", "b"], "they come from another collection, or another release of it"),
    ],
)
def test_explanations(strangers: list[str], known: list[str], clause: str) -> None:
    assert explain_strangers(strangers, known.__contains__, known) == clause
