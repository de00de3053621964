"""ColBERT: what has a vector, what is read, MaxSim with gradient, and a model trained further."""

from __future__ import annotations

import json
import shutil
import string
from dataclasses import replace

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer

from dretrieve.encoding.pipeline import encode_records
from dretrieve.errors import DataError, PreconditionError, UsageError
from dretrieve.jobs.convert import ConvertConfig
from dretrieve.jobs.convert import run as convert
from dretrieve.models import maxsim as module
from dretrieve.models.base import Encoded
from dretrieve.models.cards import read_card
from dretrieve.models.colbert import Colbert
from dretrieve.models.colbert_config import ColbertConfig
from dretrieve.models.loading import load_model
from dretrieve.models.maxsim import maxsim
from dretrieve.models.model_folder import save_model
from dretrieve.models.places import find_model
from dretrieve.scoring.maxsim import maxsim_pairs
from dretrieve.tokens.tokenizer import SideTokenizer
from dretrieve.types import Record, Vectors

MARKERS = {"query_marker": "honey", "passage_marker": "moon"}  # words of the tiny vocabulary
TEXTS = [Record("a", "", "hive, ocean."), Record("b", "", "the bishop's dough?"), Record("c", "", "!")]


def build(folder, **options):
    torch.manual_seed(1)
    given = {"dim": 16, "query_max_len": 12, "passage_max_len": 20, **MARKERS} | options
    return Colbert.build(ColbertConfig(**given), str(folder)).eval()


@pytest.fixture
def numbers(deep_model):
    return Tokenizer.from_file(str(deep_model / "tokenizer.json")).get_vocab()


def batch(method, folder, side, records=TEXTS):
    from dretrieve.encoding.pieces import token_batch

    tokens = SideTokenizer.open(folder, method.card().side(side)).tokenize(records)
    return token_batch(tokens, np.arange(len(records)), 0, [record.id for record in records])


def encode(method, folder, side, records=TEXTS):
    with torch.no_grad():
        return method.encode_side(batch(method, folder, side, records), side)


def test_a_query_is_filled_up_and_a_passage_loses_its_punctuation(deep_model, numbers):
    method = build(deep_model)
    ids = batch(method, deep_model, "query").input_ids
    assert (ids[:, 1] == numbers["honey"]).all(), "the marker stands behind [CLS], as one token"
    query, passage = encode(method, deep_model, "query"), encode(method, deep_model, "passage")
    assert query.vectors.shape == (3, 12, 16)
    assert query.mask.all()
    torch.testing.assert_close(query.vectors.norm(dim=-1), torch.ones(3, 12))
    read = batch(method, deep_model, "passage")
    signs = torch.tensor([numbers[sign] for sign in ",.?'"])
    assert torch.equal(passage.mask, read.mask & ~torch.isin(read.input_ids, signs))
    assert (
        encode(build(deep_model, skip_punctuation="no"), deep_model, "passage").mask.sum() == read.mask.sum()
    )


def test_each_vector_has_its_tokens_number(deep_model, numbers, tmp_path):
    save_model(build(deep_model), tmp_path / "model", {})
    loaded = load_model(str(tmp_path / "model"), device="cpu", precision="fp32")
    found = {side: encode_records(loaded, side, TEXTS[:1]) for side in ("query", "passage")}
    names = {number: name for name, number in numbers.items()}
    read = {side: [names[number] for number in of.tokens.tolist()] for side, of in found.items()}
    assert read["query"] == ["[CLS]", "honey", "hive", ",", "ocean", ".", "[SEP]", *["[MASK]"] * 5]
    assert read["passage"] == ["[CLS]", "moon", "hive", "ocean", "[SEP]"], "no punctuation"


def test_no_token_reads_what_a_query_is_filled_up_with(deep_model):
    """The query's own tokens are those of the query that is not filled up; attended ones move them."""
    plain = encode(build(deep_model, query_augmentation="no"), deep_model, "query")
    filled = encode(build(deep_model), deep_model, "query").vectors
    attended = encode(build(deep_model, query_augmentation="attended"), deep_model, "query").vectors
    for row, mask in enumerate(plain.mask):
        own = plain.vectors[row][mask]
        torch.testing.assert_close(filled[row, : len(own)], own, atol=1e-5, rtol=0)
        assert (attended[row, : len(own)] - own).abs().max() > 1e-3


def test_it_reads_with_transformers_attention_mask(deep_model, numbers):
    """The vectors are those of transformers' model, given [MASK] behind the text, masked."""
    from transformers import AutoModel

    method = build(deep_model)
    found = encode(method, deep_model, "query").vectors
    asked = batch(method, deep_model, "query")
    ids = torch.full((3, 12), numbers["[MASK]"])
    mask = torch.zeros(3, 12, dtype=torch.int64)
    for row, real in enumerate(asked.mask):
        ids[row, : real.sum()], mask[row, : real.sum()] = asked.input_ids[row][real], 1
    with torch.no_grad():
        states = AutoModel.from_pretrained(deep_model)(input_ids=ids, attention_mask=mask).last_hidden_state
        expected = torch.nn.functional.normalize(states @ method.encoder.projection.weight.T, dim=-1)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_inference_gives_training_vectors(deep_model, tmp_path, precision):
    method = build(deep_model)
    save_model(method, tmp_path / "model", {})
    loaded = load_model(tmp_path / "model", device="cpu", precision=precision).encoder
    for side in ("query", "passage"):
        found, expected = encode(loaded, deep_model, side), encode(method, deep_model, side)
        assert torch.equal(found.mask, expected.mask)
        if precision == "fp32":
            torch.testing.assert_close(found.vectors, expected.vectors, atol=1e-5, rtol=0)
        assert (found.vectors * expected.vectors).sum(dim=-1)[expected.mask].min() > 0.99
    assert {engine.name for engine in loaded.encoder.ran} == {"packed"}


def worlds(seed, queries=5, passages=9, dim=8):
    """Queries and passages of random lengths; one token of each at least takes part."""
    random = torch.Generator().manual_seed(seed)
    found = []
    for texts, width in ((queries, 6), (passages, 11)):
        mask = torch.rand(texts, width, generator=random) < 0.6
        mask[:, 0] = True
        found.append(Encoded(torch.randn(texts, width, dim, generator=random), mask))
    return found


@pytest.mark.parametrize("mean", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_a_batch_is_scored_as_a_run(seed, mean, monkeypatch):
    query, passage = worlds(seed)
    whole = maxsim(query, passage, mean=mean)
    ragged = []
    for side in (query, passage):
        lengths = side.mask.sum(dim=1).numpy()
        ragged.append(Vectors(side.vectors[side.mask].numpy(), np.concatenate([[0], lengths.cumsum()])))
    rows = np.tile(np.arange(9, dtype=np.int32), 5)
    expected = maxsim_pairs(ragged[1], ragged[0], np.arange(6) * 9, rows, mean=mean)
    torch.testing.assert_close(whole, torch.from_numpy(expected).view(5, 9), atol=1e-5, rtol=1e-5)
    monkeypatch.setattr("dretrieve.models.maxsim.BLOCK_PRODUCTS", 1)
    torch.testing.assert_close(maxsim(query, passage, mean=mean), whole, atol=1e-6, rtol=1e-6)


def test_padding_and_negative_products(monkeypatch):
    """A query all of whose products are below 0 has a score below 0, whatever stands in the padding."""
    query = Encoded(torch.tensor([[[1.0, 0.0], [9.0, 9.0]]]), torch.tensor([[True, False]]))
    passage = Encoded(torch.tensor([[[-1.0, 0.0], [5.0, 5.0]]]), torch.tensor([[True, False]]))
    assert maxsim(query, passage).item() == -1
    nothing = replace(passage, mask=torch.tensor([[False, False]]))
    assert maxsim(query, nothing).item() == -torch.inf


def test_what_is_kept_for_the_gradient_does_not_grow_with_the_tokens(monkeypatch):
    """Products are held a block at a time, forward and backward; between the two none is."""
    query, passage = worlds(5, queries=64, passages=64)
    sums, asked, kept = module._sums, [], {}

    def counted(tokens, owners, queries, values, mask):
        asked.append(len(tokens) * mask.numel())
        return sums(tokens, owners, queries, values, mask)

    def keep(tensor):
        room = tensor.untyped_storage()
        kept[room.data_ptr()] = room.nbytes()
        return tensor

    monkeypatch.setattr(module, "_sums", counted)
    monkeypatch.setattr(module, "BLOCK_PRODUCTS", 1 << 12)
    given = [of.vectors.requires_grad_() for of in (query, passage)]
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        scores = maxsim(query, passage)
    forward = list(asked)
    scores.sum().backward()
    assert sorted(asked) == sorted(2 * forward), "each block is computed again"
    assert max(asked) <= 1 << 12 < sum(forward) / 8
    assert sum(kept.values()) <= 2 * sum(of.nbytes for of in given), "what it was given alone"
    assert all(of.grad is not None for of in given)


def test_the_gradient_is_the_difference(check_gradient, monkeypatch):
    query, passage = worlds(4)
    weights = torch.randn(5, 9, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    monkeypatch.setattr("dretrieve.models.maxsim.BLOCK_PRODUCTS", 40)

    def total(query_vectors, passage_vectors):
        scores = maxsim(replace(query, vectors=query_vectors), replace(passage, vectors=passage_vectors))
        return (weights * scores.double()).sum()

    given = [of.vectors.clone().requires_grad_() for of in (query, passage)]
    check_gradient(total, given, 1e-2, atol=1e-4, rtol=1e-3)


def test_a_model_trained_further_keeps_what_it_is(deep_model, tmp_path):
    method = build(deep_model, query_augmentation="attended", skip_punctuation="no")
    save_model(method, tmp_path / "model", {})
    again = Colbert.build(ColbertConfig(), str(tmp_path / "model"))
    assert again.config == method.config
    save_model(again, tmp_path / "again", {})
    for side in ("query", "passage"):
        first, second = (read_card(tmp_path / name)[0].fingerprint(side) for name in ("model", "again"))
        assert first == second
    assert torch.equal(again.encoder.projection.weight, method.encoder.projection.weight)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"query_marker": "[Q]"}, r"--query-marker \[Q\].*no such token"),
        ({"passage_marker": "moonhoney"}, "no such token"),
    ],
)
def test_a_marker_that_the_vocabulary_lacks_is_refused(deep_model, options, said):
    with pytest.raises(UsageError, match=said):
        build(deep_model, **options)


def foreign(kind, deep_model, folder, **settings):
    """Write the tiny model as PyLate's or Stanford's code would, with a projection of its own."""
    from safetensors.torch import save_file
    from transformers import AutoModel, AutoTokenizer

    markers = ["[Q] ", "[D] "] if kind == "pylate" else ["[unused0]", "[unused1]"]
    tokenizer = AutoTokenizer.from_pretrained(deep_model)
    tokenizer.add_tokens(markers)
    model = AutoModel.from_pretrained(deep_model)
    torch.manual_seed(5)
    model.resize_token_embeddings(len(tokenizer))
    weight = torch.randn(16, model.config.hidden_size)
    tokenizer.save_pretrained(folder)
    if kind == "stanford":
        model.config.architectures = ["HF_ColBERT"]
        tensors = {f"bert.{name}": of.contiguous() for name, of in model.state_dict().items()}
        save_file(
            tensors | {"linear.weight": weight}, folder / "model.safetensors", metadata={"format": "pt"}
        )
        model.config.save_pretrained(folder)
        config = json.loads((folder / "config.json").read_text()) | {"architectures": ["HF_ColBERT"]}
        (folder / "config.json").write_text(json.dumps(config))
        metadata = {"query_maxlen": 12, "doc_maxlen": 20, "dim": 16, "mask_punctuation": True}
        (folder / "artifact.metadata").write_text(json.dumps(metadata | settings))
        return folder
    model.save_pretrained(folder)
    kinds = ["sentence_transformers.models.Transformer", "pylate.models.Dense.Dense"]
    modules = [
        {"idx": row, "name": str(row), "path": path, "type": kinds[row]}
        for row, path in enumerate(["", "1_Dense"])
    ]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Dense").mkdir()
    dense = {"in_features": weight.shape[1], "out_features": 16, "bias": False}
    dense["activation_function"] = "torch.nn.modules.linear.Identity"
    (folder / "1_Dense" / "config.json").write_text(json.dumps(dense | settings.pop("dense", {})))
    save_file({"linear.weight": weight}, folder / "1_Dense" / "model.safetensors")
    (folder / "sentence_bert_config.json").write_text(
        json.dumps({"max_seq_length": 20, "do_lower_case": False})
    )
    known = {"model_type": "ColBERT", "query_prefix": "[Q] ", "document_prefix": "[D] ", "query_length": 12}
    known |= {"document_length": 20, "do_query_expansion": True, "attend_to_expansion_tokens": False}
    known["skiplist_words"] = list(string.punctuation)
    (folder / "config_sentence_transformers.json").write_text(json.dumps(known | settings))
    return folder


@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("stanford", {}),
        ("stanford", {"attend_to_mask_tokens": True, "mask_punctuation": False}),
        ("pylate", {}),
        ("pylate", {"do_query_expansion": False, "skiplist_words": []}),
        ("pylate", {"attend_to_expansion_tokens": True}),
        ("pylate", {"do_query_expansion": None, "skiplist_words": None}),
        ("pylate", {"prompts": {"query": "who makes ", "document": "bridge: "}}),
    ],
)
def test_a_folder_of_another_tool_gives_sentence_transformers_vectors(deep_model, tmp_path, kind, settings):
    from sentence_transformers import MultiVectorEncoder

    folder = foreign(kind, deep_model, tmp_path / kind, **settings)
    loaded = load_model(str(folder)).encoder
    assert isinstance(loaded, Colbert)
    theirs = MultiVectorEncoder(str(folder), device="cpu", local_files_only=True)
    texts = [record.text for record in TEXTS]
    asked = {"query": theirs.encode_query(texts), "passage": theirs.encode_document(texts)}
    for side, expected in asked.items():
        found = encode(loaded, folder, side)
        for row, vectors in enumerate(expected):
            own = found.vectors[row][found.mask[row]]
            torch.testing.assert_close(own, torch.as_tensor(vectors), atol=1e-5, rtol=0)


def test_a_folder_of_another_tool_is_trained_further_and_saved_as_ours(deep_model, tmp_path):
    folder = foreign("stanford", deep_model, tmp_path / "stanford")
    method = Colbert.build(ColbertConfig(), str(folder)).eval()
    save_model(method, tmp_path / "ours", {})
    ours = load_model(str(tmp_path / "ours")).encoder
    inner, _ = read_card(tmp_path / "ours" / "backbone")
    assert inner.method == "shared", "a plain encoder: nothing in it says ColBERT"
    for side in ("query", "passage"):
        first, second = encode(load_model(str(folder)).encoder, folder, side), encode(ours, folder, side)
        assert torch.equal(first.mask, second.mask)
        torch.testing.assert_close(first.vectors, second.vectors, atol=1e-6, rtol=0)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"dense": {"bias": True}}, "one Dense without bias"),
        ({"dense": {"use_residual": True}}, "one Dense without bias"),
        ({"skiplist_words": ["the"]}, "words of its own"),
        ({"query_prefix": "[ask] "}, "no such token"),
    ],
)
def test_what_another_tool_does_otherwise_is_refused(deep_model, tmp_path, settings, said):
    with pytest.raises(DataError, match=said):
        read_card(foreign("pylate", deep_model, tmp_path / "pylate", **settings))


@pytest.mark.parametrize("kind", ["stanford", "pylate"])
def test_a_model_of_the_hub_is_what_its_folder_is(deep_model, tmp_path, monkeypatch, kind):
    """All that is read is fetched: a file left on the hub would be a default here."""
    import huggingface_hub
    from huggingface_hub.utils import filter_repo_objects

    folder = foreign(kind, deep_model, tmp_path / kind)

    def snapshot_download(name, *, revision, allow_patterns):
        names = [str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()]
        for fetched in filter_repo_objects(names, allow_patterns=allow_patterns):
            place = tmp_path / "cache" / fetched
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(folder / fetched, place)
        return str(tmp_path / "cache")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", snapshot_download)
    assert read_card(find_model("owner/name")) == read_card(folder)


@pytest.mark.parametrize(
    ("kind", "file", "key", "length", "unsaid"),
    [
        (
            *("stanford", "artifact.metadata", "doc_maxlen", 220),
            "query_marker, passage_marker, passage_max_len, query_augmentation",
        ),
        ("pylate", "config_sentence_transformers.json", "document_length", 180, "passage_max_len"),
    ],
)
def test_what_another_tools_folder_does_not_say_is_said(
    deep_model, tmp_path, kind, file, key, length, unsaid
):
    folder = foreign(kind, deep_model, tmp_path / kind)
    known = json.loads((folder / file).read_text())
    del known[key]
    (folder / file).write_text(json.dumps(known))
    card, note = read_card(folder)
    assert card.passage.max_tokens == length
    assert note.endswith(f"; not said there, the tool's own default: {unsaid}")


@pytest.mark.parametrize(
    ("kind", "file"), [("stanford", "artifact.metadata"), ("pylate", "config_sentence_transformers.json")]
)
def test_null_says_nothing(deep_model, tmp_path, kind, file):
    folder = foreign(kind, deep_model, tmp_path / kind)
    known = json.loads((folder / file).read_text())
    model_type = {"model_type": known.pop("model_type", None)}
    (folder / file).write_text(json.dumps(model_type))
    expected = read_card(folder)
    (folder / file).write_text(json.dumps(dict.fromkeys(known) | model_type))
    assert read_card(folder) == expected


def test_an_older_pylate_names_no_model_type(deep_model, tmp_path):
    expected = read_card(foreign("pylate", deep_model, tmp_path / "new"))
    folder = foreign("pylate", deep_model, tmp_path / "old")
    known = json.loads((folder / "config_sentence_transformers.json").read_text())
    del known["model_type"]
    (folder / "config_sentence_transformers.json").write_text(json.dumps(known))
    assert read_card(folder) == expected


def test_prompts_of_pylates_folder_are_told(deep_model, tmp_path):
    settings = {"prompts": {"query": "ask: ", "other": "say: "}, "default_prompt_name": "query"}
    card, note = read_card(foreign("pylate", deep_model, tmp_path / "pylate", **settings))
    assert (card.query.template, card.passage.template) == ("[Q] ask: {text}", "[D] ask: {title} {text}")
    assert note.endswith('query prompt "ask: ", passage prompt "ask: ", prompts not used: other')


def test_stanfords_weights_may_stand_in_several_files(deep_model, tmp_path):
    from safetensors.torch import load_file, save_file

    folder = foreign("stanford", deep_model, tmp_path / "stanford")
    whole = encode(load_model(str(folder)).encoder, folder, "query").vectors
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    places = {name: f"model-0000{1 + (name == 'linear.weight')}-of-00002.safetensors" for name in tensors}
    for file in set(places.values()):
        part = {name: of for name, of in tensors.items() if places[name] == file}
        save_file(part, folder / file, metadata={"format": "pt"})
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))
    assert torch.equal(encode(load_model(str(folder)).encoder, folder, "query").vectors, whole)


def test_a_projection_as_a_pickle_is_told_how_to_become_safetensors(deep_model, tmp_path):
    folder = foreign("pylate", deep_model, tmp_path / "pylate")
    (folder / "1_Dense" / "model.safetensors").rename(folder / "1_Dense" / "pytorch_model.bin")
    with pytest.raises(PreconditionError, match="save the model again with sentence-transformers"):
        read_card(folder)


def test_a_marker_that_would_stand_inside_a_text_is_refused(deep_model, tmp_path):
    """PyLate puts it behind the first token, which is the text's own where a tokenizer has no [CLS]."""
    folder = foreign("pylate", deep_model, tmp_path / "pylate", do_query_expansion=False)
    tokenizer = json.loads((folder / "tokenizer.json").read_text()) | {"post_processor": None}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(DataError, match="behind the first token of each query"):
        read_card(folder)


def test_a_folder_without_stanfords_metadata_has_defaults_and_says_so(deep_model, tmp_path):
    folder = foreign("stanford", deep_model, tmp_path / "stanford")
    (folder / "artifact.metadata").unlink()
    card, note = read_card(folder)
    assert (card.query.max_tokens, card.passage.max_tokens, card.vectors.dim) == (32, 220, 128)
    assert note.endswith(
        "default: query_marker, passage_marker, query_max_len, passage_max_len, query_augmentation, "
        "skip_punctuation, dim"
    )


def test_what_pylates_folder_hands_on_and_is_not_done_here_is_refused(deep_model, tmp_path):
    folder = foreign("pylate", deep_model, tmp_path / "pylate")
    (folder / "sentence_bert_config.json").write_text('{"model_args": {"num_hidden_layers": 1}}')
    with pytest.raises(DataError, match=r"model_args is .*num_hidden_layers.*delete it there"):
        read_card(folder)


@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("pylate", {}),
        ("pylate", {"query_augmentation": "no", "skip_punctuation": "no", "passage_marker": "none"}),
        ("stanford", {}),
        ("stanford", {"query_augmentation": "attended", "skip_punctuation": "no"}),
    ],
)
def test_a_model_written_for_another_tool_gives_the_same_vectors(deep_model, tmp_path, form, options):
    """Read back by us, and by sentence-transformers, which reads both tools' folders."""
    from sentence_transformers import MultiVectorEncoder

    save_model(build(deep_model, **options), tmp_path / "model", {})
    config = ConvertConfig(source=tmp_path / "model", to=form, output=tmp_path / form)
    result = convert(config)
    assert (result.state, result.card.method) == ("converted", "colbert")
    ours, back = (load_model(str(tmp_path / name)).encoder for name in ("model", form))
    theirs = MultiVectorEncoder(str(tmp_path / form), device="cpu", local_files_only=True)
    texts = [record.text for record in TEXTS]
    for side, asked in (("query", theirs.encode_query(texts)), ("passage", theirs.encode_document(texts))):
        written, read = (
            encode(ours, tmp_path / "model" / "backbone", side),
            encode(back, tmp_path / form, side),
        )
        assert torch.equal(written.mask, read.mask)
        torch.testing.assert_close(read.vectors, written.vectors, atol=1e-5, rtol=0)
        for row, vectors in enumerate(asked):
            own = written.vectors[row][written.mask[row]]
            torch.testing.assert_close(own, torch.as_tensor(vectors), atol=1e-5, rtol=0)
    assert convert(config).state == "up to date"


@pytest.mark.parametrize(
    ("form", "options", "said"),
    [
        ("pylate", {"normalize": "no"}, "cannot say vectors of other lengths than 1"),
        ("pylate", {"query_template": "ask {text}"}, "cannot say the query template 'honeyask {text}'"),
        ("stanford", {"query_augmentation": "no"}, "cannot say queries that are not filled up"),
        ("stanford", {"query_marker": "none"}, "cannot say a side without a marker"),
    ],
)
def test_what_another_tools_folder_cannot_say_is_refused(deep_model, tmp_path, form, options, said):
    save_model(build(deep_model, **options), tmp_path / "model", {})
    with pytest.raises(UsageError, match=said):
        convert(ConvertConfig(source=tmp_path / "model", to=form, output=tmp_path / form))


def test_only_a_colbert_model_is_written_so(deep_model, tmp_path):
    config = ConvertConfig(source=deep_model, to="pylate", output=tmp_path / "out")
    with pytest.raises(UsageError, match="is a shared model, not a colbert one"):
        convert(config)
    with pytest.raises(UsageError, match="--to writes a model as it is"):
        convert(replace(config, layers="0"))
