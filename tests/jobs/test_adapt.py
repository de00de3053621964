"""adapt: its grid is what searches and evaluations give, its file is read by search, what is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dretrieve.errors import DataError, UsageError, VerificationError
from dretrieve.jobs import adapt, evaluate, search
from dretrieve.reports.metrics_file import one_run
from dretrieve.runs.read import read_run
from dretrieve.types import Vectors, offsets_of

PASSAGES, QUERIES, DIM = 60, 19, 8
IDS, QUERY_IDS = [f"p{row}" for row in range(PASSAGES)], [f"q{row}" for row in range(QUERIES)]
GRID = "k=1,3 p=20,50 da,k=2,eps=0.2"
WORDS = ["top1", "top3", "p20", "p50", "da,k=2,eps=0.2"]


def texts(count: int, longest: int, seed: int, weighted: bool = True) -> Vectors:
    chance = np.random.default_rng(seed)
    lengths = chance.integers(1, longest + 1, count)
    values = chance.standard_normal((lengths.sum(), DIM))
    return Vectors(values, offsets_of(lengths), chance.random(lengths.sum()) if weighted else None)


@pytest.fixture
def config(write_embeddings, tmp_path: Path) -> adapt.AdaptConfig:
    """A collection whose judgements are the third and fourth hit by p50, half of them also query ids."""
    passages, queries = texts(PASSAGES, 12, 0), texts(QUERIES, 4, 1)
    write_embeddings("emb", IDS, passages, score="alignment")
    write_embeddings("queries", QUERY_IDS, queries, side="query", score="alignment")
    found = search.run(
        search.SearchConfig(
            index=tmp_path / "emb",
            query_embeddings=tmp_path / "queries",
            output=tmp_path / "labels.trec",
            settings={"alignment": "p50"},
            hits=4,
        )
    )
    run = read_run(found.output)
    lines = [
        f"{run.query_ids[query]} 0 {passage} 1\n"
        for query in range(QUERIES - 1)
        for passage, _ in list(run.hits(query))[2:]
    ]
    (tmp_path / "qrels.txt").write_text("".join(lines))
    return adapt.AdaptConfig(
        index=tmp_path / "emb",
        query_embeddings=tmp_path / "queries",
        qrels=str(tmp_path / "qrels.txt"),
        grid=GRID,
        examples=4,
        output=tmp_path / "adapt.json",
    )


def evaluated(config: adapt.AdaptConfig, word: str) -> dict[str, float]:
    """Return each query's nDCG@10 of a run by that alignment."""
    run = config.output.parent / f"{Path(word).name}.trec"
    search.run(
        search.SearchConfig(
            index=config.index,
            query_embeddings=config.query_embeddings,
            output=run,
            settings={"alignment": word},
            hits=10,
        )
    )
    file = run.with_suffix(".metrics.json")
    options = evaluate.EvaluateConfig(runs=(run,), qrels=config.qrels, metrics="nDCG@10", output=file)
    evaluate.run(options)
    return one_run(file).by_query("nDCG@10")


def test_the_grid_is_what_single_searches_give_and_the_choice_is_searched(config) -> None:
    result = adapt.run(config)
    found = json.loads(config.output.read_bytes())
    values = {word: evaluated(config, word) for word in WORDS}
    assert list(found["grid"]) == WORDS
    for word in WORDS:
        np.testing.assert_allclose(found["grid"][word], np.mean(list(values[word].values())), rtol=1e-12)
    labelled = set(QUERY_IDS[:-1])
    assert found["num_queries"] == len(labelled)
    assert len(found["folds"]) == 4
    for fold in found["folds"]:
        inside = set(fold["examples"])
        worth = {word: sum(values[word][query] for query in inside) for word in WORDS}
        assert worth[fold["alignment"]] == pytest.approx(max(worth.values()), abs=1e-12)
        outside = [values[fold["alignment"]][query] for query in labelled - inside]
        assert fold["outside"] == pytest.approx(np.mean(outside), abs=1e-12)
    outside = [fold["outside"] for fold in found["folds"]]
    assert found["mean"] == pytest.approx(np.mean(outside))
    assert found["std"] == pytest.approx(np.std(outside, ddof=1))
    assert set(one_run(config.output, "adapted").by_query("nDCG@10")) == labelled
    for name, by_query in values.items():
        assert one_run(config.output, name).by_query("nDCG@10") == pytest.approx(dict(by_query))
    assert one_run(config.output, "oracle").means["nDCG@10"] == max(found["grid"].values())
    assert evaluated(config, str(config.output)) == values[found["alignment"]]
    assert "± " in result.render()
    assert adapt.run(config).state == "up to date"
    again = replace(config, output=config.output.with_name("again.json"))
    adapt.run(again)
    assert again.output.read_bytes() == config.output.read_bytes()


def test_all_labelled_queries_as_examples_give_the_choice_alone(config) -> None:
    result = adapt.run(replace(config, examples=QUERIES - 1))
    found = json.loads(config.output.read_bytes())
    assert found["mean"] is None
    assert [run["name"] for run in found["runs"]] == ["oracle", *found["grid"]]
    assert found["grid"][found["alignment"]] == max(found["grid"].values())
    assert "±" not in result.render()


def test_a_hit_that_is_the_query_itself_is_dropped(config, write_embeddings, tmp_path: Path) -> None:
    """Queries with the ids and vectors of passages find themselves first."""
    passages = texts(PASSAGES, 12, 0)
    own = write_embeddings("own", IDS[:8], passages[:8], side="query", score="alignment")
    (tmp_path / "own.txt").write_text("".join(f"p{row} 0 p{row + 20} 1\n" for row in range(8)))
    given = replace(config, query_embeddings=own, qrels=str(tmp_path / "own.txt"), metric="RR@60")
    adapt.run(given)
    adapt.run(replace(given, drop_self=True, output=tmp_path / "dropped.json"))
    kept, dropped = (json.loads((tmp_path / of).read_bytes()) for of in ("adapt.json", "dropped.json"))
    assert all(dropped["grid"][word] > kept["grid"][word] for word in WORDS)


def test_what_does_not_fit_is_refused(config, write_embeddings, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"18 of the 19 queries, and a fold takes 19; label more"):
        adapt.run(replace(config, examples=19))
    (tmp_path / "other.txt").write_text("".join(f"q{row} 0 x{row} 1\n" for row in range(8)))
    with pytest.raises(DataError, match=r"none of the 8 relevant passages of .*'x0'\) is in"):
        adapt.run(replace(config, qrels=str(tmp_path / "other.txt")))
    with pytest.raises(UsageError, match="the mean of one measure"):
        adapt.run(replace(config, metric="nDCG@10 RR@10"))
    with pytest.raises(UsageError, match="'q=3' is none; expected top1"):
        adapt.run(replace(config, grid="q=3"))
    plain = write_embeddings("plain", IDS, texts(PASSAGES, 3, 0, weighted=False), score="maxsim_sum")
    with pytest.raises(UsageError, match="compared by maxsim_sum, where no alignment"):
        adapt.run(replace(config, index=plain))
    flat = write_embeddings("flat", IDS, np.ones((PASSAGES, DIM)))
    with pytest.raises(UsageError, match="an index of type flat, where no alignment"):
        adapt.run(replace(config, index=flat))
    adapt.run(config)
    file = json.loads(config.output.read_bytes()) | {"passage_model": "another"}
    config.output.write_text(json.dumps(file))
    with pytest.raises(VerificationError, match=r"another model \(another\) than those of .*dretrieve adapt"):
        evaluated(config, str(config.output))


def test_the_command_and_its_dry_run(cli_here, config) -> None:
    words = ["adapt", "--index", config.index, "--query-embeddings", config.query_embeddings]
    words += ["--qrels", config.qrels, "--grid", GRID, "--examples", 4, "--output", config.output]
    assert "by 5 alignments" in cli_here(*words, "--dry-run").out
    assert "next: dretrieve search" in cli_here(*words).out
    assert json.loads(cli_here(*words, "--json").out)["state"] == "up to date"
