from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
from tokenizers import Tokenizer, normalizers

from dretrieve.errors import DataError, PreconditionError
from dretrieve.models.cards import read_card
from dretrieve.models.plain import read_plain
from dretrieve.store.card import SideCard
from dretrieve.tokens.tokenizer import AS_IT_IS, SideTokenizer
from dretrieve.types import Record


@pytest.fixture
def tokenizer(tiny_model):
    return SideTokenizer.open(tiny_model, SideCard(max_tokens=8))


def test_ids_are_those_of_transformers(tiny_model, tokenizer):
    from transformers import AutoTokenizer

    theirs = AutoTokenizer.from_pretrained(tiny_model)
    records = [Record("a", "Bees", "the honey bee"), Record("b", "", ""), Record("c", "", "moon tide ocean")]
    tokens = tokenizer.tokenize(records)
    for row, text in enumerate(["Bees the honey bee", "", "moon tide ocean"]):
        assert tokens.row(row).tolist() == theirs(text, truncation=True, max_length=8)["input_ids"]
    assert tokens.lengths.tolist() == [len(tokens.row(row)) for row in range(3)]
    assert [list(row) for row in tokenizer(records)] == [tokens.row(row).tolist() for row in range(3)]


def test_truncation_is_counted_only_where_something_is_lost(tokenizer):
    exact = Record("a", "", "moon tide ocean gravity shore wave")
    longer = Record("b", "", "moon tide ocean gravity shore wave current")
    tokens = tokenizer.tokenize([exact, longer])
    assert tokens.lengths.tolist() == [8, 8]
    assert tokens.truncated == 1


def test_a_pair_is_cut_from_its_longer_part(tiny_model):
    pair = SideTokenizer.open(tiny_model, SideCard(max_tokens=8, pair=True))
    shown = pair.show(Record("a", "bees", "moon tide ocean gravity shore wave current"))
    assert shown.pieces == "[CLS] bees [SEP] moon tide ocean gravity [SEP]".split()
    assert shown.dropped[:2] == ["shore", "wave"]
    assert shown.text == "bees ‖ moon tide ocean gravity shore wave current"


def test_the_padding_token_of_the_model_is_found(tiny_model, tokenizer, tmp_path):
    assert tokenizer.pad_id == json.loads((tiny_model / "config.json").read_text())["pad_token_id"]
    shutil.copy(tiny_model / "tokenizer.json", tmp_path)
    assert SideTokenizer.open(tmp_path, SideCard()).pad_id == 0


def test_a_lone_surrogate_names_its_record(tokenizer):
    with pytest.raises(DataError, match="bad-one is no legal Unicode"):
        tokenizer.tokenize([Record("ok", "", "fine"), Record("bad-one", "", "\ud800")])


def test_a_broken_tokenizer_names_its_file(tmp_path):
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(PreconditionError, match="cannot be read as a tokenizer"):
        SideTokenizer.open(tmp_path, SideCard())


def test_a_folder_without_tokenizer_says_so(tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(PreconditionError, match="tokenizer"):
        SideTokenizer.open(tmp_path, SideCard())


def test_lowercase_is_the_sides_own_setting(tiny_model):
    backend = SideTokenizer.open(tiny_model, SideCard(settings={"lowercase": True}))
    assert backend.show(Record("a", "MOON", "Tide")).text == "moon tide"


def test_a_text_without_any_token_gets_one(tiny_model, tmp_path):
    config = json.loads((tiny_model / "tokenizer.json").read_text())
    (tmp_path / "tokenizer.json").write_text(json.dumps(config | {"post_processor": None}))
    bare = SideTokenizer.open(tmp_path, SideCard())
    tokens = bare.tokenize([Record("a", "", "moon"), Record("b", "", ""), Record("c", "", "tide")])
    assert tokens.lengths.tolist() == [1, 1, 1]
    assert tokens.row(1).tolist() == list(bare([Record("b", "", "")])[0]) == [bare.pad_id]


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("tokenizer_config.json", {"added_tokens_decoder": {"150": {"content": "moon ti"}}}),
        ("tokenizer_config.json", {"additional_special_tokens": ["moon ti"]}),
        ("tokenizer_config.json", {"split_special_tokens": True}),
        ("special_tokens_map.json", {"additional_special_tokens": ["moon ti"]}),
        ("added_tokens.json", {"moon ti": 150}),
    ],
)
def test_tokens_that_stand_beside_tokenizer_json_are_those_of_transformers(tiny_model, tmp_path, file, said):
    from transformers import AutoTokenizer

    for name in ("tokenizer.json", "tokenizer_config.json", "config.json"):
        shutil.copy(tiny_model / name, tmp_path)
    before = json.loads((tmp_path / file).read_text()) if (tmp_path / file).exists() else {}
    (tmp_path / file).write_text(json.dumps(before | said))
    text = "bees [SEP] moon tide"
    found = SideTokenizer.open(tmp_path, SideCard()).tokenize([Record("a", "", text)]).row(0).tolist()
    assert found == AutoTokenizer.from_pretrained(tmp_path)(text)["input_ids"]
    plain = SideTokenizer.open(tiny_model, SideCard()).tokenize([Record("a", "", text)]).row(0).tolist()
    assert found != plain


@pytest.mark.parametrize("kind", ["BertTokenizer", None, "TokenizersBackend"])
@pytest.mark.parametrize("entry", ["lowercase", "strip_accents", "handle_chinese_chars"])
def test_what_a_berts_configuration_leaves_open_is_as_transformers_has_it(tiny_model, tmp_path, entry, kind):
    from transformers import AutoTokenizer

    shutil.copy(tiny_model / "config.json", tmp_path)
    backend = Tokenizer.from_file(str(tiny_model / "tokenizer.json"))
    backend.normalizer = normalizers.BertNormalizer(**{entry: False})
    backend.save(str(tmp_path / "tokenizer.json"))
    if kind:
        (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": kind}))
    text = "Bees móon 潮汐 tide"
    found = SideTokenizer.open(tmp_path, SideCard()).tokenize([Record("a", "", text)]).row(0).tolist()
    assert found == AutoTokenizer.from_pretrained(tmp_path)(text)["input_ids"]
    assert (found == backend.encode(text).ids) == (kind == "TokenizersBackend")


def test_tokens_that_no_file_says_are_in_the_fingerprint(tiny_model, tmp_path):
    shutil.copytree(tiny_model, tmp_path, dirs_exist_ok=True)
    (tmp_path / "tokenizer_config.json").unlink()
    assert "tokenizer" not in read_plain(tmp_path).card.query.settings
    backend = Tokenizer.from_file(str(tiny_model / "tokenizer.json"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=False)
    backend.save(str(tmp_path / "tokenizer.json"))
    assert read_plain(tmp_path).card.query.settings["tokenizer"] == "transformers"
    (tmp_path / "tokenizer_config.json").write_text("{}")
    card = read_plain(tmp_path).card
    assert "tokenizer" not in card.query.settings
    assert "tokenizer_config.json" in card.query.files


def test_a_model_is_not_read_with_other_tokens_than_it_was_made_with(tiny_model, tmp_path):
    backend = Tokenizer.from_file(str(tiny_model / "tokenizer.json"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=False)
    backend.save(str(tmp_path / "tokenizer.json"))
    for name in ("config.json", "model.safetensors"):
        shutil.copy(tiny_model / name, tmp_path)
    said = {"model_max_length": 64}
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(said))
    card = read_plain(tmp_path).card.with_hashes(tmp_path, ("tokenizer.json", "model.safetensors"))
    replace(card, source={}).save(tmp_path)
    with pytest.raises(PreconditionError, match='"tokenizer_class": "PreTrainedTokenizerFast"'):
        read_card(tmp_path)
    (tmp_path / "tokenizer_config.json").unlink()
    with pytest.raises(PreconditionError, match="json is missing; to keep them"):
        read_card(tmp_path)
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(said | {"tokenizer_class": AS_IT_IS[0]}))
    text = "Bees moon tide"
    found = (
        SideTokenizer.open(tmp_path, read_card(tmp_path)[0].query)
        .tokenize([Record("a", "", text)])
        .row(0)
        .tolist()
    )
    assert found == backend.encode(text).ids


@pytest.mark.parametrize(
    ("kind", "file"),
    [
        ("DebertaV2", "spm.model"),
        ("RemBert", "sentencepiece.model"),
        ("XLMRoberta", "sentencepiece.bpe.model"),
    ],
)
def test_a_sentencepiece_model_alone_is_a_tokenizer(tmp_path, kind, file):
    pytest.importorskip("google.protobuf", reason="protobuf, with which transformers reads these files")
    import io

    import sentencepiece
    from transformers import AutoTokenizer

    model, special = io.BytesIO(), ["[CLS]", "[SEP]", "[MASK]"]
    texts = ["the honey bee", "moon tide ocean", "rook and bishop and knight"]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        vocab_size=40,
        hard_vocab_limit=False,
        user_defined_symbols=special,
        minloglevel=2,
    )
    (tmp_path / file).write_bytes(model.getvalue())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": f"{kind}Tokenizer"}))
    found = SideTokenizer.open(tmp_path, SideCard()).tokenize([Record("a", "", "honey moon")]).row(0).tolist()
    assert found == AutoTokenizer.from_pretrained(tmp_path)("honey moon")["input_ids"]
    assert len(set(found)) > 4


def test_tokens_have_their_strings(tokenizer):
    ids = tokenizer.tokenize([Record("a", "", "moon tide")]).row(0).tolist()
    assert tokenizer.pieces(ids) == ["[CLS]", "moon", "tide", "[SEP]"]
    assert tokenizer.vocabulary == 150
    assert tokenizer.pieces([150]) == ["?150"]
