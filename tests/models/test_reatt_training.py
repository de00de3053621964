"""ReAtt through the pipeline: trained, saved, gone on with, encoded by its head, searched, refused."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import BartConfig, BartForConditionalGeneration, T5ForConditionalGeneration

from dretrieve.errors import DataError, Interrupted, PreconditionError, UsageError
from dretrieve.jobs.configs.encode import EncodeConfig
from dretrieve.jobs.configs.search import SearchConfig
from dretrieve.jobs.configs.train import TrainConfig
from dretrieve.jobs.encode import run as encode
from dretrieve.jobs.search import run as search
from dretrieve.jobs.train import run as train
from dretrieve.models.loading import load_model
from dretrieve.models.reatt import Reatt
from dretrieve.models.reatt_config import ReattConfig
from dretrieve.runs.read import read_run
from dretrieve.store.card import ModelCard
from dretrieve.store.embeddings import Embeddings
from dretrieve.training.options import TrainOptions
from tests.common import Told

FAST = {
    "max_steps": 3, "per_device_train_batch_size": 3, "learning_rate": 1e-3, "logging_steps": 1,
    "device": "cpu", "precision": "fp32",
}  # fmt: skip


@pytest.fixture(scope="module")
def world(kept_collection, tmp_path_factory):
    """The tiny collection with answers, and a run of four passages for each question beside it."""
    folder = tmp_path_factory.mktemp("world") / "tiny"
    shutil.copytree(kept_collection, folder)
    path = folder / "queries.jsonl"
    questions = [json.loads(line) for line in path.read_text().splitlines()]
    path.write_text(
        "".join(json.dumps(of | {"answers": [of["_id"].split("-")[1]]}) + "\n" for of in questions)
    )
    names = [json.loads(line)["_id"] for line in (folder / "corpus.jsonl").read_text().splitlines()]
    random = np.random.default_rng(1)
    lines = []
    for of in questions:
        own = of["_id"][2:]
        others = random.choice([name for name in names if name != own], 3, replace=False)
        found = random.permutation([own, *others]).tolist()
        lines += [f"{of['_id']} Q0 {name} {rank} {9 - rank} t\n" for rank, name in enumerate(found)]
    (folder.parent / "run.txt").write_text("".join(lines))
    return folder


@pytest.fixture(scope="module")
def config_of(world, small_t5):
    def make(output, options=None, data="", backbone=None, **own):
        word = data or f"path={world},split=train,run={world.parent / 'run.txt'},depth=4"
        return TrainConfig(
            method="reatt",
            method_config=ReattConfig(**own),
            backbone=str(backbone or small_t5()),
            data=(word,),
            output=output,
            options=TrainOptions(**(FAST | (options or {}))),
        )

    return make


@pytest.fixture(scope="module")
def chosen(config_of, tmp_path_factory):
    """A model whose best head has (nearly) everything: a small temperature decides in a few steps."""
    output = tmp_path_factory.mktemp("chosen") / "model"
    train(config_of(output, head_temperature=1e-5))
    return output


def test_the_saved_folder_is_a_t5_with_a_file_beside_it(chosen, world):
    model = load_model(str(chosen))
    assert (model.card.vectors.dim, model.card.vectors.kind, model.card.vectors.score) == (
        8,
        "many",
        "maxsim_mean",
    )
    assert model.card.query.template == "question: {text}"
    assert model.card.passage.max_tokens == 512
    theirs = T5ForConditionalGeneration.from_pretrained(chosen / "backbone")
    for name, of in theirs.state_dict().items():
        assert torch.equal(of, model.encoder.encoder.backbone.state_dict()[name]), name
    head = int(model.encoder.head_weights.argmax())
    assert model.card.inference == {"head": head}
    curve = [of for of in json.loads((chosen / "curves.json").read_text())["curve"] if "loss" in of]
    assert {"answers", "cross", "head 0", "head 3", "target on judged"} <= set(curve[0])
    assert curve[0]["loss"] == pytest.approx(curve[0]["answers"] + 8 * curve[0]["cross"], rel=1e-5)


def test_a_run_is_that_of_a_plain_loop_over_the_head(chosen, world, tmp_path):
    """Each question token's largest product with a key, averaged, of the vectors as they are stored."""
    encode(EncodeConfig(model=str(chosen), corpus=str(world), output=tmp_path / "p", device="cpu"))
    encode(EncodeConfig(model=str(chosen), queries=f"{world}:dev", output=tmp_path / "q", device="cpu"))
    search(
        SearchConfig(index=tmp_path / "p", query_embeddings=tmp_path / "q", output=tmp_path / "run", hits=30)
    )
    run = read_run(tmp_path / "run")
    passages, queries = (Embeddings.open(tmp_path / name) for name in "pq")

    def parts(of):
        vectors = of.all_vectors()
        return np.split(vectors.values.astype(np.float64), vectors.offsets[1:-1])

    keys = dict(zip(passages.ids(), parts(passages), strict=True))
    for row, (name, asked) in enumerate(zip(queries.ids(), parts(queries), strict=True)):
        assert run.query_ids[row] == name
        scores = {passage: (asked @ of.T).max(axis=1).mean() for passage, of in keys.items()}
        found = dict(run.hits(row))
        assert list(found) == sorted(scores, key=lambda passage: -scores[passage])
        assert found == pytest.approx(scores, rel=1e-6)


def test_another_head_is_another_side_of_both(chosen):
    card = load_model(str(chosen)).card
    for side in ("query", "passage"):
        prints = {card.fingerprint(side, {"head": head}) for head in range(4)}
        assert len(prints) == 4
        assert card.fingerprint(side) in prints
    with pytest.raises(UsageError, match="has the heads 0 to 3"):
        load_model(str(chosen), settings={"head": 4})


def test_a_model_without_a_chosen_head_says_so(config_of, world, tmp_path):
    notes = Told()
    train(config_of(tmp_path / "model", {"max_steps": 1}, alpha=0.0), notes)
    said = "no head has 0.9 of the weight, the best one, 0, has 0.25"
    assert said in notes.lines
    config = EncodeConfig(
        model=str(tmp_path / "model"), corpus=str(world), output=tmp_path / "p", device="cpu"
    )
    with pytest.raises(PreconditionError, match=rf"{said}; train it further, or choose: --set head="):
        encode(config)
    encode(replace(config, settings={"head": 2}))
    assert Embeddings.open(tmp_path / "p").vectors.dim == 8


def test_a_checkpoint_names_the_head_of_its_own_weights(config_of, tmp_path):
    own = {"head_temperature": 1e-5}
    train(config_of(tmp_path / "model", {"keep_checkpoints": True, "save_steps": 1}, **own))
    card, kept = ModelCard.load(tmp_path / "model"), tmp_path / "model" / "checkpoints"
    assert card.inference["head"] > 0, "all heads alike, the first would be named"
    for folder in sorted(kept.iterdir()):
        found = load_model(str(folder))
        shares = found.encoder.head_shares().detach()
        assert found.card.inference == {"head": int(shares.argmax())}
        assert ("open" in found.card.source) == bool(shares.max() < 0.9)
    assert found.card.inference == card.inference


def test_a_target_beside_the_judged_passages_is_warned_of(config_of, world, tmp_path):
    """Of four passages a reader that knows nothing looks at the judged one for a quarter."""
    notes = Told()
    result = train(config_of(tmp_path / "model"), notes)
    first, *rest = json.loads((tmp_path / "model" / "curves.json").read_text())["curve"]
    said = first["warning"]
    assert (first["step"], "warning" in rest[0]) == (1, False)
    assert said.startswith(f"only {rest[0]['target on judged']:.2f} of the target is on the judged passages")
    assert first["target on judged"] == rest[0]["target on judged"] < 0.5
    assert f"warning: {said}" in notes.lines
    assert f"warning: {said}" in result.render().splitlines()
    assert result.as_json()["warnings"] == [said]
    assert train(config_of(tmp_path / "model")).warnings == [said], "when it is up to date, too"
    alone = f"path={world},split=train,run={world.parent / 'run.txt'},depth=1"
    assert not train(config_of(tmp_path / "warm-up", {"max_steps": 1}, alpha=0.0)).warnings
    assert not train(config_of(tmp_path / "one", {"max_steps": 1}, data=alone)).warnings


def test_the_manifest_says_whether_a_head_won_and_where_the_target_was(chosen, config_of, tmp_path):
    """Of a curve that logs nothing, too; a warm-up has no target."""
    extra = json.loads((chosen / "manifest.json").read_text())["extra"]
    shares = load_model(str(chosen)).encoder.head_shares().detach()
    assert extra["largest_head"] == pytest.approx(float(shares.max()), abs=1e-6)
    first = json.loads((chosen / "curves.json").read_text())["curve"][0]
    assert (first["step"], extra["target_on_judged"]) == (1, first["target on judged"])
    train(config_of(tmp_path / "silent", {"logging_steps": 0}, head_temperature=1e-5))
    silent = json.loads((tmp_path / "silent" / "manifest.json").read_text())["extra"]
    assert silent["target_on_judged"] == extra["target_on_judged"]
    train(config_of(tmp_path / "warm-up", {"max_steps": 1}, alpha=0.0))
    warm = json.loads((tmp_path / "warm-up" / "manifest.json").read_text())["extra"]
    assert (warm["largest_head"], warm["target_on_judged"]) == (0.25, None)


def test_dev_is_a_search_by_the_head_that_counts_most(config_of, world, tmp_path):
    dev = {"dev": f"{world}:dev", "dev_metric": "RR@10", "dev_queries": 0, "dev_pool": 0}
    train(config_of(tmp_path / "model", dev, head_temperature=1e-5))
    curve = json.loads((tmp_path / "model" / "curves.json").read_text())["curve"]
    best = max(point["dev"] for point in curve if point.get("step") and "dev" in point)
    model, passages = str(tmp_path / "model"), tmp_path / "p"
    on = {"device": "cpu", "precision": "fp32", "model": model}
    encode(EncodeConfig(corpus=str(world), output=passages, **on))
    search(SearchConfig(index=passages, queries=f"{world}:dev", output=tmp_path / "run", hits=10, **on))
    run, ranks = read_run(tmp_path / "run"), []
    for row, name in enumerate(run.query_ids):
        found = [passage for passage, _ in run.hits(row)]
        ranks.append(1 / (1 + found.index(name[2:])) if name[2:] in found else 0.0)
    assert best == pytest.approx(np.mean(ranks), abs=0.06)  # bf16 and float16 may swap two neighbours
    assert best > 0


def test_it_goes_on_with_its_own_head_and_lengths(chosen, config_of, tmp_path):
    before, known = load_model(str(chosen)).encoder, ModelCard.load(chosen)
    method = Reatt.build(ReattConfig(alpha=0.0), str(chosen))  # of another temperature
    torch.testing.assert_close(method.head_shares(), before.head_shares())
    assert method.config.bi_layers == known.method_config["bi_layers"] == 2
    assert method.card().passage.max_tokens == 512
    shorter = Reatt.build(ReattConfig(max_len=256), str(chosen))
    assert shorter.card().passage.max_tokens == 256, "a passage alone is as long as --max-len says"
    train(config_of(tmp_path / "on", {"max_steps": 1}, backbone=chosen, alpha=0.0))
    after = load_model(str(tmp_path / "on"))
    assert torch.equal(after.encoder.head_weights, method.head_weights), "a warm-up leaves them alone"
    assert ("open" in after.card.source, after.card.inference) == (False, known.inference)
    with pytest.raises(PreconditionError, match="bi_layers 2; bi_layers 1 was asked for"):
        Reatt.build(ReattConfig(bi_layers=1), str(chosen))


def test_questions_alone_train_and_a_plan_costs_a_few_steps(config_of, world, tmp_path):
    """depth=0 has no passages at all; a dry run says what a training would cost."""
    config = config_of(tmp_path / "alone", data=f"path={world},split=train,depth=0", alpha=0.0)
    assert train(config).steps == 3
    planned = train(replace(config_of(tmp_path / "planned"), dry_run=True))
    assert "3 of 3 queries" in planned.text
    assert not (tmp_path / "planned").exists()


def test_stopped_after_every_step_it_gives_the_unbroken_bytes(config_of, tmp_path):
    options = {"grad_cache": 400}
    train(config_of(tmp_path / "whole", options, head_temperature=1e-3))
    stopped = config_of(tmp_path / "stopped", options | {"max_minutes": 1e-6}, head_temperature=1e-3)
    for _ in range(2):
        with pytest.raises(Interrupted):
            train(stopped)
    train(stopped)
    for name in ("backbone/model.safetensors", "method.safetensors", "curves.json"):
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "stopped" / name).read_bytes(), name


WORKER = """
import importlib.util, json, sys, torch
spec = importlib.util.spec_from_file_location("own", {test!r})
own = importlib.util.module_from_spec(spec)
sys.modules["own"] = own
spec.loader.exec_module(own)
from dretrieve.training.processes import join_processes, leave_processes
processes = join_processes(torch.device("cpu"))
torch.manual_seed(1)
method = own.Reatt.build(own.ReattConfig(head_temperature=0.5), {backbone!r}).train()
_, value = own.step(method, batch=8, options=own.options_of(120), processes=processes)
gradient = {{name: of.double().tolist() for name, of in own.gradients(method).items()}}
if processes.first:
    print(json.dumps({{"loss": float(value.loss), "gradient": gradient}}))
leave_processes()
"""


@pytest.mark.slow
def test_two_processes_equal_one(small_t5, root):
    here = Path(__file__).parent
    code = WORKER.format(test=str(here / "test_reatt.py"), backbone=str(small_t5(dropout_rate=0.0)))

    def run(count):
        with socket.socket() as one:
            one.bind(("127.0.0.1", 0))
            port = str(one.getsockname()[1])
        workers = [
            subprocess.Popen(
                [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True,
                env=os.environ | {
                    "WORLD_SIZE": str(count), "RANK": str(rank), "LOCAL_RANK": str(rank),
                    "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "PYTHONPATH": str(root),
                },
            )
            for rank in range(count)
        ]  # fmt: skip
        outputs = [worker.communicate(timeout=300)[0] for worker in workers]
        assert all(worker.returncode == 0 for worker in workers)
        return json.loads(outputs[0])

    one, two = run(1), run(2)
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-6)
    for name, of in one["gradient"].items():
        torch.testing.assert_close(
            torch.tensor(two["gradient"][name]), torch.tensor(of), rtol=1e-4, atol=1e-6, msg=name
        )


def test_what_does_not_fit_is_refused(config_of, world, small_t5, tiny_model, tmp_path):
    bare = tmp_path / "bare"
    shutil.copytree(world, bare)
    text = (bare / "queries.jsonl").read_text()
    (bare / "queries.jsonl").write_text(text.replace(', "answers": ["bees"]', ""))
    word = f"path={bare},split=train,run={world.parent / 'run.txt'},depth=4"
    with pytest.raises(DataError, match=r"1 of 6 questions have no answers.*target=passage"):
        train(config_of(tmp_path / "a", data=word))
    with pytest.raises(
        UsageError, match=r"--data tiny: reatt learns from what was found; say run=RUN,depth=K"
    ):
        train(config_of(tmp_path / "c", data=f"path={world},split=train"))
    with pytest.raises(UsageError, match=r"--data tiny: depth=0 reads questions alone.* give --alpha 0"):
        train(config_of(tmp_path / "d", data=f"path={world},split=train,depth=0"))
    with pytest.raises(UsageError, match=r"--grad-cache 20: query '.*' of tiny has with its 4 passages"):
        train(config_of(tmp_path / "b", {"grad_cache": 20}))
    with pytest.raises(UsageError, match="has 4 encoder layers.*give 0 to 3"):
        Reatt.build(ReattConfig(bi_layers=4), str(small_t5()))
    with pytest.raises(
        UsageError, match="--max-len 60 leaves no room for a passage behind a question of 128"
    ):
        Reatt.build(ReattConfig(max_len=60), str(small_t5()))
    config = BartConfig(
        vocab_size=60, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16,
    )  # fmt: skip
    shutil.copytree(tiny_model, tmp_path / "bart", ignore=shutil.ignore_patterns("mod*", "1_*"))
    BartForConditionalGeneration(config).save_pretrained(tmp_path / "bart")
    with pytest.raises(PreconditionError, match="type bart, and this method wants a T5 with its decoder"):
        Reatt.build(ReattConfig(), str(tmp_path / "bart"))


@pytest.mark.parametrize(
    ("options", "own", "sentence"),
    [
        ({}, {"alpha": 0.0, "qa_weight": 0.0}, "leaves nothing to learn"),
        ({}, {"alpha": 0.0, "in_batch": False}, "--no-in-batch is of the cross-document loss"),
        ({}, {"alpha": 0.0, "head_temperature": 0.1}, "--head-temperature is of the cross-document loss"),
        ({}, {"qa_weight": 0.0, "answer": "join"}, "--answer is of the answers' loss"),
        ({}, {"pair": "yes"}, "--pair yes: a T5 reads title and text as one"),
        ({"train_group_size": 4}, {}, "--train-group-size chooses among judged passages"),
        ({"positives": "first"}, {}, "--positives chooses among judged passages"),
        ({"distil_weight": 0.5}, {}, "--distil-weight: reatt has a target of its own"),
    ],
)
def test_options_that_would_change_nothing_are_refused(config_of, options, own, sentence, tmp_path):
    with pytest.raises(UsageError, match=sentence):
        train(config_of(tmp_path / "m", options, **own))


def test_answers_that_are_cut_are_counted(small_t5):
    method = Reatt.build(ReattConfig(answer_max_len=3), str(small_t5()))
    note = method.check_fields("nq", {"answers": [("honey bee hive", "honey"), ("moon tide",)]})
    assert note == "nq: 1 of 3 answers are cut to 3 tokens"
    joined = Reatt.build(ReattConfig(answer_max_len=3, answer="join"), str(small_t5()))
    assert joined._candidates(("a", "b")) == ["a, b"]
    assert "1 of 2 answers" in joined.check_fields(
        "nq", {"answers": [("honey bee hive", "honey"), ("moon",)]}
    )


def test_other_methods_do_not_read_runs(config_of, world, tiny_model, tmp_path):
    from dretrieve.models.shared_config import SharedConfig

    config = replace(
        config_of(tmp_path / "m", backbone=tiny_model), method="shared", method_config=SharedConfig()
    )
    with pytest.raises(UsageError, match="shared learns from judged passages; leave them out"):
        train(config)
