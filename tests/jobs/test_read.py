"""read: answers as transformers' own T5 gives them; shards, interruption, refusals; EM of its output."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from transformers import AutoTokenizer, T5ForConditionalGeneration
from transformers.modeling_outputs import BaseModelOutput

from dretrieve.encoding.reading import Reader
from dretrieve.errors import DataError, Interrupted, UsageError, VerificationError
from dretrieve.jobs import read as job
from dretrieve.jobs.configs.train import TrainConfig
from dretrieve.jobs.evaluate import EvaluateConfig
from dretrieve.jobs.evaluate import run as evaluate
from dretrieve.jobs.read import ReadConfig, run
from dretrieve.jobs.train import run as train
from dretrieve.jobs.validate import ValidateConfig
from dretrieve.jobs.validate import run as validate
from dretrieve.models.model_folder import save_model
from dretrieve.models.reatt import Reatt
from dretrieve.models.reatt_config import ReattConfig
from dretrieve.models.t5 import T5
from dretrieve.text.collection import Collection
from dretrieve.training.options import TrainOptions

DEPTH = 3


@pytest.fixture
def model_of(small_t5, tmp_path):
    """``model_of(bi_layers=2)``: the small T5 as a model that nothing trained; it answers in few tokens."""

    def make(**options):
        folder = tmp_path / f"model-{len(list(tmp_path.iterdir()))}"
        backbone = str(small_t5(dropout_rate=0.0))
        save_model(Reatt.build(ReattConfig(answer_max_len=6, **options), backbone), folder)
        return str(folder)

    return make


@pytest.fixture
def config(model_of, tiny_collection, tmp_path):
    """Questions with three passages, one with two, one with none; each shares one with the next."""
    collection = Collection.open(f"{tiny_collection}:test")
    names, queries = collection.corpus().ids(0, len(collection.corpus())), collection.queries().ids()
    lines = [
        f"{query} Q0 {names[(2 * row + place) % len(names)]} {place + 1} {-place} x\n"
        for row, query in enumerate(queries[:-1])
        for place in range(DEPTH - (row == 1))
    ]
    (tmp_path / "run.trec").write_text("".join(lines))
    return ReadConfig(
        model=model_of(bi_layers=0),
        run=tmp_path / "run.trec",
        queries=f"{tiny_collection}:test",
        depth=DEPTH,
        output=tmp_path / "answers.jsonl",
        device="cpu",
        precision="fp32",
    )


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_how_the_backbone_once_generated_is_not_asked(config, tmp_path):
    run(config)
    said = tmp_path / config.model / "backbone" / "generation_config.json"
    other = {"num_beams": 4, "min_length": 5, "no_repeat_ngram_size": 1, "repetition_penalty": 3.0}
    said.write_text(json.dumps(json.loads(said.read_text()) | other))
    again = replace(config, output=tmp_path / "again.jsonl")
    run(again)
    assert lines_of(again.output) == lines_of(config.output)


@pytest.mark.parametrize("beams", [1, 3])
def test_answers_are_those_of_a_fusion_in_the_decoder_by_transformers(config, beams):
    """B = 0: each pair through the whole encoder, their states side by side, generate."""
    model = T5ForConditionalGeneration.from_pretrained(
        f"{config.model}/backbone", attn_implementation="eager"
    ).eval()
    tokenizer = AutoTokenizer.from_pretrained(f"{config.model}/backbone")
    result = run(replace(config, beams=beams))
    assert result.state == "written"
    collection = Collection.open(config.queries)
    corpus, found = collection.corpus(), lines_of(config.output)
    assert [line["query_id"] for line in found] == collection.queries().ids()
    for query, line in zip(collection.queries().records(0, len(found)), found, strict=True):
        passages = [corpus.record(corpus.row_of(of["id"])) for of in line["passages"]]
        asked = tokenizer(f"question: {query.text}").input_ids
        told = [tokenizer(f"title: {of.title} context: {of.text}").input_ids for of in passages]
        pairs = [asked[:-1] + ids for ids in told] or [asked]
        with torch.no_grad():
            states = torch.cat([model.encoder(torch.tensor([ids])).last_hidden_state for ids in pairs], dim=1)
            encoded = {"encoder_outputs": BaseModelOutput(last_hidden_state=states)}
            other = BaseModelOutput(last_hidden_state=states)  # generate repeats it for each beam, in place
            ids = model.generate(encoder_outputs=other, num_beams=beams, max_new_tokens=6, do_sample=False)
            labels = ids[:, 1:]
            logits = model(**encoded, labels=labels, output_attentions=True)
        assert line["prediction"] == tokenizer.decode(ids[0], skip_special_tokens=True)
        chances = logits.logits.log_softmax(dim=-1).gather(2, labels.unsqueeze(2)).squeeze()
        assert line["log_probability"] == pytest.approx(float(chances.sum()), abs=1e-4)
        looks = logits.cross_attentions[-1][0, :, 0].mean(dim=0).numpy()
        borders = np.cumsum([len(of) for of in pairs])[:-1]
        shares = [float(part.sum()) for part in np.split(looks, borders)]
        expected = shares if passages else []
        assert [of["attention"] for of in line["passages"]] == pytest.approx(expected, abs=1e-5)
    counts = {
        name: result.details["counts"][name] for name in ("questions", "questions_lacking", "questions_alone")
    }
    assert counts == {"questions": len(found), "questions_lacking": 2, "questions_alone": 1}


@pytest.mark.gpu
@pytest.mark.parametrize(("precision", "near"), [("fp32", 1e-4), ("bf16", 0.05), ("fp16", 0.01)])
def test_a_gpu_reads_as_the_cpu_does(config, model_of, precision, near):
    config = replace(config, model=model_of(bi_layers=2))
    other = replace(config, output=config.output.with_name("gpu.jsonl"), device="cuda", precision=precision)
    run(config), run(other)
    for exact, found in zip(lines_of(config.output), lines_of(other.output), strict=True):
        shares = [[of["attention"] for of in line["passages"]] for line in (exact, found)]
        assert shares[1] == pytest.approx(shares[0], abs=near)
        if precision == "fp32":  # likely tokens lie close together
            assert found["prediction"] == exact["prediction"]


@pytest.mark.parametrize("bi_layers", [0, 2])
def test_questions_are_read_as_training_reads_them(
    config, model_of, bi_layers, tiny_collection, tmp_path, monkeypatch
):
    """The logits of an answer's first token: with passages, of which some are others' too, and alone."""
    config = replace(config, model=model_of(bi_layers=bi_layers))
    path = tiny_collection / "queries.jsonl"
    path.write_text("".join(json.dumps(of | {"answers": ["honey bee"]}) + "\n" for of in lines_of(path)))
    names, logits = [], []
    labels, decoded = Reatt._labels, T5.decoded

    def named(self, questions, step):
        names.extend(questions.text_ids)
        return labels(self, questions, step)

    def heard(self, ids, states, mask):
        found = decoded(self, ids, states, mask)
        logits.append(found[0][:, 0].detach())
        return found

    monkeypatch.setattr(Reatt, "_labels", named)
    monkeypatch.setattr(T5, "decoded", heard)
    run(config)
    read, learned = torch.cat(logits), {}
    for count, found in ((6, "depth=0"), (5, f"run={config.run},depth={DEPTH}")):
        names.clear(), logits.clear()
        options = TrainOptions(max_steps=1, per_device_train_batch_size=count, device="cpu", precision="fp32")
        train(
            TrainConfig(
                method="reatt",
                method_config=ReattConfig(alpha=0.0),
                backbone=config.model,
                data=(f"path={tiny_collection},split=test,{found}",),
                output=tmp_path / f"trained-{count}",
                options=options,
            )
        )
        learned |= dict(zip(names, torch.cat(logits), strict=True))
    asked = Collection.open(config.queries).queries().ids()
    torch.testing.assert_close(read, torch.stack([learned[name] for name in asked]), atol=1e-5, rtol=1e-4)


def test_cut_passages_are_counted_and_their_last_token_stays(config, model_of):
    whole = run(replace(config, model=model_of(bi_layers=2))).details["counts"]
    assert whole["passages_cut"] == 0
    short = model_of(bi_layers=2, max_len=14, query_max_len=6)
    cut = run(replace(config, model=short, output=config.output.with_name("cut.jsonl"))).details["counts"]
    assert 0 < cut["passages_cut"] <= cut["passages"]
    itself = model_of(bi_layers=2, passage_max_len=8)  # cut before a question is known
    cut = run(replace(config, model=itself, output=config.output.with_name("itself.jsonl"))).details["counts"]
    assert 0 < cut["passages_cut"] <= cut["passages"]


@pytest.fixture
def small_chunks(monkeypatch):
    monkeypatch.setattr(job, "CHUNK", 2)


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("count", [2, 16])
def test_shards_together_are_one_file(config, count):
    whole = run(config)
    expected = config.output.read_bytes()
    other = replace(config, output=config.output.with_name("parts.jsonl"))
    for index in range(count):
        run(replace(other, shard=(index, count)))
    joined = run(other)
    assert other.output.read_bytes() == expected
    assert joined.details == whole.details
    assert run(other).state == "up to date"


@pytest.mark.usefixtures("small_chunks")
def test_an_interrupted_reading_goes_on(config, monkeypatch):
    run(config)
    expected, other = config.output.read_bytes(), replace(config, output=config.output.with_name("b.jsonl"))
    read, chunks = Reader.read, []

    def until_second(self, asked):
        if len(chunks) == 1:
            raise Interrupted("stopped")
        chunks.append(asked)
        return read(self, asked)

    with monkeypatch.context() as patch:
        patch.setattr(Reader, "read", until_second)
        with pytest.raises(Interrupted):
            run(other)
    assert not other.output.exists()
    seen = []
    monkeypatch.setattr(Reader, "read", lambda self, asked: (seen.append(asked), read(self, asked))[1])
    run(other)
    assert other.output.read_bytes() == expected
    assert all(asked != chunks[0] for asked in seen)
    assert not list(other.output.parent.glob(".b.jsonl*"))
    other.output.with_name(".b.jsonl.partial").mkdir()
    assert run(other).state == "up to date"
    assert not list(other.output.parent.glob(".b.jsonl*")), "of a call that was killed behind its commit"


def test_of_two_calls_at_once_the_one_that_ends_first_takes_nothing_from_the_other(config, monkeypatch):
    read, beside = Reader.read, []

    def answered(self, asked):
        found = read(self, asked)
        if not beside:
            beside.append(None)
            run(config)
        return found

    monkeypatch.setattr(Reader, "read", answered)
    assert run(config).state == "written"
    assert run(config).state == "up to date"


def test_evaluate_reads_the_output(config, tiny_collection, tmp_path):
    run(config)
    first = lines_of(config.output)[0]
    queries = lines_of(tiny_collection / "queries.jsonl")
    for query in queries:
        query["answers"] = [first["prediction"] if query["_id"] == first["query_id"] else "no such words"]
    folder = tmp_path / "asked"
    (folder / "qrels").mkdir(parents=True)
    (folder / "queries.jsonl").write_text("".join(json.dumps(query) + "\n" for query in queries))
    (folder / "qrels" / "test.tsv").write_bytes((tiny_collection / "qrels" / "test.tsv").read_bytes())
    measured = evaluate(
        EvaluateConfig(predictions=(config.output,), answers=f"{folder}:test", metrics="EM F1")
    ).as_json()
    same = sum(line["prediction"] == first["prediction"] for line in lines_of(config.output)[:1])
    assert measured["runs"][0]["mean"]["EM"] >= same / len(lines_of(config.output)) > 0


def test_validate_holds_answers_against_what_they_were_read_from(config, model_of, tiny_collection, tmp_path):
    run(config)

    def found(*others):
        words = tuple(map(str, (config.output, *others)))
        return validate(ValidateConfig(paths=words))

    fits = found(config.queries, config.run, config.model)
    assert fits.exit_code == 0, fits.render()
    said = [finding.text for finding in fits.findings if finding.about == str(config.output)]
    assert said == [
        "answers of 6 questions, 14 passages",
        f"answer the questions of {config.queries}",
        f"were read in the passages of {config.queries}",
        f"were read in the hits of {config.run}",
        f"were read by {config.model}",
    ]
    other = tmp_path / "other.trec"
    other.write_text(config.run.read_text().replace(" x\n", " y\n", 1))
    for wrong, said in (
        (f"{tiny_collection}:dev", "no answers to the questions of .*read again"),
        (other, "were not read in the hits of .*read again"),
        (model_of(bi_layers=2), "were not read by .*read again"),
    ):
        result = found(wrong)
        assert (result.exit_code, len(re.findall(said, result.render()))) == (5, 1), result.render()
    config.output.write_bytes(config.output.read_bytes().replace(b"q-", b"r-", 1))
    assert found().exit_code == 5


def test_a_run_read_in_a_named_form_is_another_input(config):
    plain, named = (run(replace(config, dry_run=True, run_format=form)) for form in ("auto", "trec"))
    assert plain.fingerprint != named.fingerprint


def test_what_is_refused(config, tiny_model, tiny_collection, tmp_path):
    with pytest.raises(UsageError, match="shared cannot read; methods that can: reatt"):
        run(replace(config, model=str(tiny_model)))
    with pytest.raises(
        UsageError, match="--depth 4: .* holds at most 3 hits for a question; search with --hits 4"
    ):
        run(replace(config, depth=4))
    with pytest.raises(DataError, match=r"none of the 6 questions of .*:dev is in --run"):
        run(replace(config, queries=f"{tiny_collection}:dev"))
    lines = config.run.read_text()
    config.run.write_text(lines.replace(lines.split()[2], "nowhere", 1))
    with pytest.raises(VerificationError, match="passage 'nowhere' is not in the corpus"):
        run(config)
    config.run.write_text("")
    with pytest.raises(DataError, match="holds no hits; search again"):
        run(config)
