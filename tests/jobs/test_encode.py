"""encode: shards, resume, refusal, counts; on the tiny collection and on a few thousand rows."""

from __future__ import annotations

import json
import shutil
import signal
from dataclasses import replace

import numpy as np
import pytest

from dretrieve.errors import DataError, Interrupted, PreconditionError, UsageError, VerificationError
from dretrieve.jobs import encode as job
from dretrieve.store import shard_writer
from dretrieve.store.embeddings import Embeddings
from dretrieve.store.manifest import read_manifest


class Heard:
    """A progress that remembers."""

    def __init__(self):
        self.notes, self.done, self.total = [], 0, None

    def start(self, label, total, unit, done=0):
        self.total, self.done = total, done

    def advance(self, units):
        self.done += units

    def note(self, text):
        self.notes.append(text)

    def finish(self):
        pass


def write_corpus(folder, rows, words=6):
    folder.mkdir(parents=True, exist_ok=True)
    topics = "honey bee hive moon tide ocean flour yeast dough rook bishop knight".split()
    with open(folder / "corpus.jsonl", "w", encoding="utf-8") as file:
        for row in range(rows):
            text = " ".join(topics[(row * 7 + place) % 12] for place in range(row % words + 1))
            file.write(json.dumps({"_id": f"p{row}", "title": "", "text": text}) + "\n")
    return folder


@pytest.fixture(scope="session")
def large(tmp_path_factory):
    """4,200 passages: five chunks."""
    return write_corpus(tmp_path_factory.mktemp("large"), 4200)


def config(model, output, **more):
    return job.EncodeConfig(model=str(model), output=output, precision="fp32", device="cpu", **more)


def signal_after_two_chunks(monkeypatch):
    """Send this process a SIGTERM when the second chunk from now on is written."""
    write = shard_writer.ShardWriter.write
    calls = []

    def write_then_signal(self, *words, **named):
        write(self, *words, **named)
        calls.append(1)
        if len(calls) == 2:
            signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr(shard_writer.ShardWriter, "write", write_then_signal)


def arrays(folder):
    return {
        path.name: path.read_bytes()
        for path in sorted(folder.glob("shard-*"))
        if "provenance" not in path.name
    }


def test_passages_and_queries_become_embeddings(tiny_model, tiny_collection, tmp_path):
    heard = Heard()
    result = job.run(config(tiny_model, tmp_path / "emb", corpus=str(tiny_collection)), heard)
    embeddings = Embeddings.open(tmp_path / "emb")
    assert (embeddings.rows, embeddings.vectors.dim, embeddings.side, embeddings.dtype) == (
        30,
        32,
        "passage",
        "float16",
    )
    assert embeddings.ids()[:2] == ["bees-0", "bees-1"]
    assert result.counts["rows"] == heard.done == heard.total == 30
    assert result.state == "encoded"
    assert result.as_json()["texts_per_second"] > 0
    assert any("settings from" in note for note in heard.notes)
    job.run(config(tiny_model, tmp_path / "q", queries=f"{tiny_collection}:test"))
    queries = Embeddings.open(tmp_path / "q")
    assert queries.rows == 6
    assert queries.query_fingerprint is not None
    assert queries.passage_fingerprint == embeddings.passage_fingerprint
    assert embeddings.query_fingerprint is None


def test_the_second_call_is_up_to_date_and_loads_no_weights(
    tiny_model, tiny_collection, tmp_path, monkeypatch
):
    wanted = config(tiny_model, tmp_path / "emb", corpus=str(tiny_collection))
    first = job.run(wanted)
    monkeypatch.setattr(job, "load_model", lambda *_: pytest.fail("weights were loaded"))
    again = job.run(wanted)
    assert (again.state, again.fingerprint, dict(again.counts)) == (
        "up to date",
        first.fingerprint,
        dict(first.counts),
    )
    assert "up to date" in again.render()


@pytest.mark.parametrize("count", [2, 5, 9])
def test_any_number_of_shards_gives_the_same_vectors(tiny_model, large, tmp_path, count):
    job.run(config(tiny_model, tmp_path / "one", corpus=str(large)))
    for index in reversed(range(count)):
        result = job.run(config(tiny_model, tmp_path / "many", corpus=str(large), shard=(index, count)))
    one, many = Embeddings.open(tmp_path / "one"), Embeddings.open(tmp_path / "many")
    assert np.array_equal(one.all_vectors().values, many.all_vectors().values)
    assert one.ids() == many.ids()
    assert one.fingerprint == many.fingerprint
    assert "dretrieve search" in result.render()


def test_an_interrupted_shard_goes_on_at_its_chunk_and_ends_with_the_same_bytes(
    tiny_model, large, tmp_path, monkeypatch
):
    job.run(config(tiny_model, tmp_path / "whole", corpus=str(large)))
    signal_after_two_chunks(monkeypatch)
    broken = config(tiny_model, tmp_path / "broken", corpus=str(large))
    with pytest.raises(Interrupted, match="SIGTERM at a safe point"):
        job.run(broken)
    state = json.loads((tmp_path / "broken" / "shard-00000-of-00001.state.json").read_text())
    assert (state["state"], state["exit_code"]) == ("interrupted", 75)
    heard = Heard()
    result = job.run(broken, heard)
    assert result.computed == 4200 - 2 * 1024
    assert heard.done == 4200
    assert arrays(tmp_path / "broken") == arrays(tmp_path / "whole")


def test_a_signal_is_heard_while_a_resumed_shard_counts_again(tiny_model, large, tmp_path, monkeypatch):
    broken = config(tiny_model, tmp_path / "broken", corpus=str(large))
    with monkeypatch.context() as patch:
        signal_after_two_chunks(patch)
        with pytest.raises(Interrupted):
            job.run(broken)
    count, counted = job._count, []

    def count_then_signal(*words):
        count(*words)
        counted.append(words)
        signal.raise_signal(signal.SIGTERM)

    with monkeypatch.context() as patch:
        patch.setattr(job, "_count", count_then_signal)
        with pytest.raises(Interrupted, match="SIGTERM at a safe point"):
            job.run(broken)
    assert len(counted) == 1, "the second chunk is not counted any more"
    assert job.run(broken).computed == 4200 - 2 * 1024


def test_shards_of_other_options_are_refused_before_computing(tiny_model, large, tiny_collection, tmp_path):
    output = tmp_path / "emb"
    job.run(config(tiny_model, output, corpus=str(large), shard=(0, 2)))
    with pytest.raises(PreconditionError, match=r"other options .*dtype float16 -> float32"):
        job.run(config(tiny_model, output, corpus=str(large), shard=(1, 2), dtype="float32"))
    with pytest.raises(PreconditionError, match=r"cut as N=2 of 4,200 rows, this one is N=3"):
        job.run(config(tiny_model, output, corpus=str(large), shard=(1, 3)))
    with pytest.raises(PreconditionError, match=r"N=2 of 4,200 rows, this one is N=2 of 30"):
        job.run(config(tiny_model, output, corpus=str(tiny_collection), shard=(1, 2)))
    with pytest.raises(PreconditionError, match="--force"):
        job.run(config(tiny_model, output, corpus=str(large), shard=(0, 2), dtype="float32"))


def test_shards_of_another_version_of_the_engine_are_refused(tiny_model, large, tmp_path, monkeypatch):
    from dretrieve.models import packed

    output, now = tmp_path / "emb", packed.ENGINE_VERSION
    shards = [config(tiny_model, output, corpus=str(large), shard=(index, 3)) for index in range(3)]
    job.run(shards[0])
    job.run(shards[1])
    assert job.run(shards[1]).as_json()["state"] == "up to date"
    monkeypatch.setattr(packed, "ENGINE_VERSION", now + 1)
    message = (
        f"shards computed by version {now} of the engine, this one is by version {now + 1} with other bits"
    )
    with pytest.raises(PreconditionError, match=message) as found:
        job.run(shards[2])
    assert found.value.exit_code == 3
    assert job.run(shards[0]).state == "up to date", "what is finished stays"
    with pytest.raises(PreconditionError, match=message):
        job.run(replace(shards[0], force=True))
    monkeypatch.setenv("DRETRIEVE_STALE", "replace")
    assert job.run(shards[1]).state == "up to date"
    assert len(list(output.glob("*.manifest.json"))) == 2
    job.run(shards[2])
    assert [path.name for path in output.glob("*.manifest.json")] == ["shard-00002-of-00003.manifest.json"]


def test_a_shard_is_not_continued_by_another_version_of_the_engine(tiny_model, large, tmp_path, monkeypatch):
    from dretrieve.models import packed

    signal_after_two_chunks(monkeypatch)
    with pytest.raises(Interrupted):
        job.run(config(tiny_model, tmp_path / "emb", corpus=str(large)))
    monkeypatch.setattr(packed, "ENGINE_VERSION", packed.ENGINE_VERSION + 1)
    assert job.run(config(tiny_model, tmp_path / "emb", corpus=str(large))).computed == 4200


def test_in_a_recipes_folder_stale_shards_give_way(tiny_model, large, tmp_path, monkeypatch):
    output = tmp_path / "emb"
    for shard in ((0, 2), (1, 2)):
        job.run(config(tiny_model, output, corpus=str(large), shard=shard))
    monkeypatch.setenv("DRETRIEVE_STALE", "replace")
    assert job.run(config(tiny_model, output, corpus=str(large), shard=(1, 2))).state == "up to date"
    before = arrays(output)
    for more in ({"shard": (1, 2)}, {}):  # a plan, or a report, asks and removes nothing
        job.run(config(tiny_model, output, corpus=str(large), dtype="float32", dry_run=True, **more))
        assert arrays(output) == before
    job.run(config(tiny_model, output, corpus=str(large), shard=(1, 2), dtype="float32"))
    assert not list(output.glob("shard-00000-of-00002.*"))
    with pytest.raises(PreconditionError, match="holds shards cut as N=2 of 4,200 rows, this one is N=1"):
        job.run(config(tiny_model, output, corpus=str(large), dtype="float32"))  # the same vectors
    job.run(config(tiny_model, output, corpus=str(large), shard=(0, 1)))
    assert len(list(output.glob("*.manifest.json"))) == 1
    assert Embeddings.open(output).rows == 4200


def test_tasks_of_an_array_that_begin_at_once_replace_stale_shards_together(
    tiny_model, large, tmp_path, monkeypatch
):
    output = tmp_path / "emb"
    for shard in ((0, 2), (1, 2)):
        job.run(config(tiny_model, output, corpus=str(large), shard=shard))
    monkeypatch.setenv("DRETRIEVE_STALE", "replace")
    # each is removed by another task just before this one reads it
    monkeypatch.setattr(job, "read_manifest", lambda path: path.unlink() or read_manifest(path))
    job.run(config(tiny_model, output, corpus=str(large), shard=(1, 2), dtype="float32"))
    assert [path.name for path in output.glob("*.manifest.json")] == ["shard-00001-of-00002.manifest.json"]


def test_auto_precision_must_come_out_as_for_the_first_shard(tiny_model, large, tmp_path, monkeypatch):
    from dretrieve.encoding import numerics

    output = tmp_path / "emb"
    auto = {"model": str(tiny_model), "output": output, "corpus": str(large), "device": "cpu"}
    monkeypatch.setattr(numerics, "cpu_has_bf16", lambda: True)
    job.run(job.EncodeConfig(**auto, shard=(0, 2)))
    monkeypatch.setattr(numerics, "cpu_has_bf16", lambda: False)
    with pytest.raises(PreconditionError, match="auto means fp32 on this CPU; give --precision bf16"):
        job.run(job.EncodeConfig(**auto, shard=(1, 2)))
    job.run(job.EncodeConfig(**auto, shard=(1, 2), precision="bf16"))
    assert Embeddings.open(output).rows == 4200
    for dry_run in (True, False):  # as a report asks on another machine
        done = job.run(job.EncodeConfig(**auto, shard=(0, 2), dry_run=dry_run))
        assert done.as_json()["state"] == "up to date"
    with pytest.raises(PreconditionError, match="auto means fp32 on this CPU"):
        job.run(job.EncodeConfig(**auto, shard=(0, 2), force=True))


def test_another_models_queries_carry_another_fingerprint(tiny_model, tiny_collection, tmp_path):
    other = tmp_path / "other"
    shutil.copytree(tiny_model, other)
    text = (other / "config.json").read_text().replace('"layer_norm_eps": 1e-12', '"layer_norm_eps": 1e-06')
    (other / "config.json").write_text(text)
    found = []
    for name, model in (("a", tiny_model), ("b", other)):
        job.run(config(model, tmp_path / name, queries=f"{tiny_collection}:test"))
        found.append(Embeddings.open(tmp_path / name).query_fingerprint)
    assert found[0] != found[1]


def test_cut_and_empty_texts_are_counted_and_said(tiny_model, tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    rows = [{"_id": "long", "title": "", "text": "moon " * 90}, {"_id": "empty", "title": "", "text": ""}]
    (folder / "corpus.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    heard = Heard()
    result = job.run(config(tiny_model, tmp_path / "emb", corpus=str(folder)), heard)
    assert (result.counts["truncated"], result.counts["empty"], result.counts["tokens"]) == (1, 1, 66)
    assert "1 passages (50.0%) had more than 64 tokens and were cut" in heard.notes
    assert any("1 of" in note and "passages have no text" in note for note in heard.notes)


def test_a_dry_run_writes_nothing(tiny_model, large, tmp_path):
    result = job.run(config(tiny_model, tmp_path / "emb", corpus=str(large), dry_run=True))
    assert not (tmp_path / "emb").exists()
    found = result.as_json()
    assert found["state"] == "to do"
    assert found["estimate"]["rows"] == 4200
    assert "time" in result.render()


def test_a_dry_run_refuses_what_the_run_refuses(tiny_model, tiny_collection, tmp_path):
    wanted = config(tiny_model, tmp_path / "emb", corpus=str(tiny_collection))
    job.run(wanted)
    other = replace(wanted, dtype="float32")
    for dry_run in (True, False):
        with pytest.raises(PreconditionError, match=r"of other options \(dtype float16 -> float32\)"):
            job.run(replace(other, dry_run=dry_run))
    assert job.run(replace(other, dry_run=True, force=True)).state == "stale"
    assert job.run(replace(wanted, dry_run=True)).state == "up to date"
    assert job.run(replace(wanted, dry_run=True, force=True)).state == "to do"


@pytest.mark.parametrize("sides", [{}, {"corpus": "a", "queries": "b"}])
def test_exactly_one_side(tiny_model, tmp_path, sides):
    with pytest.raises(UsageError, match="exactly one of --corpus DIR and --queries"):
        job.run(config(tiny_model, tmp_path / "emb", **sides))


def test_passages_have_no_splits(tiny_model, tiny_collection, tmp_path):
    with pytest.raises(UsageError, match=r"--corpus .*:test: passages have no splits, .*; write --corpus "):
        job.run(config(tiny_model, tmp_path / "emb", corpus=f"{tiny_collection}:test"))


def test_zero_vectors_are_refused_with_their_ids(tiny_model, tiny_collection, tmp_path):
    import torch
    from transformers import AutoModel

    dead = tmp_path / "dead"
    shutil.copytree(tiny_model, dead)
    module = AutoModel.from_pretrained(tiny_model, add_pooling_layer=False)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.zero_()
    module.save_pretrained(dead)
    with pytest.raises(DataError, match="only zeros .*bees-0"):
        job.run(config(dead, tmp_path / "emb", corpus=str(tiny_collection)))
    assert not list((tmp_path / "emb").glob("*.manifest.json"))


def test_changed_weights_of_a_model_with_a_card_are_refused(tiny_model, tiny_collection, tmp_path):
    from dretrieve.models.plain import read_plain

    ours = tmp_path / "ours"
    shutil.copytree(tiny_model, ours)
    read_plain(ours).card.save(ours)
    with open(ours / "model.safetensors", "r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x55")
    with pytest.raises(
        VerificationError, match=r"model\.safetensors is not the file that card\.json describes"
    ):
        job.run(config(ours, tmp_path / "emb", corpus=str(tiny_collection)))


def test_a_task_of_an_array_without_shard_is_warned(tiny_model, tiny_collection, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_ARRAY_TASK_ID", "1")
    heard = Heard()
    job.run(config(tiny_model, tmp_path / "emb", corpus=str(tiny_collection)), heard)
    assert any("without --shard array/N it encodes everything" in note for note in heard.notes)


def test_the_manifest_is_the_same_wherever_threads_and_paths_are(
    tiny_model, tiny_collection, tmp_path, monkeypatch
):
    found = []
    for name, threads in (("a", "1"), ("b", "2")):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        job.run(config(tiny_model, tmp_path / name, corpus=str(tiny_collection)))
        found.append(read_manifest(tmp_path / name / "shard-00000-of-00001.manifest.json"))
    assert found[0] == found[1]
