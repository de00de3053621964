"""Model folders of many families: weights, attention, padding and code, held against transformers itself."""

from __future__ import annotations

import ast
import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dretrieve.encoding.pipeline import encode_records
from dretrieve.errors import DataError, DretrieveError, PreconditionError
from dretrieve.models.backbone import load_module
from dretrieve.models.loading import load_model
from dretrieve.types import Record

TEXTS = [
    "moon tide ocean gravity",
    "bees",
    "the rook and the bishop and the knight and the queen",
    "lava ash",
]
SMALL = {"vocab_size": 150, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
SMALL |= {"intermediate_size": 64, "max_position_embeddings": 66, "pad_token_id": 0}
T5 = {"vocab_size": 150, "d_model": 32, "d_kv": 16, "d_ff": 64, "num_layers": 2, "num_heads": 2}
GPT2 = {"vocab_size": 150, "n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64}
BLOOM = {"vocab_size": 150, "hidden_size": 32, "n_layer": 2, "n_head": 2}
DISTIL = {"vocab_size": 150, "dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64}
BART = {"vocab_size": 150, "d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "pad_token_id": 0}
BART |= {"encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "max_position_embeddings": 64}
BART |= {"encoder_attention_heads": 2, "decoder_attention_heads": 2}
# The configuration, its numbers, the pooling, the attention that must run, whether padding would move states.
FAMILIES = [
    ("MPNetConfig", SMALL, "mean", "eager", False),
    ("ElectraConfig", SMALL | {"embedding_size": 16}, "cls", "sdpa", False),
    ("T5Config", T5, "mean", "sdpa", False),
    ("GPT2Config", GPT2, "lasttoken", "sdpa", False),
    ("BloomConfig", BLOOM, "lasttoken", "eager", False),
    ("DistilBertConfig", DISTIL, "max", "sdpa", False),
    ("FNetConfig", {k: v for k, v in SMALL.items() if k != "num_attention_heads"}, "mean", "eager", True),
    ("ConvBertConfig", SMALL | {"embedding_size": 32, "head_ratio": 1}, "mean", "eager", True),
]


def drawn(config, kind="AutoModel"):
    import transformers

    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = getattr(transformers, kind).from_config(config) if kind == "AutoModel" else kind(config)
        with torch.no_grad():
            for parameter in model.parameters():
                if parameter.dim() > 1:
                    parameter.normal_(0, 0.3)
    return model.eval()


@pytest.fixture
def family(tiny_model, tmp_path):
    """Return the maker of a sentence-transformers folder of a family, with the tokenizer of `tiny_model`."""

    def make(name, numbers, pooling="mean", side="right"):
        import transformers

        folder = tmp_path / name
        model = drawn(getattr(transformers, name)(**numbers))
        model.save_pretrained(folder)
        for file in ("tokenizer.json", "modules.json"):
            shutil.copy(tiny_model / file, folder)
        config = json.loads((tiny_model / "tokenizer_config.json").read_text())
        (folder / "tokenizer_config.json").write_text(json.dumps(config | {"padding_side": side}))
        (folder / "1_Pooling").mkdir()
        (folder / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode": pooling}))
        return folder, model

    return make


def vectors(folder, texts=TEXTS):
    records = [Record(str(row), "", text) for row, text in enumerate(texts)]
    return encode_records(load_model(str(folder)), "passage", records, "float32").values


@pytest.mark.parametrize(("name", "numbers", "pooling", "attention", "unpadded"), FAMILIES)
@pytest.mark.parametrize("side", ["right", "left"])
def test_a_text_has_the_vector_that_it_has_alone(family, name, numbers, pooling, attention, unpadded, side):
    folder, theirs = family(name, numbers, pooling, side)
    model = load_model(str(folder))
    assert model.engine == ("transformers", "fp32", attention)
    found = vectors(folder)
    for row, text in enumerate(TEXTS):
        ids = torch.tensor([model.tokenizers["passage"].tokenize([Record("a", "", text)]).ids.tolist()])
        with torch.no_grad():
            whole = theirs.encoder if name == "T5Config" else theirs
            states = whole(input_ids=ids).last_hidden_state[0]
        pooled = {
            "mean": states.mean(0),
            "cls": states[0],
            "lasttoken": states[-1],
            "max": states.max(0).values,
        }[pooling]
        np.testing.assert_allclose(found[row], pooled.numpy(), rtol=1e-3, atol=2e-4)
    assert model.encoder.encoder._unpadded == unpadded


def test_in_half_precision_the_angles_of_positions_stay_those_of_transformers(family):
    numbers = SMALL | {"num_key_value_heads": 2, "head_dim": 16, "max_position_embeddings": 1000}
    folder, theirs = family("Qwen3Config", numbers)
    encoder = load_model(str(folder), precision="bf16").encoder.encoder
    half = type(theirs).from_pretrained(folder, dtype=torch.bfloat16, use_safetensors=True)
    ids = torch.arange(900)[None] % 150
    with torch.no_grad():
        found, wanted = encoder._last(ids, ids >= 0), half(ids).last_hidden_state
    assert torch.equal(found, wanted)


def test_a_family_that_cannot_read_short_texts_is_refused(family):
    folder, _ = family("CanineConfig", SMALL | {"num_hash_buckets": 64})
    with pytest.raises(PreconditionError, match="a canine model cannot read a text of 3 tokens .* give"):
        load_model(str(folder))


def test_sentence_transformers_pools_the_decoder_of_bart_and_the_encoder_of_a_bare_folder(family):
    folder, theirs = family("BartConfig", BART)
    ids = torch.tensor([[2, 20, 21, 3]])
    with torch.no_grad():
        torch.testing.assert_close(load_module(folder)(ids)[0], theirs(ids).last_hidden_state)
        (folder / "modules.json").unlink()
        torch.testing.assert_close(load_module(folder)(ids)[0], theirs.encoder(ids).last_hidden_state)


def change(folder, edit):
    tensors = load_file(folder / "model.safetensors")
    save_file(edit(tensors), folder / "model.safetensors", metadata={"format": "pt"})


def without(word):
    return lambda tensors: {name: of for name, of in tensors.items() if word not in name}


@pytest.mark.parametrize(
    ("edit", "sentence"),
    [
        (without("layer.1."), r"lack 16 tensors of the mpnet encoder .* first is encoder\.layer\.1\."),
        (lambda t: {f"model.{name}": of for name, of in t.items()}, "lack .* tensors"),
        (
            lambda t: t | {"encoder.layer.2.output.dense.bias": torch.zeros(32)},
            "no place, the first is .*layer.2",
        ),
        (lambda t: t | {"linear.weight": torch.zeros(8, 32)}, "no place, the first is linear.weight"),
        (
            lambda t: t | {"embeddings.LayerNorm.bias": torch.zeros(31)},
            r"another shape .*embeddings\.LayerNorm\.bias: 31 in the file, 32 expected",
        ),
        (
            lambda t: t | {"embeddings.LayerNorm.bias": torch.ones(32, dtype=torch.int8)},
            r"1 tensor of whole numbers, the first is embeddings\.LayerNorm\.bias; quantised",
        ),
        (
            lambda t: t | {"embeddings.LayerNorm.bias": torch.full((32,), torch.nan)},
            r"NaN or infinity in 1 tensor, the first is embeddings\.LayerNorm\.bias",
        ),
    ],
)
def test_weights_that_are_not_those_of_the_model_are_named(family, edit, sentence):
    folder, _ = family("MPNetConfig", SMALL)
    change(folder, edit)
    with pytest.raises(DataError, match=sentence):
        load_module(folder)


def test_what_no_vector_depends_on_may_be_missing_or_left_over(family):
    import transformers

    folder, _ = family("MPNetConfig", SMALL)
    change(folder, without("pooler"))
    expected = vectors(folder)
    change(
        folder,
        lambda t: t | {"pooler.dense.bias": torch.zeros(32), "lm_head.dense.weight": torch.zeros(32, 32)},
    )
    assert np.array_equal(vectors(folder), expected)
    bert = transformers.BertConfig(**SMALL)
    drawn(bert, transformers.BertForPreTraining).save_pretrained(folder.parent / "pretraining")
    load_module(folder.parent / "pretraining")  # left over: cls.predictions, cls.seq_relationship, the pooler
    drawn(transformers.GPT2Config(**GPT2), transformers.GPT2LMHeadModel).save_pretrained(folder.parent / "lm")
    load_module(folder.parent / "lm")


@pytest.mark.filterwarnings("ignore::FutureWarning")  # of peft, which asks transformers by older names
def test_adapters_are_merged_into_the_base_that_they_name(family):
    from peft import LoraConfig, get_peft_model

    folder, _ = family("ElectraConfig", SMALL | {"embedding_size": 16})
    base = folder.parent / "base"
    shutil.copytree(folder, base)
    model = get_peft_model(load_module(base), LoraConfig(r=2, target_modules=["query"]))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.5)
    model.peft_config["default"].base_model_name_or_path = str(base)
    for name in ("config.json", "model.safetensors"):
        (folder / name).unlink()
    model.save_pretrained(folder)
    adapters = json.loads((folder / "adapter_config.json").read_text())
    (folder / "adapter_config.json").write_text(json.dumps(adapters | {"of_a_newer_peft": False}))
    ids = torch.tensor([[2, 20, 21, 3]])
    with torch.no_grad():
        expected = model.eval()(input_ids=ids).last_hidden_state.mean(1)[0]
    text = " ".join(load_model(str(base)).tokenizers["passage"].pieces([20, 21]))
    np.testing.assert_allclose(vectors(folder, [text])[0], expected.numpy(), rtol=1e-3, atol=1e-4)
    assert all(of.requires_grad for of in load_module(folder).parameters()), "a training moves all of it"
    tensors = load_file(folder / "adapter_model.safetensors")
    pooler = {"base_model.model.pooler.dense.bias": torch.zeros(32)}  # of biases trained everywhere
    save_file(tensors | pooler, folder / "adapter_model.safetensors")
    load_module(folder)
    tensors.popitem()
    save_file(tensors, folder / "adapter_model.safetensors")
    with pytest.raises(DataError, match="lacks 1 tensor for its base"):
        load_module(folder)
    (folder / "adapter_config.json").write_text(json.dumps(adapters | {"of_a_newer_peft": True}))
    with pytest.raises(DataError, match="sets 'of_a_newer_peft', which peft .* does not know; install"):
        load_module(folder)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_adapters_trained_in_a_model_that_generates_are_those_of_its_encoder(tmp_path):
    import transformers
    from peft import LoraConfig, get_peft_model

    numbers = SMALL | {"num_key_value_heads": 2, "head_dim": 16}
    whole = drawn(transformers.Qwen3Config(**numbers), transformers.Qwen3ForCausalLM)
    whole.save_pretrained(tmp_path / "base")
    model = get_peft_model(whole, LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM")).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(0, 0.5)
    model.peft_config["default"].base_model_name_or_path = str(tmp_path / "base")
    model.save_pretrained(tmp_path / "adapters")
    ids = torch.tensor([[2, 20, 21, 3]])
    with torch.no_grad():
        wanted = model(input_ids=ids, output_hidden_states=True).hidden_states[-1]
        found = load_module(tmp_path / "adapters")(ids).last_hidden_state
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("kind", ["PromptTuning", "PromptEncoder", "PrefixTuning"])
def test_learnt_prompts_are_refused(tmp_path, kind):
    import peft

    config = getattr(peft, f"{kind}Config")(num_virtual_tokens=4, task_type="FEATURE_EXTRACTION")
    config.save_pretrained(tmp_path)
    said = f"of the type {config.peft_type.value}, which no weights can take in; only"
    with pytest.raises(DataError, match=said):
        load_module(tmp_path)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_adapters_that_cannot_be_merged_are_refused(family):
    from peft import PolyConfig, get_peft_model

    base, _ = family("MPNetConfig", SMALL)
    model = get_peft_model(load_module(base), PolyConfig(r=2, target_modules=["q"]))
    model.peft_config["default"].base_model_name_or_path = str(base)
    model.save_pretrained(base.parent / "poly")
    with pytest.raises(DataError, match="of the type POLY, which no weights can take in; only"):
        load_module(base.parent / "poly")


def test_a_program_of_the_folder_is_never_run_nor_asked_for(family, monkeypatch):
    folder, _ = family("MPNetConfig", SMALL)
    config = json.loads((folder / "config.json").read_text())
    ran = folder / "ran"
    (folder / "own.py").write_text(f"open({str(ran)!r}, 'w')\n")
    monkeypatch.setattr("builtins.input", lambda *words: pytest.fail("asked"))
    for kind in ("mpnet", "own_type"):
        programs = {"AutoConfig": "own.Config", "AutoModel": "own.Model"}
        (folder / "config.json").write_text(json.dumps(config | {"model_type": kind, "auto_map": programs}))
        with pytest.raises(PreconditionError, match=r"the program own\.Model, which is never run"):
            load_module(folder)
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "own_type"}))
    with pytest.raises(PreconditionError, match="cannot load the model"):
        load_module(folder)
    assert not ran.exists()


def test_every_from_pretrained_takes_safetensors_and_no_code(root):
    wanted = {"trust_remote_code": False, "use_safetensors": True}
    calls = 0
    for path in sorted((root / "dretrieve").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "from_pretrained":
                given = {word.arg: getattr(word.value, "value", None) for word in node.keywords}
                calls += 1
                assert wanted.items() <= given.items(), f"{path}, line {node.lineno}"
    assert calls >= 3


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_git_lfs_pointer_is_told_as_one(family, name):
    folder, _ = family("MPNetConfig", SMALL)
    (folder / name).write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n")
    with pytest.raises(DretrieveError, match="is a git-lfs pointer"):
        load_model(str(folder))


def test_a_padding_token_that_is_no_number_of_a_token(family):
    numbers = SMALL | {"num_key_value_heads": 2, "pad_token_id": None}
    folder, _ = family("LlamaConfig", numbers)
    wanted = vectors(folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"pad_token_id": -1}))  # Llama's first ones
    np.testing.assert_array_equal(vectors(folder), wanted)


def test_tokens_beyond_the_embeddings_are_told(family):
    folder, _ = family("MPNetConfig", SMALL | {"vocab_size": 149})
    with pytest.raises(DataError, match=r"token 149 \(.*\), but the model has embeddings for 149 tokens"):
        load_model(str(folder))


@pytest.mark.parametrize(
    ("length", "sentence"),
    [
        (1, "no text is left"),
        (2, "no text is left"),
        (-1, "longest input"),
        (65, "64 positions .max_position_embeddings 66, 2 of which"),
    ],
)
def test_lengths_without_room(family, length, sentence):
    folder, _ = family("MPNetConfig", SMALL)
    (folder / "sentence_roberta_config.json").write_text(json.dumps({"max_seq_length": length}))
    with pytest.raises(DretrieveError, match=sentence):
        load_model(str(folder))
