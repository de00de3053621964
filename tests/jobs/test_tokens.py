from __future__ import annotations

import pytest

from dretrieve.errors import UsageError
from dretrieve.jobs import tokens as job


def test_everything_that_is_encoded_is_shown(tiny_model):
    result = job.run(job.TokensConfig(model=str(tiny_model), text="the moon, tide", title="Tides"))
    found = result.as_json()
    assert found["pieces"] == ["[CLS]", "tides", "the", "moon", ",", "tide", "[SEP]"]
    assert (found["tokens"], found["dropped"], found["template"]) == (7, [], "{title} {text}")
    text = result.render()
    for said in ("[CLS] tides the moon , tide [SEP]", "cls pooling", "7 of at most 64", "nothing cut off"):
        assert said in text


def test_queries_have_their_own_template_and_no_title(tiny_model):
    with pytest.raises(UsageError, match="--title is of passages, and --side query has none"):
        job.TokensConfig(model=str(tiny_model), text="moon", title="Tides", side="query")
    result = job.run(job.TokensConfig(model=str(tiny_model), text="moon", side="query"))
    assert result.as_json()["text"] == "moon"


def test_what_is_cut_off_is_shown(tiny_model):
    result = job.run(job.TokensConfig(model=str(tiny_model), text="moon " * 62 + "ebb sea"))
    assert result.as_json()["dropped"] == ["ebb", "sea"]
    assert "2 more were cut off" in result.render()
    assert "cut     ebb sea" in result.render()


def test_no_weights_and_no_torch_are_loaded(tiny_model, cli, tmp_path):
    code = (
        "import sys; from dretrieve.jobs import tokens as j; "
        f"j.run(j.TokensConfig(model={str(tiny_model)!r}, text='moon')); "
        "print([m for m in ('torch', 'transformers', 'faiss') if m in sys.modules])"
    )
    import subprocess
    import sys

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
