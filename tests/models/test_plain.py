"""Plain folders: what their own files say is what is done."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from dretrieve.errors import DataError, PreconditionError
from dretrieve.models.cards import read_card
from dretrieve.models.plain import UNSAID, read_plain
from dretrieve.store.state import record_state


@pytest.fixture
def bare(tiny_model, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    (folder / "modules.json").unlink()
    shutil.rmtree(folder / "1_Pooling")
    return folder


def write(path, value):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(value))


def edit(path, **entries):
    write(path, json.loads(path.read_text()) | entries)


def as_sentence_transformer(folder, pooling=None, normalize=True, **top):
    kinds = ["Transformer", "Pooling", *(["Normalize"] if normalize else [])]
    places = ["", "1_Pooling", "2_Normalize"]
    write(
        folder / "modules.json",
        [
            {"idx": i, "path": places[i], "type": f"sentence_transformers.models.{kind}"}
            for i, kind in enumerate(kinds)
        ],
    )
    write(
        folder / "1_Pooling" / "config.json",
        pooling or {"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": False},
    )
    write(folder / "sentence_bert_config.json", {"max_seq_length": 20, "do_lower_case": False})
    write(folder / "config_sentence_transformers.json", top)


def test_sentence_transformers_files_are_obeyed(bare):
    as_sentence_transformer(bare, prompts={"query": "query: ", "document": "passage: "})
    plain = read_plain(bare)
    query, passage = plain.card.query, plain.card.passage
    assert (query.pooling, query.normalize, query.max_tokens) == ("mean", True, 20)
    assert (query.template, passage.template) == ("query: {text}", "passage: {title} {text}")
    assert plain.card.vectors.dim == 32
    for said in (
        "mean pooling",
        "unit length",
        "20 tokens",
        'query prompt "query: "',
        "sentence-transformers",
    ):
        assert said in plain.note


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        ({"pooling_mode_cls_token": True}, "cls"),
        ({"pooling_mode_lasttoken": True}, "last"),
        ({"pooling_mode": "lasttoken"}, "last"),
        ({"pooling_mode": "mean"}, "mean"),
        ({"pooling_mode": "max"}, "max"),
        ({"pooling_mode_max_tokens": True}, "max"),
        ({"pooling_mode": "mean_sqrt_len_tokens"}, "mean_sqrt_len"),
        ({"pooling_mode_weightedmean_tokens": True}, "weightedmean"),
        ({"pooling_mode": ["cls"]}, "cls"),
    ],
)
def test_every_spelling_of_pooling(bare, config, expected):
    as_sentence_transformer(bare, pooling=config, normalize=False)
    card = read_plain(bare).card
    assert card.passage.pooling == expected
    assert not card.passage.normalize


@pytest.mark.parametrize(
    "config",
    [
        {"pooling_mode": "attention"},
        {"pooling_mode": ["cls", "mean"]},
        {"pooling_mode_cls_token": False},
        {"pooling_mode": 5},
        {"pooling_mode": [["mean"]]},
    ],
)
def test_a_pooling_that_is_not_done_here_is_refused(bare, config):
    as_sentence_transformer(bare, pooling=config)
    with pytest.raises(DataError, match="one of cls, mean, last"):
        read_plain(bare)


def test_a_module_without_counterpart_is_refused(bare):
    as_sentence_transformer(bare)
    write(
        bare / "modules.json",
        [
            {"type": "sentence_transformers.models.Transformer", "path": ""},
            {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"},
            {"type": "sentence_transformers.models.LSTM", "path": "2"},
        ],
    )
    with pytest.raises(DataError, match="Transformer, Pooling, LSTM"):
        read_plain(bare)


def test_prompts_outside_the_pooling_are_refused(bare):
    as_sentence_transformer(
        bare, pooling={"pooling_mode": "mean", "include_prompt": False}, prompts={"query": "q "}
    )
    with pytest.raises(DataError, match="leaves its prompts out"):
        read_plain(bare)


def test_cosine_as_similarity_means_unit_length(bare):
    as_sentence_transformer(bare, normalize=False, similarity_fn_name="cosine")
    assert read_plain(bare).card.query.normalize


def test_a_missing_configuration_is_said_to_be_missing(bare):
    as_sentence_transformer(bare)
    (bare / "config.json").unlink()
    with pytest.raises(DataError, match=r"config\.json is missing or empty; fetch it too"):
        read_plain(bare)


def test_cut_vectors_are_refused(bare):
    as_sentence_transformer(bare, truncate_dim=8)
    with pytest.raises(DataError, match=r"cuts vectors \(truncate_dim 8\), which is not done here"):
        read_plain(bare)
    as_sentence_transformer(bare, truncate_dim=None)
    assert read_plain(bare).card.vectors.dim > 8


def test_a_default_prompt_serves_both_sides(bare):
    as_sentence_transformer(bare, prompts={"sts": "say: "}, default_prompt_name="sts")
    card = read_plain(bare).card
    assert (card.query.template, card.passage.template) == ("say: {text}", "say: {title} {text}")


@pytest.mark.parametrize(
    ("name", "value", "kind"),
    [("prompts", ["a"], "dict"), ("prompts", "a", "dict"), ("default_prompt_name", 5, "str")],
)
def test_an_entry_of_another_type_is_refused(bare, name, value, kind):
    as_sentence_transformer(bare, **{name: value})
    with pytest.raises(DataError, match=rf"{name} is .*, and that is no {kind}"):
        read_plain(bare)


def test_a_model_type_that_is_no_text_is_refused(bare):
    config = json.loads((bare / "config.json").read_text())
    write(bare / "config.json", config | {"model_type": ["bert"]})
    with pytest.raises(DataError, match=r"model_type is .*, and that is no str"):
        read_plain(bare)


def test_the_transformer_may_stand_in_a_folder_of_its_own(bare, tiny_model):
    inner = bare / "0_Transformer"
    shutil.copytree(tiny_model, inner)
    as_sentence_transformer(bare)
    modules = json.loads((bare / "modules.json").read_text())
    modules[0]["path"] = "0_Transformer"
    write(bare / "modules.json", modules)
    write(inner / "sentence_bert_config.json", {"max_seq_length": 11})
    card = read_plain(bare).card
    assert (card.query.folder, card.query.max_tokens) == ("0_Transformer", 11)


@pytest.mark.parametrize(
    ("family", "name", "expected"),
    [
        ("bert", "some-bert", "cls"),
        ("bert", "contriever-x", "mean"),
        ("qwen3", "m", "last"),
        ("t5", "m", "mean"),
    ],
)
def test_a_bare_folder_takes_its_familys_custom_and_says_so(bare, family, name, expected):
    folder = bare.rename(bare.parent / name)
    edit(folder / "config.json", model_type=family)
    plain = read_plain(folder)
    assert plain.card.query.pooling == expected
    assert not plain.card.query.normalize
    assert "names no pooling" in plain.note


@pytest.mark.parametrize(
    ("entry", "unsaid"),
    [
        ({"is_causal": False}, True),
        ({"use_bidirectional_attention": True}, True),
        ({"use_bidirectional_attention": "all"}, True),
        ({"use_bidirectional_attention": "vision"}, False),
    ],
)
def test_a_causal_family_that_reads_both_ways_has_several_readings(bare, entry, unsaid):
    edit(bare / "config.json", model_type="gemma3_text", architectures=["Gemma3ForCausalLM"], **entry)
    assert (UNSAID in read_plain(bare).card.source) == unsaid


def test_lengths_come_from_tokenizer_and_positions(bare):
    assert read_plain(bare).card.query.max_tokens == 64
    edit(bare / "config.json", model_type="roberta", max_position_embeddings=34)
    assert read_plain(bare).card.query.max_tokens == 32
    edit(bare / "config.json", max_position_embeddings=9000)
    edit(bare / "tokenizer_config.json", model_max_length=10**30)
    assert read_plain(bare).card.query.max_tokens == 512


@pytest.mark.parametrize(("said", "expected"), [({}, "left"), ({"truncation_side": "right"}, None)])
def test_where_a_text_is_cut_tokenizer_json_says_last(bare, said, expected):
    cut = {"direction": "Left", "max_length": 9, "strategy": "LongestFirst", "stride": 0}
    edit(bare / "tokenizer.json", truncation=cut)
    edit(bare / "tokenizer_config.json", **said)
    assert read_plain(bare).card.query.settings.get("truncation_side") == expected


def test_padding_stands_right_whatever_the_tokenizer_says(bare):
    edit(bare / "tokenizer_config.json", padding_side="left")
    assert read_plain(bare).card.passage.padding_side == "right"


def test_the_fingerprint_follows_weights_and_tokenizer_not_the_place(bare, tiny_model):
    first = read_plain(tiny_model).card
    assert read_plain(bare).card.fingerprint("passage") == first.fingerprint("passage")
    with open(bare / "model.safetensors", "r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")
    assert read_plain(bare).card.fingerprint("passage") != first.fingerprint("passage")


def test_the_fingerprint_follows_the_configuration_of_a_tokenizer_without_fast_form(bare):
    words = json.loads((bare / "tokenizer.json").read_text())["model"]["vocab"]
    (bare / "vocab.txt").write_text("\n".join(sorted(words, key=words.__getitem__)))
    (bare / "tokenizer.json").unlink()
    found = [read_plain(bare).card.fingerprint("passage")]
    edit(bare / "tokenizer_config.json", do_lower_case=False)
    found.append(read_plain(bare).card.fingerprint("passage"))
    write(bare / "added_tokens.json", {"honey bee": 150})
    assert len({*found, read_plain(bare).card.fingerprint("passage")}) == 3


def test_pickled_weights_are_not_read(bare):
    (bare / "model.safetensors").rename(bare / "pytorch_model.bin")
    with pytest.raises(PreconditionError, match="save_pretrained"):
        read_plain(bare)


@pytest.mark.parametrize(("kind", "half"), [("Question", "question"), ("Context", "ctx")])
def test_half_a_dpr_model_is_told_how_to_become_whole(bare, kind, half):
    edit(bare / "config.json", model_type="dpr", architectures=[f"DPR{kind}Encoder"])
    with pytest.raises(
        PreconditionError, match=rf"one half of a DPR model .* model\.{half}_encoder\.bert_model"
    ):
        read_plain(bare)


@pytest.mark.parametrize(
    ("tool", "file", "said"),
    [
        ("Tevatron", "pooler_config.json", {"input_dim": 32, "output_dim": 8, "tied": True}),
        ("OpenMatch", "openmatch_config.json", {"pooling": "first", "linear_head": True}),
    ],
)
def test_a_layer_that_another_tool_keeps_beside_is_refused(bare, tool, file, said):
    write(bare / file, said)
    with pytest.raises(DataError, match=f"a linear layer behind the pooling, as {tool} saves it"):
        read_plain(bare)
    write(bare / "openmatch_config.json", {"pooling": "first", "linear_head": False})
    (bare / "pooler_config.json").unlink(missing_ok=True)
    assert read_plain(bare).card.vectors.dim == 32


def test_a_folder_that_is_no_model_and_broken_json(bare, tmp_path):
    with pytest.raises(PreconditionError, match="is no model"):
        read_plain(tmp_path)
    (bare / "config.json").write_text("{")
    with pytest.raises(DataError, match=r"config\.json cannot be read"):
        read_plain(bare)


def test_sentence_transformers_models_without_length_take_all_that_fits(bare):
    as_sentence_transformer(bare)
    (bare / "sentence_bert_config.json").write_text("{}")
    edit(bare / "config.json", max_position_embeddings=8192)
    edit(bare / "tokenizer_config.json", model_max_length=8000)
    assert read_plain(bare).card.query.max_tokens == 8000
    edit(bare / "tokenizer_config.json", model_max_length=10**30)
    assert read_plain(bare).card.query.max_tokens == 8192


@pytest.mark.parametrize(
    "settings",
    [
        {"max_seq_length": 20, "tokenizer_args": {"model_max_length": 12, "padding_side": "left"}},
        {"max_seq_length": 20, "processor_kwargs": {"model_max_length": 12}},
        {"tokenizer_args": {"model_max_length": 12}, "processor_kwargs": {"model_max_length": 14}},
        {"max_seq_length": 12, "tokenizer_args": {}, "processor_kwargs": {"model_max_length": 14}},
        {"max_seq_length": 12, "model_args": {"torch_dtype": "float32", "attn_implementation": "eager"}},
        {"max_seq_length": 12, "model_args": {"trust_remote_code": True}, "config_args": {}},
    ],
)
def test_what_is_handed_on_to_transformers_is_obeyed_as_there(bare, settings):
    from sentence_transformers.base.modules import Transformer

    as_sentence_transformer(bare)
    write(bare / "sentence_bert_config.json", settings)
    assert Transformer.load(str(bare)).max_seq_length == 12
    assert read_plain(bare).card.query.max_tokens == 12


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("tokenizer_args", {"model_max_length": 9, "add_prefix_space": True}, "{'add_prefix_space': True}"),
        ("processor_kwargs", {"truncation_side": "left"}, "{'truncation_side': 'left'}"),
        ("model_args", {"num_hidden_layers": 1}, "{'num_hidden_layers': 1}"),
        ("model_kwargs", ["dtype"], "['dtype']"),
        ("config_args", {"attention_dropout": 0.5}, "{'attention_dropout': 0.5}"),
    ],
)
def test_what_is_handed_on_and_not_done_here_is_refused(bare, name, value, sentence):
    as_sentence_transformer(bare)
    edit(bare / "sentence_bert_config.json", **{name: value})
    with pytest.raises(DataError, match=rf"{name} is .*{re.escape(sentence)}.*delete it there"):
        read_plain(bare)


def test_a_chat_template_around_each_text_is_refused(bare):
    as_sentence_transformer(bare)
    states = {"method": "forward", "method_output_name": "last_hidden_state"}
    file = bare / "sentence_bert_config.json"
    edit(file, modality_config={"text": states}, module_output_name="token_embeddings")
    read_plain(bare)
    edit(file, modality_config={"text": states, "message": states | {"format": "flat"}})
    with pytest.raises(DataError, match="chat template"):
        read_plain(bare)


def test_prompts_of_neither_side_are_named(bare):
    as_sentence_transformer(bare, prompts={"web_search_query": "find: ", "document": "", "sts": ""})
    plain = read_plain(bare)
    assert (plain.card.query.template, plain.card.passage.template) == ("{text}", "{title} {text}")
    assert plain.note.endswith("prompts not used: web_search_query")
    as_sentence_transformer(bare, prompts={"sts": "say: ", "query": "q: "}, default_prompt_name="sts")
    assert "not used" not in read_plain(bare).note
    as_sentence_transformer(bare, prompts={"document": ""})
    assert read_plain(bare).note.endswith("no prompts")


@pytest.mark.parametrize(
    ("top", "normalize", "said"),
    [
        ({}, False, True),
        ({"similarity_fn_name": None}, False, True),
        ({"similarity_fn_name": "dot"}, False, False),
        ({"similarity_fn_name": "cosine"}, False, False),
        ({}, True, False),
    ],
)
def test_a_similarity_that_nobody_names_is_said_to_be_dot(bare, top, normalize, said):
    as_sentence_transformer(bare, normalize=normalize, **top)
    plain = read_plain(bare)
    assert ("names no similarity: dot is taken (sentence-transformers: cosine)" in plain.note) == said
    assert plain.card.query.normalize == (normalize or top.get("similarity_fn_name") == "cosine")


def test_what_a_command_has_half_written_is_no_plain_model(bare):
    """Weights and settings come before the card."""
    manifest = bare / "manifest.json"
    record_state("running", manifest, "train", "f")
    with pytest.raises(PreconditionError, match=r"is what 'train' has not finished \(running\): it may hold"):
        read_card(bare)
    manifest.write_text("{}")  # then it is finished, and what wrote no card has none
    whole = read_card(bare)
    manifest.unlink()
    record_state("failed", manifest, "encode", "f")
    assert read_card(bare) == whole == read_plain(bare)
    (bare / "state.json").write_text('{"stage": "train", "epoch": 3}')  # of another tool
    assert read_card(bare) == whole
