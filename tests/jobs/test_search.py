"""search and merge as jobs: bytes independent of shards, threads, indexes, interruptions; every refusal."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dretrieve.errors import Interrupted, PreconditionError, UsageError, VerificationError
from dretrieve.index import exact
from dretrieve.jobs import index as index_job
from dretrieve.jobs import merge, search
from dretrieve.jobs.examples import Example, Hit, render_examples
from dretrieve.jobs.search import SearchConfig
from dretrieve.order import id_ranks, top_k
from dretrieve.runs.checkpoint import checkpoint_path
from dretrieve.runs.read import read_run
from dretrieve.scoring.dot import dot_matrix
from dretrieve.store.interrupt import Signals
from dretrieve.store.manifest import manifest_path, read_manifest
from dretrieve.store.stage import Made
from dretrieve.types import Vectors

ROWS, QUERIES, DIM, HITS = 5000, 15, 12, 40


@pytest.fixture
def work(write_embeddings, tmp_path: Path) -> Path:
    """Passages with many ties in one and in three shards, queries, a flat index over the three."""
    chance = np.random.default_rng(5)
    vectors = np.rint(chance.standard_normal((ROWS, DIM))).astype(np.float16)
    vectors[:, 0] = 3
    asked = np.rint(chance.standard_normal((QUERIES, DIM))).astype(np.float16) + np.float16(0.5)
    ids = [f"p{row * 31 % ROWS}" for row in range(ROWS)]
    write_embeddings("one", ids, vectors)
    folder = write_embeddings("three", ids, vectors, shards=3)
    for old, new in (("three", "one"),):  # the same collection in another cut
        for file in (tmp_path / old).glob("*.manifest.json"):
            text = file.read_text().replace(f"passages of {old}", f"passages of {new}")
            rewritten(file, json.loads(text))
    write_embeddings("queries", [f"q{row}" for row in range(QUERIES)], asked, side="query")
    index_job.run(index_job.IndexConfig(embeddings=folder, output=tmp_path / "index"))
    return tmp_path


def rewritten(path: Path, value: dict) -> None:
    """Write a manifest with that content, so that it is whole."""
    from dretrieve.store.manifest import Manifest, commit

    names = ("stage", "version", "options", "inputs", "counts", "extra")
    commit(path, Manifest(**{name: value[name] for name in names}), value["files"])


def config(work: Path, output: str = "run.trec", **changes) -> SearchConfig:
    settings = {"index": work / "index", "query_embeddings": work / "queries", "hits": HITS}
    return SearchConfig(output=work / output, **{**settings, **changes})


def test_run_is_the_table_of_scores_sorted(work: Path) -> None:
    result = search.run(config(work))
    vectors = np.load(work / "one" / "shard-00000-of-00001.vectors.npy")
    asked = np.load(work / "queries" / "shard-00000-of-00001.vectors.npy")
    ids = (work / "one" / "shard-00000-of-00001.ids.txt").read_text().split()
    scores, ranks = dot_matrix(asked, vectors), id_ranks(ids)
    found = read_run(work / "run.trec")
    assert list(found.query_ids) == [f"q{row}" for row in range(QUERIES)]
    for query in range(QUERIES):
        best = top_k(scores[query], ranks, HITS)
        assert list(found.hits(query)) == [(ids[row], float(scores[query][row])) for row in best]
    assert result.as_json()["hits"] == QUERIES * HITS
    assert "15 queries, 600 hits from 5,000 passages" in result.render()


def test_bytes_do_not_depend_on_index_shards_threads_or_blocks(
    work: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search.run(config(work, "a.trec"))
    search.run(config(work, "b.trec", index=work / "one", threads=3))
    monkeypatch.setattr(exact, "LARGEST_BLOCK", 96)
    search.run(config(work, "c.trec", index=work / "three", threads=2))
    expected = (work / "a.trec").read_bytes()
    assert (work / "b.trec").read_bytes() == expected
    assert (work / "c.trec").read_bytes() == expected
    fingerprints = {read_manifest(manifest_path(work / f"{name}.trec")).fingerprint for name in "abc"}
    assert len(fingerprints) == 1


@pytest.mark.parametrize("count", [1, 2, 5, 9])
def test_shards_merge_to_the_bytes_of_one_search(work: Path, count: int) -> None:
    search.run(config(work))
    parts = []
    for part in range(count):
        search.run(config(work, f"part-{part}.trec", shard=(part, count)))
        parts.append(work / f"part-{part}.trec")
    result = merge.run(merge.MergeConfig(partials=parts[::-1], output=work / "merged.trec"))
    assert result.counts == {"queries": QUERIES, "passages": ROWS, "hits": QUERIES * HITS}
    assert (work / "merged.trec").read_bytes() == (work / "run.trec").read_bytes()
    ours, theirs = (read_manifest(manifest_path(work / name)) for name in ("merged.trec", "run.trec"))
    assert ours.fingerprint == theirs.fingerprint
    assert ours.counts == theirs.counts
    again = search.run(config(work, "merged.trec"))
    assert again.state == "up to date"


def test_compressed_runs(work: Path) -> None:
    search.run(config(work))
    for name in ("run.trec.gz", "run.trec.zst"):
        search.run(config(work, name))
        found, plain = read_run(work / name), read_run(work / "run.trec")
        assert [list(found.hits(q)) for q in range(QUERIES)] == [list(plain.hits(q)) for q in range(QUERIES)]
    first = (work / "run.trec.gz").read_bytes()
    search.run(config(work, "run.trec.gz", force=True))
    assert (work / "run.trec.gz").read_bytes() == first


def test_other_forms(work: Path) -> None:
    search.run(config(work, "run.tsv", form="msmarco", hits=2))
    lines = (work / "run.tsv").read_text().splitlines()
    assert len(lines) == 2 * QUERIES
    assert lines[1].split("\t")[0::2] == ["q0", "2"]


def test_more_hits_than_passages(write_embeddings, work: Path) -> None:
    write_embeddings("few", ["a", "b", "c"], np.ones((3, DIM), np.float16))
    search.run(config(work, index=work / "few"))
    found = read_run(work / "run.trec")
    assert [passage for passage, _ in found.hits(0)] == ["c", "b", "a"]


def test_up_to_date_and_other_options(work: Path) -> None:
    assert search.run(config(work)).state == "written"
    assert search.run(config(work, threads=2)).state == "up to date"
    with pytest.raises(PreconditionError, match=r"holds the result of other options \(hits 40 -> 41\)"):
        search.run(config(work, hits=41))
    assert search.run(config(work, hits=41, force=True)).counts["hits"] == 41 * QUERIES


def test_vectors_that_were_let_go_are_asked_for_only_by_another_search(work: Path) -> None:
    assert search.run(config(work, index=work / "one")).state == "written"
    for folder in ("one", "queries"):
        (vectors,) = (work / folder).glob("*.vectors.npy")
        vectors.unlink()
        with pytest.raises(PreconditionError, match="is missing though"):
            search.run(config(work, index=work / "one"))
        vectors.with_name(vectors.name + ".spent").touch()
    assert search.run(config(work, index=work / "one")).state == "up to date"
    with pytest.raises(PreconditionError, match="was let go when all was made of it; make it again: encode"):
        search.run(config(work, "other.trec", index=work / "one"))


def test_dry_run_writes_nothing(work: Path) -> None:
    result = search.run(config(work, dry_run=True))
    assert result.state == "to do"
    assert "5,000" in result.render()
    assert not (work / "run.trec").exists()


def test_interrupted_search_continues_where_it_stopped(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    search.run(config(work, "whole.trec"))
    monkeypatch.setattr(exact, "LARGEST_BLOCK", 96)
    visited: list[int] = []
    before = exact._Search.visit

    def visit(self, block) -> None:
        visited.append(block.first)
        before(self, block)
        if len(visited) == 3:
            received[0].set(15)

    received: list[Signals] = []
    monkeypatch.setattr(exact._Search, "visit", visit)
    monkeypatch.setattr(
        Signals, "__init__", lambda self: (setattr(self, "received", None), received.append(self))[0]
    )
    with pytest.raises(Interrupted, match="SIGTERM"):
        search.run(config(work))
    assert checkpoint_path(work / "run.trec").exists()
    assert json.loads((work / "run.trec.state.json").read_text())["exit_code"] == 75
    stopped = visited[-1]
    visited[:] = [0] * 3
    search.run(config(work))
    assert min(visited[3:]) > stopped
    assert (work / "run.trec").read_bytes() == (work / "whole.trec").read_bytes()
    assert not checkpoint_path(work / "run.trec").exists()
    assert not (work / "run.trec.state.json").exists()


def test_queries_of_another_dim(write_embeddings, work: Path) -> None:
    folder = write_embeddings("other", ["q"], np.ones((1, DIM + 1)), side="query")
    with pytest.raises(VerificationError, match="have 13 dimensions, the passages in .* have 12"):
        search.run(config(work, query_embeddings=folder))
    assert json.loads((work / "run.trec.state.json").read_text())["state"] == "failed"


def test_passages_given_as_queries_and_queries_as_passages(work: Path) -> None:
    with pytest.raises(VerificationError, match="holds vectors of passages, queries are wanted"):
        search.run(config(work, query_embeddings=work / "one"))
    with pytest.raises(VerificationError, match="holds vectors of queries, passages are wanted"):
        search.run(config(work, index=work / "queries"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"hits": 0}, "--hits 0: expected a whole number from 1"),
        ({"form": "xml"}, "--output-format xml: expected trec or msmarco or tevatron"),
        ({"form": "msmarco", "shard": (0, 2)}, "must keep its scores to be merged"),
        ({"query_embeddings": None}, "give either --queries"),
        ({"queries": "x:test"}, "give either --queries"),
        ({"model": "minilm"}, "--model is for encoding --queries, and --query-embeddings are encoded"),
        ({"corpus": "x"}, "--corpus is where --show finds the texts; give --show N too"),
    ],
)
def test_options_that_do_not_fit(work: Path, changes: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        config(work, **changes)


def test_an_unknown_device(work: Path) -> None:
    with pytest.raises(UsageError, match="--device tpu is unknown"):
        search.run(config(work, device="tpu"))


def test_queries_without_a_model(work: Path, tiny_collection: Path) -> None:
    with pytest.raises(UsageError, match="name the model that encodes --queries with --model"):
        search.run(config(work, query_embeddings=None, queries=f"{tiny_collection}:test"))


def partials(work: Path, count: int) -> list[Path]:
    paths = [work / f"part-{part}-of-{count}.trec" for part in range(count)]
    for part, path in enumerate(paths):
        search.run(config(work, path.name, shard=(part, count)))
    return paths


def merged(work: Path, parts: list[Path]) -> Made:
    return merge.run(merge.MergeConfig(partials=parts, output=work / "merged.trec"))


def test_a_whole_run_is_no_part(work: Path) -> None:
    search.run(config(work))
    with pytest.raises(VerificationError, match="is a whole run, not a part"):
        merged(work, [work / "run.trec"])
    with pytest.raises(UsageError, match="name the partial runs to merge"):
        merged(work, [])
    (work / "other.trec").write_text("q1 Q0 a 1 2.5 bm25\n")
    with pytest.raises(
        PreconditionError, match="other.trec has no manifest beside it.* joined by `cat`, runs"
    ):
        merged(work, [work / "run.trec", work / "other.trec"])


def test_a_part_cut_short(work: Path) -> None:
    parts = partials(work, 2)
    parts[1].write_bytes(parts[1].read_bytes()[:-30])
    with pytest.raises(VerificationError, match="was\\s+truncated or changed"):
        merged(work, parts)


def test_ranks_are_not_merged(work: Path) -> None:
    parts = partials(work, 2)
    config = merge.MergeConfig(partials=parts, output=work / "merged.trec", run_format="msmarco")
    with pytest.raises(UsageError, match=r"ranks \(--run-format msmarco\) cannot be weighed; search again"):
        merge.run(config)
    assert not (work / "merged.trec").exists()


def test_merge_dry_run_and_up_to_date(work: Path) -> None:
    parts = partials(work, 2)
    dry = merge.run(merge.MergeConfig(partials=parts, output=work / "merged.trec", dry_run=True))
    assert (dry.state, dry.as_json()["passages"]) == ("to do", 5000)
    assert not (work / "merged.trec").exists()
    assert merged(work, parts).state == "written"
    assert merged(work, parts).state == "up to date"
    assert "2 partial runs" in merged(work, parts).render()


def test_show_prints_questions_with_their_passages(
    write_embeddings, tiny_collection: Path, tmp_path: Path
) -> None:
    ids = [json.loads(line)["_id"] for line in (tiny_collection / "corpus.jsonl").read_text().splitlines()]
    asked = [
        json.loads(line)["_id"] for line in (tiny_collection / "queries.jsonl").read_text().splitlines()
    ][12:]
    vectors = np.eye(30, dtype=np.float16)[:, :30] + np.float16(0.1)
    queries = np.stack([vectors[ids.index(name.removeprefix("q-"))] for name in asked])
    extra = {"collection": "../tiny", "split": None}
    write_embeddings("emb", ids, vectors, extra=extra)
    write_embeddings("queries", asked, queries, side="query", extra=extra | {"split": "test"})
    result = search.run(config(tmp_path, index=tmp_path / "emb", hits=5, show=3))
    assert [example.query_id for example in result.examples] == [asked[0], asked[2], asked[4]]
    assert result.examples[0].hits[0].id == "bees-2"
    assert result.examples[0].hits[0].title == "bees 2"
    text = result.render()
    assert "? pollen queen" in text
    assert "bees 2" in text
    assert result.as_json()["examples"][0]["hits"][0]["rank"] == 1
    again = search.run(config(tmp_path, index=tmp_path / "emb", hits=5, show=1))
    assert again.state == "up to date"
    assert again.examples[0].hits[0].id == "bees-2"
    tiny_collection.rename(tmp_path / "elsewhere")
    with pytest.raises(PreconditionError, match="say where it is with --corpus DIR"):
        search.run(config(tmp_path, index=tmp_path / "emb", hits=5, show=1))
    elsewhere = str(tmp_path / "elsewhere")
    moved_config = config(tmp_path, index=tmp_path / "emb", hits=5, show=1, corpus=elsewhere)
    moved = search.run(moved_config)
    assert moved.examples[0].hits[0].title == "bees 2"
    with pytest.raises(UsageError, match="passages have no splits, all of them are taken; write --corpus "):
        search.run(replace(moved_config, corpus=f"{moved_config.corpus}:test"))


def test_a_terminal_gets_panels(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    shown = (
        Example(
            "q", "who [b]wrote[/b] dune?", (Hit(1, 0.5, "p1", "Dune", "a novel"), Hit(2, 0.25, "p2", "", "x"))
        ),
    )
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    console = Console(width=60, record=True, file=io.StringIO())
    console.print(render_examples(shown, "the end"))
    text = console.export_text()
    for part in ("who [b]wrote[/b] dune?", "1 0.5000 Dune", "a novel", "2 0.2500 p2", "the end"):
        assert part in text


@pytest.mark.parametrize("kind", ["flat", "token"])
def test_given_vectors_need_no_transformers_and_no_torch(
    work: Path, write_embeddings, root: Path, kind: str
) -> None:
    index, queries = work / "index", work / "queries"
    if kind == "token":
        values = np.random.default_rng(0).standard_normal((5000, 16)).astype(np.float16)
        every = Vectors(values, np.arange(1001) * 5)
        folder = write_embeddings("tokens", [f"p{row}" for row in range(1000)], every, score="maxsim_sum")
        given = {"side": "query", "score": "maxsim_sum"}
        queries = write_embeddings("asked", [f"q{row}" for row in range(8)], every[:8], **given)
        index = work / "by-token"
        index_job.run(index_job.IndexConfig(type="token", embeddings=folder, output=index))
        assert (index / "codes.npy").exists()
    program = f"""
import sys
sys.path[:0] = [{str(root)!r}, {str(root / "cli")!r}]
from dretrieve_cli.app import main
code = main(["search", "--index", {str(index)!r}, "--query-embeddings", {str(queries)!r},
             "--hits", "5", "--output", {str(work / "fresh.trec")!r}, "--quiet"])
print(code, sorted({{"torch", "transformers", "faiss", "pandas"}} & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300)
    assert done.stdout.splitlines()[-1] == "0 []", done.stderr


def test_what_is_shown_colours_no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    from rich.console import Console

    hostile = "\x1b[31mred\x1b]8;;http://x\x07"
    shown = (Example("q", hostile, (Hit(1, 0.5, "p", hostile, hostile),)),)
    monkeypatch.setattr("sys.stdout.isatty", lambda: True, raising=False)
    console = Console(file=io.StringIO(), width=100)
    console.print(render_examples(shown, hostile))
    drawn = console.file.getvalue()
    assert "\x1b" not in drawn
    assert drawn.count("\\x1b[31mred\\x1b]8;;http://x\\x07") == 4
