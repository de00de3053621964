"""explain: shares against the method's own routes text by text, what is refused, what is written."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from dretrieve.errors import Interrupted, PreconditionError, UsageError, VerificationError
from dretrieve.jobs.explain import run
from dretrieve.models.base import TokenBatch
from dretrieve.models.loading import load_model
from dretrieve.models.model_folder import save_model
from dretrieve.models.registry import find
from dretrieve.models.taser import Taser
from dretrieve.models.taser_config import TaserConfig
from dretrieve.text.collection import Collection
from tests.common import Told


@pytest.fixture
def model_of(tiny_model, tmp_path):
    """``model_of(router, num_experts)``: a saved model whose gates decide this way and that.

    Weights as small as those of a fresh model would give every [CLS] nearly the same state.
    """

    def model(router="tok", num_experts=3):
        config = TaserConfig(router=router, num_experts=num_experts, every=1, pooling="mean")
        with torch.random.fork_rng():
            torch.manual_seed(5)
            method = Taser.build(config, str(tiny_model))
            for name, weights in method.encoder.backbone.named_parameters():
                if "attention" in name and weights.dim() == 2:
                    weights.data.mul_(20)
            for gate in method.router.gates if method.router is not None else ():
                torch.nn.init.normal_(gate.weight, std=1.0)
        save_model(method, tmp_path / router)
        return str(tmp_path / router)

    return model


@torch.no_grad()
def counted_alone(model_name, side, records):
    """Tokens and texts per layer and expert, each text alone through the unpacked method."""
    model = load_model(model_name)
    method = Taser.load(Path(model_name), model.card).eval()
    tokens, texts = np.zeros((2, 3), dtype=int), np.zeros((2, 3), dtype=int)
    for record in records:
        ids = model.tokenizers[side].tokenize([record]).ids
        batch = TokenBatch(torch.from_numpy(ids.astype(np.int64))[None], torch.ones(1, len(ids), dtype=bool))
        experts = method.routes(batch, side).experts[:, 0].numpy()
        for layer in range(2):
            found = np.bincount(experts[layer], minlength=3)
            tokens[layer] += found
            texts[layer][found.argmax()] += 1
    return tokens.tolist(), texts.tolist()


@pytest.mark.parametrize("router", ["tok", "seq"])
def test_counts_are_those_of_every_text_alone(config, model_of, tiny_collection, router):
    config = replace(config, model=model_of(router))
    found = run(config).data["explanations"]["routing"]
    collection = Collection.open(f"{tiny_collection}:test")
    for side, texts in (("query", collection.queries()), ("passage", collection.corpus())):
        tokens, of_texts = counted_alone(config.model, side, texts.records(0, len(texts)))
        assert found["tokens"][side]["counts"] == tokens
        assert found["texts"][side]["counts"] == of_texts
    used = [share for layer in found["tokens"]["passage"]["shares"] for share in layer if share > 0]
    assert len(used) > 2, "some layer uses several experts"


def test_det_has_an_expert_for_each_side(config, model_of):
    found = run(replace(config, model=model_of("det", 2))).data["explanations"]["routing"]
    assert found["texts"]["query"]["counts"] == [[6, 0]] * 2
    assert found["texts"]["passage"]["counts"] == [[0, 30]] * 2
    assert found["overlap_of_sides"] == {"tokens": [0.0, 0.0], "texts": [0.0, 0.0]}


def test_a_sample_is_drawn_by_the_seed_and_said(config):
    small = replace(config, limit=5)
    one, again = run(small), run(small)
    assert one.data == again.data
    assert one.data["sample"]["passages"]["texts"] == 5
    assert one.data["sample"]["passages"]["of"] == 30
    assert any("5 of 6 queries and 5 of 30 passages, drawn with seed 42" in line for line in one.page.lead)
    other = run(replace(small, seed=43))
    assert other.data["explanations"] != one.data["explanations"]
    whole = run(replace(config, limit=0))
    assert "drawn" not in " ".join(whole.page.lead)
    assert whole.data["explanations"] == run(config).data["explanations"]


FILES = ["explain.html", "explain.json", "routing-tokens.svg", "routing-texts.svg"]


def test_page_data_and_figures_are_written_and_replaced(config, tmp_path):
    config = replace(config, output=tmp_path / "out")
    result = run(config)
    assert [path.name for path in result.written] == FILES
    before = [path.read_bytes() for path in result.written]
    assert [path.read_bytes() for path in run(replace(config, force=True)).written] == before
    data = json.loads(before[1])
    assert data == json.loads(json.dumps(result.data))
    assert before[0].count(b"<svg ") == 2
    result.written[1].write_text("mine")
    with pytest.raises(VerificationError, match="explain.json"):
        run(config)
    run(replace(config, force=True))
    assert result.written[1].read_bytes() == before[1]


@pytest.mark.parametrize("name", FILES[:2])
def test_what_others_wrote_is_not_replaced(config, tmp_path, name):
    config = replace(config, output=tmp_path)
    (tmp_path / name).write_text("mine")
    with pytest.raises(PreconditionError, match=f"{name} .*not written by"):
        run(config)
    assert (tmp_path / name).read_text() == "mine"


def test_what_stands_is_up_to_date_or_of_other_options(config, tmp_path):
    config = replace(config, output=tmp_path / "out")
    run(config)
    again = run(config)
    assert (again.state, again.counts) == ("up to date", {"queries": 6, "passages": 30})
    assert run(replace(config, dry_run=True)).state == "up to date"
    other = replace(config, limit=3)
    with pytest.raises(PreconditionError, match="of other options .*limit 1000 -> 3.*--force"):
        run(other)
    run(replace(other, force=True))
    assert run(replace(other, dry_run=True)).state == "up to date"


def test_a_stopped_call_says_so_and_begins_again(config, tmp_path):
    config = replace(config, output=tmp_path / "out")

    with pytest.raises(Interrupted, match="SIGTERM"):
        run(config, Told(1))
    assert run(replace(config, dry_run=True)).state == "interrupted"
    run(config)
    assert run(replace(config, dry_run=True)).state == "up to date"


def test_a_dry_run_says_what_would_be_read(config, tmp_path):
    result = run(replace(config, output=tmp_path / "page", dry_run=True))
    assert result.render().startswith("to do: would read 6 of 6 queries and 30 of 30 passages with ")
    assert result.as_json()["outputs"] == [str(tmp_path / "page")]
    assert not (tmp_path / "page").exists()
    assert run(replace(config, dry_run=True)).render().endswith(", and write no file")


def test_several_collections_are_read_beside_each_other(config, tiny_collection, tmp_path):
    other = tmp_path / "other" / "tiny"
    shutil.copytree(tiny_collection, other)
    both = replace(config, corpus=(*config.corpus, str(other)), queries=(*config.queries, f"{other}:dev"))
    found = run(both)
    assert "6 of 6 queries and 30 of 30 passages; " in found.page.lead[1]
    assert set(found.data["sample"]) == {"seed", "limit", str(tiny_collection), str(other)}
    texts = found.data["explanations"]["routing"]["texts"]
    assert [sum(layer) for layer in texts["passage"]["counts"]] == [60, 60]
    assert [sum(layer) for layer in texts["query"]["counts"]] == [12, 12]
    with pytest.raises(UsageError, match="--queries stands 1 times and --corpus 2 times"):
        run(replace(both, queries=config.queries))
    with pytest.raises(UsageError, match="stands twice"):
        run(replace(config, corpus=config.corpus * 2, queries=()))


def test_an_output_that_is_something_else_is_refused_before_anything_is_computed(config, tmp_path):
    (tmp_path / "file").write_text("x")
    refusals = {Path(config.model): "is an artefact of another command", tmp_path / "file": "is a file"}
    for output, words in refusals.items():
        with pytest.raises(PreconditionError, match=words):
            run(replace(config, output=output, dry_run=True))


def test_passages_have_no_splits(config, tiny_collection):
    with pytest.raises(UsageError, match=r"--corpus .*:test: passages have no splits, .*; write --corpus "):
        run(replace(config, corpus=(f"{tiny_collection}:test",)))


def test_passages_alone(config):
    found = run(replace(config, queries=())).data
    assert set(found["fingerprints"]) == {"passage"}
    assert "overlap_of_sides" not in found["explanations"]["routing"]


@pytest.mark.parametrize("method", ["shared", "dpr"])
def test_methods_without_anything_to_explain_name_those_that_have(config, tiny_model, tmp_path, method):
    built = find(method).method().build(find(method).config()(), str(tiny_model))
    save_model(built, tmp_path / "plain")
    message = f"{method} has nothing to explain; methods that have: taser"
    with pytest.raises(UsageError, match=message):
        run(replace(config, model=str(tmp_path / "plain")))


def test_what_cannot_be_explained(config, model_of, tiny_model, tiny_collection):
    with pytest.raises(UsageError, match="shared has nothing to explain"):
        run(replace(config, model=str(tiny_model)))
    with pytest.raises(UsageError, match=r"this taser model leaves nothing to choose \(one expert\)"):
        run(replace(config, model=model_of("none", 1)))
    with pytest.raises(UsageError, match="--limit -1: expected a whole number from 0"):
        run(replace(config, limit=-1))
    for option in ({"query": ("q-bees-2",)}, {"tsne": True}):
        with pytest.raises(UsageError, match=f"--{next(iter(option))}.*: taser has no picture of texts"):
            run(replace(config, **option))
    with pytest.raises(PreconditionError, match="model 'nobody' does not exist"):
        run(replace(config, model="nobody"))
    with pytest.raises(PreconditionError, match="nowhere"):
        run(replace(config, corpus=(str(tiny_collection / "nowhere"),)))
    with pytest.raises(UsageError, match="none"):
        run(replace(config, queries=(f"{tiny_collection}:none",)))
