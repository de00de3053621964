"""``--corpus DIR``: a split, which passages do not have, is refused rather than ignored."""

from __future__ import annotations

import pytest

from dretrieve.errors import PreconditionError, UsageError
from dretrieve.text.corpus_spec import parse_corpus


def test_a_folder_or_file_is_itself(tiny_collection):
    assert parse_corpus(str(tiny_collection)) == tiny_collection
    assert parse_corpus(tiny_collection / "corpus.jsonl") == tiny_collection / "corpus.jsonl"


@pytest.mark.parametrize("split", ["test", "no-such-split"])
def test_a_split_is_refused_with_what_to_type(tiny_collection, split):
    with pytest.raises(UsageError, match="passages have no splits, all of them are taken; write") as found:
        parse_corpus(f"{tiny_collection}:{split}")
    assert str(found.value).endswith(f"write --corpus {tiny_collection}")


def test_what_does_not_exist(tmp_path):
    with pytest.raises(PreconditionError, match="does not exist"):
        parse_corpus(str(tmp_path / "none"))


def test_a_colon_in_a_name_is_no_split(tiny_collection, tmp_path):
    (tmp_path / "a:test").symlink_to(tiny_collection)
    (tmp_path / "a").symlink_to(tiny_collection)
    assert parse_corpus(str(tmp_path / "a:test")) == tmp_path / "a:test"
