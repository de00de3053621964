"""Training rows whose passages have no ids."""

from __future__ import annotations

from dretrieve.text.foreign.rows import content_id


def test_content_ids_tell_title_from_text() -> None:
    assert content_id("a", "b") != content_id("", "ab") != content_id("ab", "")
