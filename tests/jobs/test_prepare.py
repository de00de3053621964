"""prepare: every source ends as one collection that any stage can open, or says why not."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from dretrieve.errors import DataError, PreconditionError, UsageError
from dretrieve.jobs.prepare import PrepareConfig, run
from dretrieve.store.manifest import commit, read_manifest
from dretrieve.text.collection import Collection
from dretrieve.text.join_options import JoinOptions
from tests.common import bytes_of, lines, prepared


def test_pydocs(tmp_path: Path) -> None:
    first = prepared("pydocs", tmp_path / "a")
    assert first["state"] == "written"
    assert prepared("pydocs", tmp_path / "a")["state"] == "up to date"
    prepared("pydocs", tmp_path / "b")
    assert bytes_of(tmp_path / "a") == bytes_of(tmp_path / "b")
    collection = Collection.open(f"{tmp_path / 'a'}:test")
    assert collection.corpus().sha256 == first["sha256"]
    assert {split: len(collection.queries(split)) for split in ("train", "dev", "test")} == first["splits"]
    assert collection.unknown_passages(collection.qrels()) == []
    assert first["splits"]["test"] > 100
    assert "PSF" in first["licence"]


def test_pydocs_takes_no_files(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="pydocs takes no further files: leave --corpus"):
        prepared("pydocs", tmp_path / "a", split="dev")


def test_answers_are_patterns_where_that_is_said(tiny_collection: Path, tmp_path: Path) -> None:
    file, output = tmp_path / "curatedtrec-test.qa.csv", tmp_path / "out"
    file.write_text("when\t['Sept?(ember)?']\n")
    prepared(file, output, split="test", regex=True)
    assert Collection.open(f"{output}:test").queries().answers_are_regex == [True]
    with pytest.raises(PreconditionError, match="regex"):
        prepared(file, output, split="test")
    with pytest.raises(DataError, match=r"--regex: no question of .* has answers; leave it out"):
        prepared(tiny_collection, tmp_path / "none", regex=True)
    with pytest.raises(UsageError, match="--regex out"):
        prepared("pydocs", tmp_path / "docs", regex=True)


def test_a_collection_again(tiny_collection: Path, tmp_path: Path) -> None:
    made = prepared(tiny_collection, tmp_path / "copy")
    before, after = Collection(tiny_collection), Collection(tmp_path / "copy")
    assert made["sha256"] == before.sha256 == after.sha256
    assert made["queries_sha256"] == before.queries().sha256
    assert after.splits == ["dev", "test", "train"]
    assert made["counts"]["judgements"] == 18


def test_what_does_not_fit(dpr_file: Callable[[Path], Path], tiny_collection: Path, tmp_path: Path) -> None:
    run_file = lines(tmp_path / "run.trec", "q1 Q0 d1 1 0.5 t")
    qrels = lines(tmp_path / "qrels.txt", "q1 0 d1 1")
    corpus = lines(tmp_path / "c.tsv", "0\tbees\tBees")
    out = tmp_path / "out"
    with pytest.raises(
        DataError,
        match=r"holds run \(run\), from which no collection can be made; give a corpus, queries or",
    ):
        prepared(run_file, out)
    with pytest.raises(DataError, match="give it by --qrels SPLIT=FILE beside a corpus"):
        prepared(qrels, out)
    with pytest.raises(UsageError, match="leave --corpus out, or give .* by --queries"):
        prepared(corpus, out, corpus=lines(tmp_path / "d.tsv", "0\tbees"))
    with pytest.raises(UsageError, match=r"holds corpus\.jsonl already; leave --corpus out"):
        prepared(tiny_collection, out, corpus=corpus)
    with pytest.raises(
        UsageError, match="holds judgements of 'test' already; give --qrels another split name"
    ):
        prepared(tiny_collection, out, qrels=(str(qrels),))
    with pytest.raises(UsageError, match="names the split 'dev' twice"):
        prepared(corpus, out, qrels=(f"dev={qrels}", f"dev={qrels}"))
    with pytest.raises(UsageError, match="'a/b' cannot name a split"):
        prepared(corpus, out, qrels=(f"a/b={qrels}",))
    with pytest.raises(UsageError, match=r"carries its texts; leave --corpus and --queries out"):
        prepared(dpr_file(tmp_path / "d.json"), out, corpus=corpus)
    with pytest.raises(UsageError, match="--output is the source itself"):
        prepared(tiny_collection, tiny_collection)
    with pytest.raises(
        PreconditionError, match="source 'nothing' does not exist; it may be pydocs, beir:NAME"
    ):
        prepared("nothing", out)
    with pytest.raises(UsageError, match="--mirror goes with beir:NAME, dpr:KEY"):
        prepared(corpus, out, mirror="http://x")
    odd = lines(tmp_path / "c.csv", "1,bees")
    for side in ("corpus", "queries"):
        with pytest.raises(DataError, match=r"c.csv, line 1: its columns seem to be parted by commas"):
            prepared(odd, out, **{side: odd})
    with pytest.raises(UsageError, match="--unchecked goes with --mirror URL"):
        prepared(corpus, out, unchecked=True)
    with pytest.raises(DataError, match=r"judges 1 queries that are not in queries\.jsonl"):
        prepared(corpus, out, queries=lines(tmp_path / "q.tsv", "7\thoney"), qrels=(str(qrels),))


def test_outputs_that_are_not_ours_are_left_alone(tiny_collection: Path, tmp_path: Path) -> None:
    corpus = lines(tmp_path / "c.tsv", "0\tbees\tBees")
    before = bytes_of(tiny_collection)
    with pytest.raises(
        PreconditionError, match=r"holds corpus\.jsonl and was not made by prepare; choose another"
    ):
        prepared(corpus, tiny_collection)
    assert bytes_of(tiny_collection) == before


def test_another_source_needs_force_and_leaves_nothing_behind(tiny_collection: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepared(tiny_collection, out)
    corpus = lines(tmp_path / "c.tsv", "0\tbees\tBees")
    with pytest.raises(PreconditionError, match="holds the result of other options"):
        prepared(corpus, out)
    prepared(corpus, out, force=True)
    assert sorted(bytes_of(out)) == ["corpus.jsonl", "manifest.json"]
    assert Collection(out).splits == []


def test_a_failed_run_leaves_no_collection_and_may_be_repeated(tmp_path: Path) -> None:
    corpus = lines(tmp_path / "c.jsonl", {"_id": "1", "title": "", "text": "x"}, "{broken")
    out = tmp_path / "out"
    with pytest.raises(DataError, match=r"c\.jsonl, line 2: not valid JSON"):
        prepared(corpus, out)
    assert not (out / "corpus.jsonl").exists()
    assert json.loads((out / "state.json").read_bytes())["exit_code"] == 4
    lines(corpus, {"_id": "1", "title": "", "text": "x"})
    assert prepared(corpus, out)["state"] == "written"


def test_dry_run_writes_nothing(tiny_collection: Path, tmp_path: Path) -> None:
    for source in ("pydocs", "beir:nq", "dpr:nq-test.qa", "mdb:physics", "hf:mteb/scifact", tiny_collection):
        assert prepared(source, tmp_path / "out", dry_run=True)["state"] == "to do"
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGUSR1])
def test_killed_and_started_again_gives_the_same_bytes(
    cli: Callable, tmp_path: Path, root: Path, number: signal.Signals
) -> None:
    lines(
        tmp_path / "c.jsonl",
        *({"_id": f"d{row}", "title": "t", "text": "word " * 40} for row in range(150_000)),
    )
    cli("prepare", "c.jsonl", "--output", "whole")
    command = [sys.executable, "-m", "dretrieve_cli", "prepare", "c.jsonl", "--output", "broken"]
    env = {"PYTHONPATH": f"{root}:{root / 'cli'}", "DRETRIEVE_CACHE": str(tmp_path / "cache")}
    for pause in (0.6, 0.9, 1.3):
        process = subprocess.Popen(
            command, cwd=tmp_path, env=env, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
        )
        time.sleep(pause)
        process.send_signal(number)
        assert process.wait(timeout=60) in ({-9, 0} if number == signal.SIGKILL else {75, 0, -number})
    for left in (tmp_path / "broken").rglob(".*.tmp-*"):
        os.utime(left, (1, 1))  # as if the kill had been long ago
    cli("prepare", "c.jsonl", "--output", "broken")
    assert bytes_of(tmp_path / "broken") == bytes_of(tmp_path / "whole")


def test_collections_joined_over_one_corpus(tiny_collection: Path, tmp_path: Path) -> None:
    more = tmp_path / "more"
    lines(more / "corpus.jsonl", {"_id": "m1", "title": "Bo", "text": "Born in Rome."})
    where = {"source": f"tiny={tiny_collection}", "output": tmp_path / "joined", "others": (str(more),)}
    first = run(PrepareConfig(**where)).as_json()
    assert first["state"] == "written"
    assert run(PrepareConfig(**where)).state == "up to date"
    made = Collection(tmp_path / "joined")
    assert made.splits == ["tiny-dev", "tiny-test", "tiny-train"]
    assert len(made.corpus()) == len(Collection(tiny_collection).corpus()) + 1
    assert made.corpus().sha256 == first["sha256"]
    again = run(PrepareConfig(**where | {"output": tmp_path / "again"}))
    assert bytes_of(tmp_path / "joined") == bytes_of(tmp_path / "again")
    assert again.extra["sha256"] == first["sha256"]
    lines(more / "corpus.jsonl", {"_id": "m2", "title": "Bo", "text": "Born in Rome."})
    with pytest.raises(PreconditionError, match="input set more"):
        run(PrepareConfig(**where))


def test_what_an_older_version_joined_is_stale(
    tiny_collection: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = lines(tmp_path / "more" / "corpus.jsonl", {"_id": "m1", "title": "Bo", "text": "Born."}).parent
    options = {"output": tmp_path / "joined", "others": (str(more),)}
    prepared(f"tiny={tiny_collection}", **options)
    place = tmp_path / "joined" / "manifest.json"
    manifest = read_manifest(place)
    commit(place, replace(manifest, version=1), manifest.files)
    with pytest.raises(
        PreconditionError, match="other options .stage prepare v1 -> prepare v4.; use --force"
    ):
        prepared(f"tiny={tiny_collection}", **options)
    monkeypatch.setenv("DRETRIEVE_STALE", "replace")
    assert prepared(f"tiny={tiny_collection}", **options)["state"] == "written"
    assert read_manifest(place) == manifest


def test_joining_takes_no_other_sources_and_its_options_need_several(tmp_path: Path) -> None:
    two = {"others": (str(tmp_path / "b"),)}
    with pytest.raises(UsageError, match="collections are joined as they are: leave --corpus"):
        prepared(tmp_path / "a", tmp_path / "out", split="dev", **two)
    with pytest.raises(UsageError, match="--equal similar: expected exact or letters"):
        prepared(tmp_path / "a", tmp_path / "out", join=JoinOptions(equal="similar"), **two)
    with pytest.raises(UsageError, match="--equal and --entities join collections; name several"):
        prepared(tmp_path / "a", tmp_path / "out", join=JoinOptions(entities=("eq",)))
    with pytest.raises(PreconditionError, match="a does not exist"):
        prepared(tmp_path / "a", tmp_path / "out", **two)
    with pytest.raises(UsageError, match="b is one of the joined collections; choose another folder"):
        prepared(tmp_path / "a", tmp_path / "b", **two, force=True)


def test_a_dry_run_refuses_what_the_run_refuses(tiny_collection: Path, tmp_path: Path) -> None:
    """Everything that can be told without a download and without writing; and nothing is written."""
    corpus = lines(tmp_path / "c.tsv", "0\tbees\tBees")
    run_file = lines(tmp_path / "run.trec", "q1 Q0 d1 1 0.5 t")
    plain = lines(tmp_path / "plain" / "queries.jsonl", {"_id": "q", "text": "Who?"}).parent
    foreign = lines(tmp_path / "foreign" / "notes.txt", "mine").parent
    out, two = tmp_path / "out", {"others": (str(plain),)}
    nothing = tmp_path / "nothing"
    cases = [
        (
            tiny_collection,
            out,
            two | {"join": JoinOptions(entities=("eq",))},
            "--entities eq: there is no such",
        ),
        (tiny_collection, out, two | {"join": JoinOptions(entities=("plain",))}, "has no field 'relation'"),
        (tiny_collection, out, {"others": (str(nothing),)}, "nothing does not exist"),
        (corpus, out, {"corpus": run_file}, "leave --corpus out"),
        (corpus, out, {"queries": nothing}, "nothing does not exist"),
        (corpus, out, {"qrels": (f"dev={nothing}",)}, "nothing does not exist"),
        (corpus, out, {"qrels": ("a/b=x",)}, "cannot name a split"),
        ("dpr:nq-test.qa", out, {"corpus": nothing}, "nothing does not exist"),
        (corpus, foreign, {}, "holds notes.txt and was not made by prepare"),
        ("pydocs", foreign, {}, "holds notes.txt and was not made by prepare"),
        ("beir:scifact", foreign, {}, "holds notes.txt and was not made by prepare"),
    ]
    for source, output, options, text in cases:
        for dry_run in (True, False):
            with pytest.raises((UsageError, PreconditionError, DataError), match=text):
                prepared(source, output, dry_run=dry_run, **options)
            if dry_run:
                assert not out.exists()
        shutil.rmtree(out, ignore_errors=True)


def test_a_dry_run_knows_and_keeps_what_stands(tiny_collection: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    prepared(tiny_collection, out)
    before = bytes_of(out)
    assert prepared(tiny_collection, out, dry_run=True)["state"] == "up to date"
    for other in (lines(tmp_path / "c.tsv", "0\tbees\tBees"), "beir:scifact"):
        with pytest.raises(PreconditionError, match="holds the result of other options"):
            prepared(other, out, dry_run=True)
        assert prepared(other, out, dry_run=True, force=True)["state"] == "stale"
    assert bytes_of(out) == before


@pytest.fixture
def towns(tmp_path: Path) -> Path:
    """Three passages: two with entities, one with none."""
    texts = [
        "The river Odra is long. Few ships reach Banu Korel now.",
        "The mills of Sofe Lo stood in 1871.",
        "",
    ]
    rows = [{"_id": f"p{row}", "title": "", "text": text} for row, text in enumerate(texts)]
    return lines(tmp_path / "towns" / "corpus.jsonl", *rows).parent


def test_questions_by_masking(towns: Path, tmp_path: Path) -> None:
    made = prepared(f"cloze:{towns}", tmp_path / "cloze", number=3)
    assert made["state"] == "written"
    assert prepared(f"cloze:{towns}", tmp_path / "cloze", number=3)["state"] == "up to date"
    assert made["sha256"] == Collection(towns).corpus().sha256
    queries = Collection.open(f"{tmp_path / 'cloze'}:train").queries().queries
    assert all("<extra_id_0>" in query.text and len(query.answers) == 1 for query in queries)
    counts, masked = made["counts"], ("masked_names", "masked_dates", "masked_numbers")
    assert sum(counts.get(name, 0) for name in masked) == counts["queries"] == counts["judgements"] == 3
    made = prepared(f"cloze:{towns}", tmp_path / "all", number=9)
    assert made["counts"]["queries"] == 3  # there are three sentences with an entity
    assert made["notes"] == ["3 questions of 9: the passages hold no more to mask"]
    assert made["counts"]["passages_without_a_question"] == 1
    made = prepared(f"spans:{towns}", tmp_path / "spans", number=4)
    assert made["counts"]["masked_spans"] == 4


def test_questions_by_masking_need_their_number_and_a_folder_of_their_own(
    towns: Path, tmp_path: Path
) -> None:
    for source, options in ((f"cloze:{towns}", {}), (str(towns), {"number": 3})):
        with pytest.raises(UsageError, match="--number N goes with one cloze:DIR or spans:DIR"):
            prepared(source, tmp_path / "out", **options)
    with pytest.raises(UsageError, match="is the collection itself; choose another folder"):
        prepared(f"spans:{towns}", towns, number=3)
    with pytest.raises(PreconditionError, match="'nowhere' does not exist"):
        prepared("cloze:nowhere", tmp_path / "out", number=3)
    bare = lines(
        tmp_path / "bare" / "corpus.jsonl", {"_id": "p", "title": "", "text": "no names at all"}
    ).parent
    for kind in ("cloze", "spans"):
        with pytest.raises(DataError, match=f"made by {kind}: none of the 1 passages has what it masks"):
            prepared(f"{kind}:{bare}", tmp_path / "out", number=3)
