from __future__ import annotations

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from dretrieve.encoding.pipeline import encode_records
from dretrieve.errors import DataError, Interrupted, PreconditionError, UsageError, VerificationError
from dretrieve.jobs.mine_negatives import MineNegativesConfig
from dretrieve.jobs.mine_negatives import run as mine
from dretrieve.jobs.prepare import PrepareConfig
from dretrieve.jobs.prepare import run as prepare
from dretrieve.jobs.train import TrainConfig, run
from dretrieve.models.loading import load_model
from dretrieve.models.registry import find
from dretrieve.models.shared import Shared
from dretrieve.store import state as of_state
from dretrieve.store.card import ModelCard
from dretrieve.store.manifest import manifest_path, read_manifest
from dretrieve.training.options import TrainOptions
from dretrieve.types import Record, Silent
from tests.common import Told, bytes_of


@pytest.fixture
def config_of(tmp_path, tiny_collection, tiny_model):
    """A training of a few steps; ``options`` and ``own`` (the method's) can be others."""

    def config(method="shared", own=None, options=None, **changes):
        fast = {
            "max_steps": 6,
            "per_device_train_batch_size": 3,
            "learning_rate": 1e-3,
            "logging_steps": 2,
            "save_steps": 2,
            "device": "cpu",
            "precision": "fp32",
        }
        values = {
            "method": method,
            "method_config": find(method).config()(
                **({"pooling": "mean", "normalize": "yes", "temperature": 0.1} | (own or {}))
            ),
            "backbone": str(tiny_model),
            "data": (f"{tiny_collection}:train",),
            "output": tmp_path / "model",
            "options": TrainOptions(**(fast | (options or {}))),
        }
        return TrainConfig(**(values | changes))

    return config


@pytest.fixture
def still_model(tiny_model, tmp_path):
    """The tiny model without dropout, for sentence-transformers too: mean pooling, length kept."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.base.modules import Transformer
    from sentence_transformers.sentence_transformer.modules import Pooling

    zero = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    body = Transformer(str(tiny_model), config_kwargs=zero)
    SentenceTransformer(modules=[body, Pooling(32, pooling_mode="mean")]).save(str(tmp_path / "still"))
    return tmp_path / "still"


def hashes(folder):
    card = ModelCard.load(folder)
    return dict(card.query.files), dict(card.passage.files)


@pytest.mark.parametrize("method", ["shared", "dpr"])
def test_train_save_load_up_to_date(config_of, method, tiny_collection):
    config = config_of(method, options={"dev": f"{tiny_collection}:train", "max_steps": 40, "eval_steps": 20})
    notes = Told()
    result = run(config, notes)
    assert result.steps == 40
    losses = [point["loss"] for point in result.curve if "loss" in point]
    assert losses[-1] < losses[0]
    assert result.best > next(point["dev"] for point in result.curve if "dev" in point)
    assert "before training" in result.render()
    assert json.dumps(result.as_json())
    assert any("negatives a query" in line for line in notes.lines)
    model = load_model(str(config.output))
    assert model.card.method == method
    assert model.card.training["steps"] == 40
    manifest = read_manifest(manifest_path(config.output))
    assert manifest.counts["parameters"] == sum(part.numel() for part in model.encoder.parameters())
    assert not (config.output / "checkpoints").exists()
    again = run(config)
    assert again.up_to_date
    assert again.curve == result.curve
    query, passage = hashes(config.output)
    assert (query == passage) == (method == "shared")


def test_low_rank_adapters_are_trained_alone_and_merged(config_of, tiny_model):
    own = {"lora": True, "lora_r": 4, "lora_alpha": 16, "lora_dropout": 0.0}
    config = config_of(own=own, options={"max_steps": 40, "learning_rate": 1e-2})
    losses = [point["loss"] for point in run(config).curve if "loss" in point]
    assert losses[-1] < 0.9 * losses[0]
    before, after = (load_file(folder / "model.safetensors") for folder in (tiny_model, config.output))
    changed = {name for name, weight in after.items() if not torch.equal(weight, before[name])}
    assert changed
    assert all(name.endswith(("query.weight", "value.weight")) for name in changed)
    assert not any("lora" in name for name in after)


def test_other_options_are_refused_and_forced(config_of):
    config = config_of()
    run(config)
    other = config_of("dpr")
    with pytest.raises(PreconditionError, match=r"method shared -> dpr.*--force"):
        run(other)
    run(replace(other, force=True))
    assert ModelCard.load(config.output).method == "dpr"
    assert not (config.output / "model.safetensors").exists()


def test_interrupted_and_resumed_is_the_unbroken_model(config_of, tmp_path):
    unbroken = config_of(output=tmp_path / "unbroken")
    curve = run(unbroken).curve
    config = config_of()
    for steps in (1, 2):
        with pytest.raises(Interrupted) as caught:
            run(config, Told(steps))
        assert caught.value.exit_code == 75
    state = json.loads((config.output / "state.json").read_text())
    assert (state["state"], state["exit_code"]) == ("interrupted", 75)
    notes = Told()
    assert run(config, notes).curve == curve
    assert "resuming after step 3" in notes.lines
    assert hashes(config.output) == hashes(unbroken.output)


def test_max_minutes_stops_and_goes_on_to_the_unbroken_bytes(config_of, tiny_collection, tmp_path):
    """Another limit on every call, none on the last: the option is in no fingerprint and changes no byte."""
    dev = {"dev": f"{tiny_collection}:dev", "eval_steps": 2, "max_steps": 4}
    unbroken = config_of(output=tmp_path / "unbroken", options=dev)
    run(unbroken)
    for done in (1, 2, 3):
        config = config_of(options={**dev, "max_minutes": 1e-9 * done})
        with pytest.raises(Interrupted, match=f"after step {done} of 4; run the same command again"):
            run(config)
        assert json.loads((config.output / "state.json").read_text())["exit_code"] == 75
    run(config_of(options=dev))
    files, again = bytes_of(unbroken.output), bytes_of(config.output)
    assert {"model.safetensors", "card.json", "manifest.json", "curves.json"} <= files.keys()
    assert [name for name in files if files[name] != again[name]] == []


def test_checkpoints_of_another_method_are_refused(config_of):
    with pytest.raises(Interrupted):
        run(config_of(), Told(2))
    with pytest.raises(PreconditionError, match=r"checkpoints of another training \(.*method shared -> dpr"):
        run(config_of("dpr"))
    assert json.loads((config_of().output / "state.json").read_text())["state"] == "interrupted"
    notes = Told()
    run(config_of("dpr", force=True), notes)
    assert not any("resuming" in line for line in notes.lines)


def test_checkpoints_go_with_the_training_unless_they_are_kept(config_of, tmp_path):
    config = config_of()
    run(config)
    assert not (config.output / "checkpoints").exists()
    (config.output / "checkpoints/tokens").mkdir(parents=True)  # as a kill after the commit leaves it
    assert run(config).up_to_date
    assert not (config.output / "checkpoints").exists()
    kept = config_of(output=tmp_path / "kept", options={"keep_checkpoints": True})
    run(kept)
    steps = ["step-00000004", "step-00000006"]
    assert sorted(path.name for path in (kept.output / "checkpoints").iterdir()) == steps
    assert run(config_of(output=tmp_path / "kept")).up_to_date
    assert sorted(path.name for path in (kept.output / "checkpoints").iterdir()) == steps


def test_a_finished_training_that_is_forced_begins_anew(config_of, tiny_collection, tmp_path):
    """Its last checkpoint would have nothing to do, and its best weights are gone."""
    chosen = {"keep_checkpoints": True, "dev": f"{tiny_collection}:dev"}
    run(config_of(output=tmp_path / "kept", options=chosen))
    weights = tmp_path / "kept" / "model.safetensors"
    before = weights.read_bytes()
    notes = Told()
    assert run(config_of(output=tmp_path / "kept", options=chosen, force=True), notes).steps == 6
    assert not any("resuming" in line for line in notes.lines)
    assert weights.read_bytes() == before


def test_kept_checkpoints_outlive_a_kill_behind_the_commit(config_of, tmp_path):
    kept = config_of(output=tmp_path / "kept", options={"keep_checkpoints": True})
    run(kept)
    stand = sorted(path.name for path in (kept.output / "checkpoints").iterdir())
    (kept.output / "checkpoints" / "tokens").mkdir()  # which `finish` would have removed
    assert run(kept).up_to_date
    assert sorted(path.name for path in (kept.output / "checkpoints").iterdir()) == stand


def test_a_model_that_is_read_back_as_another_is_no_result(config_of, monkeypatch):
    """The weights that are written lose a layer's numbers: exit 5, no card, the checkpoint stays."""
    config, save = config_of(), Shared.save

    def broken(method, folder):
        save(method, folder)
        weights = load_file(folder / "model.safetensors")
        weights["encoder.layer.0.output.dense.weight"] *= -1
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})

    monkeypatch.setattr(Shared, "save", broken)
    with pytest.raises(
        VerificationError, match=r"is not the trained one when it is read back: its vector of"
    ):
        run(config)
    assert not (config.output / "card.json").exists()
    assert json.loads((config.output / "state.json").read_text())["exit_code"] == 5
    monkeypatch.undo()
    notes = Told()
    assert run(config, notes).steps == 6
    assert "resuming after step 6" in notes.lines


@pytest.mark.parametrize("method", ["shared", "dpr", "taser"])
def test_a_checkpoint_is_encoded_with(config_of, tiny_model, tmp_path, method):
    """The last checkpoint of a finished training holds the model itself."""
    shutil.copytree(tiny_model, tmp_path / "backbone")
    own = {"query_template": "ask {text}"} | ({"every": 2} if method == "taser" else {})
    config = config_of(method, own, {"keep_checkpoints": True}, backbone=str(tmp_path / "backbone"))
    run(config)
    records = [Record("1", "Bees", "honey bee hive"), Record("2", "", "moon tide ocean")]
    models = [load_model(str(config.output / name)) for name in ("checkpoints/step-00000006", ".")]
    for side in ("query", "passage"):
        vectors = [encode_records(model, side, records, "float32").values for model in models]
        np.testing.assert_allclose(*vectors, atol=1e-6)
        earlier = ModelCard.load(config.output / "checkpoints/step-00000004")
        assert earlier.fingerprint(side) != models[0].card.fingerprint(side)
    weights = load_file(tmp_path / "backbone/model.safetensors")
    save_file({name: of + 1 for name, of in weights.items()}, tmp_path / "backbone/model.safetensors")
    with pytest.raises(VerificationError, match=r"step-00000006 is a checkpoint on the backbone .*/backbone"):
        load_model(str(config.output / "checkpoints/step-00000006"))


def test_a_second_training_in_the_folder_of_one_at_work(config_of, monkeypatch):
    monkeypatch.setattr(of_state, "PATIENCE", 0.0)
    config = config_of()

    class Second(Silent):
        def start(self, label, *words):
            if label.startswith("train"):
                with pytest.raises(PreconditionError, match="another process is at work in"):
                    run(config)

    assert run(config, Second()).steps == 6
    assert json.loads((config.output / "manifest.json").read_text())["counts"]["steps"] == 6


def test_resume_must_and_never(config_of):
    with pytest.raises(PreconditionError, match="holds no checkpoint"):
        run(config_of(options={"resume": "must"}))
    with pytest.raises(Interrupted):
        run(config_of(), Told(2))
    notes = Told()
    run(config_of(options={"resume": "never"}), notes)
    assert not any("resuming" in line for line in notes.lines)


def test_no_training_goes_on_with_what_another_revision_of_its_method_began(config_of, monkeypatch):
    with pytest.raises(Interrupted):
        run(config_of(), Told(2))
    monkeypatch.setattr(find(config_of().method).method(), "revision", 2)
    with pytest.raises(PreconditionError, match="revision"):
        run(config_of(options={"resume": "must"}))


@pytest.fixture
def mined(tiny_collection, tmp_path):
    """Examples with hard negatives, mined from a run that ranks all passages."""
    names = [json.loads(line)["_id"] for line in (tiny_collection / "corpus.jsonl").read_text().splitlines()]
    queries = [
        line.split("\t")[0] for line in (tiny_collection / "qrels/train.tsv").read_text().splitlines()[1:]
    ]
    hits = "".join(
        f"{query} Q0 {name} {rank} {100 - rank} toy\n"
        for query in queries
        for rank, name in enumerate(names, 1)
    )
    (tmp_path / "run.trec").write_text(hits)
    config = MineNegativesConfig(
        data=f"{tiny_collection}:train", run=tmp_path / "run.trec", output=tmp_path / "hard.jsonl"
    )
    return mine(config).output


def test_mined_examples_find_their_collection_and_bring_negatives(config_of, mined):
    notes = Told()
    run(config_of(data=(str(mined),), options={"train_group_size": 4}), notes)
    announced = next(line for line in notes.lines if "the first batch holds" in line)
    assert int(announced.split("holds ")[1].split()[0]) > 6


@pytest.fixture
def scored(tiny_collection, tmp_path):
    """A training file of FlagEmbedding with a teacher's scores, prepared."""
    texts = {
        record["_id"]: record["text"]
        for record in map(json.loads, (tiny_collection / "corpus.jsonl").read_text().splitlines())
    }
    rows = [
        {"query": texts[f"{topic}-1"][:20], "pos": [texts[f"{topic}-0"]],
         "neg": [texts[f"{topic}-{part}"] for part in (2, 3)], "pos_scores": [place + 5.0],
         "neg_scores": [float(place), -1.0]}
        for place, topic in enumerate(("bees", "tides", "bread"))
    ]  # fmt: skip
    (tmp_path / "flag.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    prepare(PrepareConfig(source=str(tmp_path / "flag.jsonl"), output=tmp_path / "scored"))
    return tmp_path / "scored"


@pytest.mark.parametrize("loss", ["kl", "margin-mse"])
def test_a_teacher_teaches_what_sentence_transformers_computes(config_of, scored, still_model, loss):
    """One step with the teacher alone: the loss is the library's over the backbone's vectors."""
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.losses import DistillKLDivLoss, MarginMSELoss

    options = {"distil_weight": 1.0, "distil_loss": loss, "train_group_size": 3, "max_steps": 1}
    options |= {"logging_steps": 1} | ({"distil_temperature": 2.0} if loss == "kl" else {})
    config = config_of(
        backbone=str(still_model), data=(f"{scored}:train",), options=options, own={"normalize": "no"}
    )
    found = run(config).curve[-1]
    rows = [json.loads(line) for line in (scored.parent / "flag.jsonl").read_text().splitlines()]
    body = SentenceTransformer(str(still_model), device="cpu")
    texts = [[row["query"] for row in rows], [row["pos"][0] for row in rows]]
    texts += [[row["neg"][place] for row in rows] for place in (0, 1)]
    labels = torch.tensor([[*row["pos_scores"], *row["neg_scores"]] for row in rows])
    theirs = MarginMSELoss(body) if loss == "margin-mse" else DistillKLDivLoss(body, temperature=2.0)
    vectors = [body.encode(column, convert_to_tensor=True) for column in texts]
    expected = float(theirs.compute_loss_from_embeddings(vectors, labels))
    assert found["loss"] == pytest.approx(expected, rel=1e-5, abs=1e-5)
    assert found["distillation"] == pytest.approx(found["loss"])


def test_distillation_goes_on_to_the_unbroken_bytes(config_of, scored, tmp_path):
    taught = {"data": (f"{scored}:train",), "options": {"distil_weight": 0.5, "distil_temperature": 3.0}}
    unbroken = config_of(output=tmp_path / "unbroken", **taught)
    run(unbroken)
    with pytest.raises(Interrupted):
        run(config_of(**taught), Told(2))
    run(config_of(**taught))
    assert hashes(config_of().output) == hashes(unbroken.output)
    untaught = config_of(output=tmp_path / "untaught", data=taught["data"])
    run(untaught)
    assert hashes(untaught.output) != hashes(unbroken.output)


def test_examples_of_another_collection(config_of, mined, tiny_collection, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    changed = (tiny_collection / "corpus.jsonl").read_text().replace("bees 0", "bees zero", 1)
    (other / "corpus.jsonl").write_text(changed)
    with pytest.raises(VerificationError, match="was made from the collection tiny"):
        run(config_of(data=(f"path={mined},corpus={other}",)))


def test_examples_without_a_manifest_need_the_collection_named(config_of, mined, tiny_collection):
    mined.with_name(mined.name + ".manifest.json").unlink()
    with pytest.raises(UsageError, match="does not say which collection"):
        run(config_of(data=(str(mined),)))
    run(config_of(data=(f"path={mined},corpus={tiny_collection}",)))


def test_a_set_without_positives(config_of, tiny_collection):
    qrels = tiny_collection / "qrels" / "train.tsv"
    qrels.write_text(qrels.read_text().replace("\t1\n", "\t0\n"))
    with pytest.raises(DataError, match="has no query with a positive"):
        run(config_of())


def test_two_sets_need_two_names(config_of, tiny_collection):
    data = (f"path={tiny_collection},split=train", f"path={tiny_collection},split=dev")
    with pytest.raises(UsageError, match="two sets are called tiny"):
        run(config_of(data=data))
    named = tuple(f"name={split},path={tiny_collection},split={split}" for split in ("train", "dev"))
    assert run(config_of(data=named)).steps == 6


def test_no_data(config_of):
    with pytest.raises(UsageError, match="--data is missing"):
        run(config_of(data=()))


def test_a_missing_tracker_stops_before_training(config_of, monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(PreconditionError, match="pip install wandb"):
        run(config_of(options={"report_to": "wandb"}))


def test_a_forced_dry_run_keeps_what_stands(config_of):
    run(config_of())
    before = manifest_path(config_of().output).read_bytes()
    assert run(config_of("dpr", force=True, dry_run=True)).state == "stale"
    assert manifest_path(config_of().output).read_bytes() == before
    assert run(config_of()).up_to_date


def test_dry_run_writes_nothing(config_of):
    config = config_of(dry_run=True)
    result = run(config)
    assert not config.output.exists()
    said, steps, time, memory = result.render().splitlines()
    assert said.startswith("to do: would train shared")
    assert steps.split()[:4] == ["steps", "6", "of", "3"]
    assert "at the speed of a step of 3 queries" in time
    assert "AdamW" in memory
    assert result.as_json()["estimate"]["steps"] == 6


def test_a_dry_run_refuses_what_the_training_refuses(config_of, tiny_collection):
    phase = (f"path={tiny_collection},split=train,phase=warm-up",)
    for changes, error, text in (
        ({"data": phase}, UsageError, "shared has the phases train"),
        ({"options": {"per_device_train_batch_size": 500}}, DataError, "fewer than one batch of 500"),
    ):
        for dry_run in (True, False):
            with pytest.raises(error, match=text):
                run(config_of(dry_run=dry_run, **changes))


def test_what_stands_in_the_output_is_neither_taken_over_nor_overwritten(config_of, tiny_model, tmp_path):
    own = tmp_path / "bert"
    shutil.copytree(tiny_model, own)
    before = bytes_of(own)
    for dry_run in (True, False):
        with pytest.raises(PreconditionError, match="bert holds .* and was not made by train"):
            run(config_of(output=own, dry_run=dry_run))
        for output in (own, tmp_path):
            with pytest.raises(UsageError, match="the backbone .*bert stands there"):
                run(config_of(backbone=str(own), output=output, force=True, dry_run=dry_run))
    assert bytes_of(own) == before


def test_checkpoints_of_another_training_are_refused_before_texts_are_read(config_of):
    with pytest.raises(Interrupted):
        run(config_of(), Told(2))
    tokens = sorted((config_of().output / "checkpoints" / "tokens").iterdir())
    for dry_run in (True, False):
        with pytest.raises(PreconditionError, match="checkpoints of another training"):
            run(config_of("dpr", dry_run=dry_run))
    assert sorted((config_of().output / "checkpoints" / "tokens").iterdir()) == tokens
    for again in ({"force": True}, {"options": {"resume": "never"}}):
        assert run(config_of("dpr", dry_run=True, **again)).state == "interrupted"


def test_the_estimate_counts_what_is_trained(config_of):
    """Steps and parameters exactly."""
    changed = {"max_steps": 0, "num_train_epochs": 2.0}
    cost = SimpleNamespace(**run(config_of(dry_run=True, options=changed)).as_json()["estimate"])
    trained = run(config_of(options=changed))
    assert cost.steps == trained.steps
    parameters = read_manifest(manifest_path(trained.output)).counts["parameters"]
    assert (cost.weights_bytes, cost.gradients_bytes) == (4 * parameters, 4 * parameters)
    assert cost.optimizer_bytes == 8 * parameters
    assert cost.seconds >= 0


def test_gradient_cache_and_checkpointing_train_to_the_same_weights_nearly(config_of, tmp_path):
    """Other pieces mean other dropout, so dropout is off here: only sums are in another order."""
    from transformers import AutoModel

    plain = AutoModel.from_pretrained(config_of().backbone)
    plain.config.hidden_dropout_prob = plain.config.attention_probs_dropout_prob = 0.0
    still = tmp_path / "still"
    plain.save_pretrained(still)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        (still / name).write_bytes((tmp_path / config_of().backbone / name).read_bytes())
    vectors = []
    for index, options in enumerate(({}, {"grad_cache": 30}, {"gradient_checkpointing": True})):
        config = config_of(options=options, backbone=str(still), output=tmp_path / f"model{index}")
        run(config)
        model = load_model(str(config.output))
        tokens = model.tokenizers["query"]
        from dretrieve.encoding.pipeline import encode_records
        from dretrieve.types import Record

        assert tokens.pad_id == 0
        vectors.append(encode_records(model, "query", [Record("q", "", "bee hive")], "float32").values)
    np.testing.assert_allclose(vectors[1], vectors[0], atol=1e-4)
    np.testing.assert_allclose(vectors[2], vectors[0], atol=1e-4)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gradient_accumulation_steps": 2}, "--grad-cache"),
        ({"per_device_train_batch_size": 1}, "expected a whole number from 2"),
        ({"patience": 2}, "--patience is of the dev set; give --dev"),
        ({"dev_metric": "RR@10"}, "--dev-metric is of the dev set; give --dev"),
        ({"eval_steps": 5}, "--eval-steps is of the dev set; give --dev"),
        ({"learning_rate": 0.0}, "--learning-rate 0.0: expected a number above 0"),
        ({"warmup_ratio": 2.0}, "--warmup-ratio .*: expected a number from 0 to 1"),
        ({"max_minutes": -1.0}, "--max-minutes -1.0: expected a number from 0"),
        ({"max_minutes": float("nan")}, "--max-minutes nan: expected a number from 0"),
        ({"learning_rate": float("inf")}, "--learning-rate inf: expected a number above 0"),
        ({"weight_decay": -0.1}, "--weight-decay -0.1: expected a number from 0"),
        ({"max_grad_norm": -1.0}, "--max-grad-norm -1.0: expected a number from 0"),
        ({"adam_beta1": 1.0}, "--adam-beta1 1.0: expected a number from 0 and below 1"),
        ({"adam_beta2": -0.5}, "--adam-beta2 -0.5: expected a number from 0 and below 1"),
        ({"adam_epsilon": 0.0}, "--adam-epsilon 0.0: expected a number above 0"),
        ({"positives": "all"}, "expected sample or first"),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(UsageError, match=message):
        TrainOptions(**options)


def test_the_ends_of_the_ranges_are_legal():
    TrainOptions(weight_decay=0.0, max_grad_norm=0.0, adam_beta1=0.0, adam_beta2=0.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"distil_weight": 1.5}, "--distil-weight 1.5: expected a number from 0 to 1"),
        ({"distil_loss": "margin-mse"}, "--distil-loss without --distil-weight changes nothing"),
        ({"distil_temperature": 2.0}, "--distil-temperature without --distil-weight"),
        ({"distil_weight": 1.0, "distil_loss": "mse"}, "expected kl or margin-mse"),
        ({"distil_weight": 1.0, "distil_temperature": 0.0}, "expected a number above 0"),
        (
            {"distil_weight": 1.0, "distil_loss": "margin-mse", "distil_temperature": 2.0},
            "--distil-temperature belongs to --distil-loss kl",
        ),
        ({"distil_weight": 1.0, "train_group_size": 1}, "give --train-group-size 2 or more, not 1"),
    ],
)
def test_options_of_a_teacher_that_make_no_sense(options, message):
    with pytest.raises(UsageError, match=message):
        TrainOptions(**options)


def test_options_that_change_nothing_are_not_recorded():
    """A training goes on under another rhythm of saving."""
    plain = TrainOptions().recorded()
    assert plain == TrainOptions(save_steps=7, report_to="wandb", device="cpu", max_minutes=5).recorded()
    assert plain != TrainOptions(learning_rate=1e-4).recorded()
    one, other = (TrainOptions(dev="a:dev", dev_pool=pool).recorded() for pool in (9, 10))
    assert one != other
    assert one == TrainOptions(dev="b:dev", dev_pool=9).recorded()
