"""The card: what decides a vector's meaning, and nothing else, is in the side's fingerprint."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from dretrieve.errors import DataError, PreconditionError, UsageError, VerificationError
from dretrieve.store.card import ModelCard, SideCard
from dretrieve.types import VectorSpec

CARD = ModelCard(
    method="ddr",
    vectors=VectorSpec(384, "one", "dot"),
    query=SideCard(template="{text}", files={"model.safetensors": "q"}),
    passage=SideCard(files={"model.safetensors": "p"}),
    inference={"domain": "auto", "expert": 1},
    inference_sides={"domain": ("query",)},
)


def test_it_reads_back_equal(tmp_path: Path) -> None:
    CARD.save(tmp_path)
    assert ModelCard.load(tmp_path) == CARD


def test_a_change_of_the_query_side_leaves_the_passages_alone() -> None:
    other = replace(CARD, query=replace(CARD.query, max_tokens=32))
    assert other.fingerprint("passage") == CARD.fingerprint("passage")
    assert other.fingerprint("query") != CARD.fingerprint("query")


@pytest.mark.parametrize(
    "changes",
    [
        {"pooling": "mean"}, {"normalize": True}, {"max_tokens": 128}, {"template": "{text}"},
        {"pair": True}, {"padding_side": "left"}, {"files": {"model.safetensors": "x"}},
        {"settings": {"expert": 1}},
    ],
)  # fmt: skip
def test_everything_that_moves_a_vector_moves_the_fingerprint(changes: dict) -> None:
    other = replace(CARD, passage=replace(CARD.passage, **changes))
    assert other.fingerprint("passage") != CARD.fingerprint("passage")


def test_where_it_stands_and_how_it_was_made_do_not() -> None:
    other = replace(CARD, source={"a": 1}, training={"seed": 2}, passage=replace(CARD.passage, folder="b"))
    assert other.fingerprint("passage") == CARD.fingerprint("passage")


def test_an_inference_choice_counts_for_its_sides_only() -> None:
    assert CARD.fingerprint("query", {"domain": "law"}) != CARD.fingerprint("query")
    assert CARD.fingerprint("passage", {"domain": "law"}) == CARD.fingerprint("passage")
    assert CARD.fingerprint("passage", {"expert": 0}) != CARD.fingerprint("passage")
    assert CARD.fingerprint("passage", {"expert": 1}) == CARD.fingerprint("passage")
    with pytest.raises(UsageError, match="--set dommain: the method 'ddr' has no such choice; it has domain"):
        CARD.fingerprint("query", {"dommain": "law"})


def test_files_are_verified(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    side = SideCard().with_hashes(tmp_path, ("model.safetensors",))
    card = replace(CARD, query=side, passage=side)
    card.verify(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"weightS")
    with pytest.raises(VerificationError, match=r"is not the file that card\.json describes"):
        card.verify(tmp_path)


WRONG_CARDS = {
    "poolling": ("cls", r"the unknown entry 'poolling', expected method, vectors, .*training"),
    "query.max_len": (3, r"the unknown entry 'max_len' in 'query', expected folder"),
    "query.pooling": (None, "lacks 'pooling' in 'query'"),
    "passage": (None, "lacks 'passage'"),
    "vectors.dim": ("384", 'has vectors.dim = "384", expected a whole number'),
    "vectors.score": ("cosine", "expected 'dot' or 'maxsim_sum'"),
    "vectors": ([384], "has vectors = .384., expected names with values"),
    "query.normalize": (1, "has query.normalize = 1, expected true or false"),
    "query.max_tokens": (True, "has query.max_tokens = true, expected a whole number"),
    "passage.max_tokens": (0, "has passage.max_tokens = 0, expected a whole number above 0"),
    "query.files": ({"a": 1}, "has query.files.a = 1, expected a text"),
    "query.template": (None, "lacks 'template' in 'query'"),
    "passage.folder": ("/x", "names the place '/x', expected one in the model's own folder"),
    "query.folder": ("../x", "names the place '../x'"),
    "inference.domain": ([1], "has inference.domain = .1., expected"),
    "inference_sides.domain": ("query", 'has inference_sides.domain = "query", expected a list'),
    "inference_sides": ({"domain": ["both"]}, "expected 'query' or 'passage'"),
    "method": (3, "has method = 3, expected a text"),
}


def test_a_card_that_lists_no_files_says_nothing_about_them(tmp_path: Path) -> None:
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    side = SideCard().with_hashes(tmp_path, ("model.safetensors",))
    with pytest.raises(VerificationError, match="lists no files of its passage side"):
        replace(CARD, query=side, passage=SideCard()).verify(tmp_path)


def test_unreadable_cards(tmp_path: Path) -> None:
    with pytest.raises(PreconditionError, match=r"holds no card\.json"):
        ModelCard.load(tmp_path)
    path = tmp_path / "card.json"
    for text, words in (("{", "cannot be read"), ("[]", "not a model card"), ('{"format": 9}', "format 1")):
        path.write_text(text)
        with pytest.raises(DataError, match=words):
            ModelCard.load(tmp_path)
    CARD.save(tmp_path)
    value = json.loads(path.read_bytes())
    for change, words in WRONG_CARDS.items():
        broken = json.loads(json.dumps(value))
        *where, last = change.split(".")
        inner = broken
        for key in where:
            inner = inner[key]
        given, sentence = words
        if given is None:
            del inner[last]
        else:
            inner[last] = given
        path.write_text(json.dumps(broken))
        with pytest.raises(DataError, match=sentence) as told:
            ModelCard.load(tmp_path)
        assert str(told.value).startswith(str(path))
