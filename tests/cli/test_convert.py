from __future__ import annotations

import json

import torch


def test_convert_as_typed(cli_here, tiny_model, tmp_path):
    from safetensors.torch import load_file

    weights = load_file(tiny_model / "model.safetensors")
    tensors = {
        f"{side}.{name}": part for side in ("question_model", "ctx_model") for name, part in weights.items()
    }
    torch.save({"model_dict": tensors, "encoder_params": None}, tmp_path / "dpr.cp")
    line = ["convert", tmp_path / "dpr.cp", "--from", "dpr", "-b", tiny_model, "-o", tmp_path / "model"]
    assert cli_here(*line, "--dry-run").out.startswith("to do: would convert ")
    found = json.loads(cli_here(*line, "--json").out)
    assert (found["state"], found["method"], found["method_config"]["pair"]) == ("converted", "dpr", "yes")
    assert (
        "[CLS] bees [SEP] hive [SEP]"
        in cli_here("tokens", "hive", "--title", "bees", "--model", tmp_path / "model").out
    )
    assert cli_here(*line).out.startswith("up to date: dpr")


def test_a_user_s_mistakes(cli_here, tiny_model, tmp_path):
    line = ["convert", tmp_path / "none.cp", "--backbone", tiny_model, "--output", tmp_path / "model"]
    assert "--from rocket is unknown; there are dpr (" in cli_here(*line, "--from", "rocket", code=2).err
    assert "none.cp does not exist" in cli_here(*line, "--from", "dpr", code=3).err
    (tmp_path / "none.cp").write_text("no checkpoint")
    assert "dretrieve: " in cli_here(*line, "--from", "dpr", code=4).err
    assert "a checkpoint's file needs --from FORM and --backbone MODEL" in cli_here(*line, code=2).err


def test_runs_are_converted_by_the_same_command(cli_here, tiny_model, tmp_path):
    (tmp_path / "r.trec").write_text("q1 Q0 d1 1 3.5 t\nq1 Q0 d2 2 2.5 t\n")
    help_text = cli_here("convert", "--help").out
    assert "run into another form" in help_text
    assert "--output-format" in help_text
    line = ["convert", tmp_path / "r.trec", "--output", tmp_path / "r.tsv"]
    assert cli_here(*line, "--output-format", "msmarco").out.startswith(
        f"{tmp_path}/r.tsv: converted; msmarco"
    )
    assert (tmp_path / "r.tsv").read_text() == "q1\td1\t1\nq1\td2\t2\n"
    assert "a run --output-format FORM" in cli_here(*line, code=2).err
    for words in (("--from", "dpr"), ("--layers", "0"), ("--pca", "x"), ("--to", "pylate")):
        both = cli_here(*line, "--output-format", "trec", *words, code=2).err
        assert "--from, --backbone, --layers, --pca and --to are for models" in both


def test_a_folder_that_names_no_pooling_gets_a_card(cli_here, tiny_model, tiny_collection, tmp_path):
    import numpy as np
    import torch
    from transformers import AutoModel, AutoTokenizer

    for name in ("config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"):
        (tmp_path / "bare").mkdir(exist_ok=True)
        (tmp_path / "bare" / name).write_bytes((tiny_model / name).read_bytes())
    encode = ["encode", "--corpus", tiny_collection, "--precision", "fp32", "--dtype", "float32", "--quiet"]
    cure = cli_here(*encode, "--model", tmp_path / "bare", "--output", tmp_path / "emb", code=3).err
    assert "dretrieve convert" in cure
    assert "--pooling cls|mean|last" in cure
    line = ["convert", tmp_path / "bare", "--output", tmp_path / "model", "--passage-template", "doc: {text}"]
    assert "say by --pooling how the tokens" in cli_here(*line, code=2).err
    line += ["--pooling", "mean", "--normalize", "yes", "--passage-max-len", "9"]
    assert cli_here(*line).out.startswith("converted: shared")
    cli_here(*encode, "--model", tmp_path / "model", "--output", tmp_path / "emb")
    ours = np.load(next((tmp_path / "emb").glob("*.vectors.npy")))[0]
    text = json.loads((tiny_collection / "corpus.jsonl").read_text().splitlines()[0])["text"]
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    tokens = tokenizer(f"doc: {text}", truncation=True, max_length=9, return_tensors="pt")
    with torch.no_grad():
        states = AutoModel.from_pretrained(tiny_model).eval()(**tokens).last_hidden_state[0]
    theirs = torch.nn.functional.normalize(states.mean(0), dim=0).numpy()
    np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert "up to date" in cli_here(*line).out
