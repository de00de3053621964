"""What is written beside the weights: sentence-transformers must give our vectors of both sides."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch

from dretrieve.encoding.pipeline import encode_records
from dretrieve.models.dpr import Dpr
from dretrieve.models.dpr_config import DprConfig
from dretrieve.models.loading import load_model
from dretrieve.models.model_folder import beyond_sentence_transformers, prompt_of, save_model, save_tokenizer
from dretrieve.models.shared import Shared
from dretrieve.models.shared_config import SharedConfig
from dretrieve.store.card import SideCard
from dretrieve.types import Record

RECORDS = [
    Record("1", "Bees", "honey bee hive nectar pollen queen swarm wax colony flower honey bee hive"),
    Record("2", "", "moon tide ocean"),
    Record("3", "Bread", "Flour yeast"),
]
SIZES = {"d_model": 32, "vocab_size": 200, "pad_token_id": 0}
FAMILIES = {
    "t5": ("T5", {"d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4, "decoder_start_token_id": 0}),
    "bart": (
        "Bart",
        {
            "encoder_layers": 2, "decoder_layers": 1, "encoder_attention_heads": 4,
            "decoder_attention_heads": 4, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64,
            "max_position_embeddings": 64,
            "decoder_start_token_id": 2, "forced_eos_token_id": None,
        },
    ),
}  # fmt: skip


@pytest.fixture
def encoder_decoder(tiny_model, tmp_path):
    """A whole encoder-decoder with random weights and the tiny model's tokenizer."""
    import transformers

    def made(family):
        name, sizes = FAMILIES[family]
        folder = tmp_path / family
        config = getattr(transformers, f"{name}Config")(**SIZES, **sizes)
        with torch.random.fork_rng():
            torch.manual_seed(3)
            model = getattr(transformers, f"{name}Model")(config)
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    torch.nn.init.normal_(parameter, 0, 0.3)
            model.save_pretrained(folder)
        for file in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copyfile(tiny_model / file, folder / file)
        return folder

    return made


def joined(record, side):
    return record.text if side == "query" else f"{record.title} {record.text}".strip()


def check_elsewhere(folder, sides=("query", "passage"), places=None):
    """Compare our vectors of both sides with those of ``encode_query`` and ``encode_document``."""
    from sentence_transformers import SentenceTransformer

    model = load_model(str(folder))
    for side in sides:
        ours = encode_records(model, side, RECORDS, "float32").values
        place = folder / model.card.side(side).folder
        theirs = SentenceTransformer(str(place), device="cpu")
        encode = theirs.encode_query if side == "query" else theirs.encode_document
        found = encode([joined(record, side) for record in RECORDS], batch_size=2)
        np.testing.assert_allclose(ours, found, atol=2e-5)
        assert theirs.similarity_fn_name == ("cosine" if model.card.side(side).normalize else "dot")


@pytest.mark.parametrize("family", FAMILIES)
def test_the_encoder_of_an_encoder_decoder_comes_back(encoder_decoder, tmp_path, family):
    """It was saved under names that no class looks for: the model read back was random."""
    method = Shared.build(SharedConfig(pooling="mean"), str(encoder_decoder(family))).eval()
    save_model(method, tmp_path / "saved")
    saved = load_model(str(tmp_path / "saved"))
    assert len(saved.encoder.state_dict()) == len(method.state_dict())
    for name, tensor in method.state_dict().items():
        assert torch.equal(saved.encoder.state_dict()[name], tensor), name
    check_elsewhere(tmp_path / "saved")


@pytest.mark.parametrize("normalize", ["yes", "no"])
def test_prompts_lengths_and_similarity_are_written(tiny_model, tmp_path, normalize):
    config = SharedConfig(
        pooling="mean",
        normalize=normalize,
        query_template="a query: {text}",
        passage_template="the passage {title} {text}",
        query_max_len=7,
        passage_max_len=12,
    )
    method = Shared.build(config, str(tiny_model))
    card = save_model(method, tmp_path / "saved")
    assert beyond_sentence_transformers(card, tmp_path / "saved") == []
    check_elsewhere(tmp_path / "saved")


def test_each_side_of_dpr_knows_its_prompt(tiny_model, tmp_path):
    from sentence_transformers import SentenceTransformer

    config = DprConfig(
        pooling="cls", query_template="ask {text}", passage_template="say {title} {text}", pair="no"
    )
    save_model(Dpr.build(config, str(tiny_model)), tmp_path / "saved")
    check_elsewhere(tmp_path / "saved")
    model = SentenceTransformer(str(tmp_path / "saved/passage"), device="cpu")
    assert np.allclose(model.encode("moon tide"), model.encode_document("moon tide"))


def test_lower_case_is_written(tiny_model, tmp_path):
    """A cased tokenizer whose backbone says that it gets lower case; a prompt of the command line too."""
    shutil.copytree(tiny_model, tmp_path / "cased")
    tokenizer = json.loads((tmp_path / "cased/tokenizer.json").read_text())
    tokenizer["normalizer"]["lowercase"] = False
    (tmp_path / "cased/tokenizer.json").write_text(json.dumps(tokenizer))
    save_model(Shared.build(SharedConfig(pooling="mean"), str(tmp_path / "cased")), tmp_path / "plain")
    (tmp_path / "plain/card.json").unlink()
    settings = {"do_lower_case": True, "max_seq_length": 20}
    (tmp_path / "plain/sentence_bert_config.json").write_text(json.dumps(settings))
    method = Shared.build(SharedConfig(query_template="The Queen: {text}"), str(tmp_path / "plain"))
    assert method.cards["query"].template == "the queen: {text}"
    save_model(method, tmp_path / "saved")
    assert json.loads((tmp_path / "saved/sentence_bert_config.json").read_text())["do_lower_case"] is True
    check_elsewhere(tmp_path / "saved")


def test_what_their_files_cannot_say_is_said(tiny_model, tmp_path):
    config = SharedConfig(query_template="{text} ?", passage_template="{title}: {text}")
    unknown = "SentenceTransformer does not know the template"
    card = save_model(Shared.build(config, str(tiny_model)), tmp_path / "one")
    assert beyond_sentence_transformers(card, tmp_path / "one") == [
        unknown + " '{text} ?': give it every query in that form",
        unknown + " '{title}: {text}': give it every passage in that form",
    ]
    card = save_model(Shared.build(SharedConfig(pair="yes"), str(tiny_model)), tmp_path / "two")
    (line,) = beyond_sentence_transformers(card, tmp_path / "two")
    assert "title and text as a pair: give it every passage" in line


@pytest.mark.parametrize(
    ("template", "prompt"),
    [
        ("{title} {text}", ""),
        ("a passage: {title}\n{text}", "a passage: "),
        ('{"task": 1} {text}', '{"task": 1} '),
        ("the literal {{text}}: {text}", "the literal {text}: "),
        ("{text}?", None),
        ("{title}: {text}", None),
        ("{text} {title}", None),
    ],
)
def test_a_prompt_is_what_stands_before_a_text(template, prompt):
    assert prompt_of(SideCard(template=template)) == prompt


def test_the_tokenizer_is_told_where_padding_and_cuts_are(tiny_model, tmp_path):
    card = SideCard(max_tokens=9, padding_side="left", settings={"truncation_side": "left"})
    save_tokenizer(tmp_path, tiny_model, card)
    said = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert (said["padding_side"], said["truncation_side"], said["model_max_length"]) == ("left", "left", 9)


@pytest.mark.parametrize("normalize", [True, False])
def test_modules_behind_the_pooling_are_saved_where_sentence_transformers_finds_them(
    tiny_model, tmp_path, normalize
):
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Dense, Transformer
    from sentence_transformers.sentence_transformer.modules import Normalize, Pooling

    torch.manual_seed(4)
    parts = [Transformer(str(tiny_model)), Pooling(32, pooling_mode="mean"), Dense(32, 12)]
    SentenceTransformer(modules=[*parts, *([Normalize()] * normalize)]).save(str(tmp_path / "plain"))
    method = Shared.build(SharedConfig(), str(tmp_path / "plain"))
    with torch.no_grad():
        method.encoder.head[0].linear.weight.mul_(1.5)
    card = save_model(method, tmp_path / "saved")
    assert {"2_Dense/config.json", "2_Dense/model.safetensors"} <= set(card.query.files)
    texts = ["the moon and the tide", "honey"]
    theirs = SentenceTransformer(str(tmp_path / "saved"), device="cpu").encode(texts)
    assert theirs.shape == (2, 12)
    loaded = load_model(str(tmp_path / "saved"))
    ours = encode_records(
        loaded, "query", [Record(str(row), "", text) for row, text in enumerate(texts)], "float32"
    ).values
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
