"""adapt: its grid is what searches and evaluations give, its file is read by search, what is refused."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from dretrieve.errors import DataError, Interrupted, UsageError, VerificationError
from dretrieve.index import token, token_scan
from dretrieve.jobs import adapt, evaluate, index, search
from dretrieve.reports.metrics_file import one_run
from dretrieve.runs import checkpoint
from dretrieve.runs.read import read_run
from dretrieve.store.interrupt import Signals
from dretrieve.store.manifest import manifest_path, read_manifest
from dretrieve.store.stage import Stage
from dretrieve.types import Vectors, offsets_of
from tests.common import Told

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
        examples=(4,),
        output=tmp_path / "adapt.json",
    )


def evaluated(config: adapt.AdaptConfig, word: str) -> dict[str, float]:
    """Return each query's nDCG@10 of a run by that alignment."""
    run = config.output.with_name(f"{config.output.stem}.{Path(word).name}.trec")
    search.run(
        search.SearchConfig(
            index=config.index,
            query_embeddings=config.query_embeddings,
            output=run,
            settings={**config.settings, "alignment": word},
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
    about = found["folds"]["adapted"]
    assert about["num_folds"] == len(about["each"]) == 4
    for fold in about["each"]:
        inside = set(fold["examples"])
        worth = {word: sum(values[word][query] for query in inside) for word in WORDS}
        assert worth[fold["alignment"]] == pytest.approx(max(worth.values()), abs=1e-12)
        outside = [values[fold["alignment"]][query] for query in labelled - inside]
        assert fold["outside"] == pytest.approx(np.mean(outside), abs=1e-12)
    outside = [fold["outside"] for fold in about["each"]]
    assert about["mean"] == pytest.approx(np.mean(outside))
    assert about["std"] == pytest.approx(np.std(outside, ddof=1))
    assert set(one_run(config.output, "adapted").by_query("nDCG@10")) == labelled
    for name, by_query in values.items():
        assert one_run(config.output, name).by_query("nDCG@10") == pytest.approx(dict(by_query))
    assert one_run(config.output, "oracle").means["nDCG@10"] == max(found["grid"].values())
    assert found["grid"][found["alignment"]] == max(found["grid"].values())
    assert evaluated(config, str(config.output)) == values[found["alignment"]]
    assert "± " in result.render()
    assert f"--hits 10 --set alignment={config.output}" in result.render()
    assert about["std"] == about["stds"][0]
    assert len(about["stds"]) == adapt.DRAWS
    assert np.ptp(about["stds"]) > 0
    assert adapt.run(config).state == "up to date"
    again = replace(config, output=config.output.with_name("again.json"))
    adapt.run(again)
    assert again.output.read_bytes() == config.output.read_bytes()


class Killed(BaseException):
    """The end of a process that nothing catches."""


@pytest.fixture
def visited(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The first row of each block that is scored from now on; blocks are small, and each is saved."""
    found: list[int] = []
    visit = token_scan._offer

    def noted(grid, block, *rest) -> None:
        found.append(int(block[0][0]))
        visit(grid, block, *rest)

    monkeypatch.setattr(token_scan, "_offer", noted)
    monkeypatch.setattr(token_scan, "PASSAGE_TOKENS", 40)
    # hours between two looks at the clock, so that it is always time to save
    monkeypatch.setattr(checkpoint, "time", SimpleNamespace(monotonic=count(1e9, 1e4).__next__))
    return found


def killed(config: adapt.AdaptConfig, place: object, name: str, at: int = 1) -> None:
    """Run until the ``at``-th call of that function, which is the end."""
    before, calls = getattr(place, name), count(1)

    def once(*given, **named):
        if next(calls) == at:
            raise Killed
        return before(*given, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(place, name, once)
        with pytest.raises(Killed):
            adapt.run(config)


POINTS = {
    "the first block": (token_scan, "_offer", 1),
    "the second block": (token_scan, "_offer", 2),
    "the fifth block": (token_scan, "_offer", 5),
    "a save": (checkpoint.Checkpoint, "save", 3),
    "the measures": (adapt, "score_relevance", 2),
    "the folds": (adapt, "adapted", 1),
    "the commit": (Stage, "commit", 1),
    "the end": (adapt, "discard_checkpoint", 1),
}


@pytest.mark.parametrize("point", POINTS)
def test_killed_it_goes_on_to_the_same_bytes(config, visited, point: str) -> None:
    folder = config.output.parent
    adapt.run(config)
    whole, blocks, names = config.output.read_bytes(), list(visited), sorted(folder.iterdir())
    manifest = manifest_path(config.output).read_bytes()
    for path in list(folder.glob("*adapt.json*")):
        path.unlink()
    visited.clear()
    killed(config, *POINTS[point])
    done = {"the first block": 0, "the second block": 1, "the fifth block": 4, "a save": 2}
    finished = done.get(point, len(blocks))
    assert len(visited) in (finished, finished + 1)
    visited.clear()
    adapt.run(config)
    assert visited == blocks[finished:], "what was finished is not scored again"
    assert config.output.read_bytes() == whole
    assert manifest_path(config.output).read_bytes() == manifest
    assert sorted(folder.iterdir()) == names, "nothing is left behind"


def test_a_signal_stops_behind_a_block_that_is_not_scored_again(config, monkeypatch) -> None:
    whole = config.output.with_name("whole.json")
    adapt.run(replace(config, output=whole))
    before, scored = token_scan._offer, []
    received: list[Signals] = []

    def visit(grid, block, *rest) -> None:
        scored.append(int(block[0][0]))
        before(grid, block, *rest)
        if len(scored) == 2:
            received[0].set(15)

    monkeypatch.setattr(token_scan, "PASSAGE_TOKENS", 40)
    monkeypatch.setattr(token_scan, "_offer", visit)
    monkeypatch.setattr(
        Signals, "__init__", lambda self: (setattr(self, "received", None), received.append(self))[0]
    )
    with pytest.raises(Interrupted, match="SIGTERM"):
        adapt.run(config)
    state = config.output.with_name("adapt.json.state.json")
    assert json.loads(state.read_bytes())["exit_code"] == 75
    first, stopped = scored
    adapt.run(config)
    assert min(scored[2:]) > stopped > first
    assert config.output.read_bytes() == whole.read_bytes()
    assert not state.exists()


@pytest.mark.parametrize(
    "other", [{"seed": 1}, {"grid": "k=1,2 p=20,50 da,k=2,eps=0.2"}, {"metric": "RR@10"}, {"drop_self": True}]
)
def test_what_another_setting_left_is_not_taken(config, visited, other: dict) -> None:
    given = replace(config, **other)
    whole = config.output.with_name("whole.json")
    adapt.run(replace(given, output=whole))
    killed(config, token_scan, "_offer", 4)
    visited.clear()
    adapt.run(given)
    assert visited[0] == 0
    assert config.output.read_bytes() == whole.read_bytes()


def test_several_sizes_of_folds_are_measured_over_one_search(config, visited) -> None:
    for size in (4, 6):
        adapt.run(replace(config, examples=(size,), output=config.output.with_name(f"{size}.json")))
    once, visited[:] = len(visited) // 2, []
    result = adapt.run(replace(config, examples=(4, 6)))
    assert len(visited) == once
    four, six, both = (
        json.loads(config.output.with_name(f"{name}.json").read_bytes()) for name in (4, 6, "adapt")
    )
    assert both["folds"] == {"adapted": four["folds"]["adapted"], "adapted6": six["folds"]["adapted"]}
    assert both["alignment"] == four["alignment"]
    assert [run["name"] for run in both["runs"]] == ["adapted", "adapted6", "oracle", *WORDS]
    assert both["runs"][1]["per_query"] == six["runs"][0]["per_query"]
    assert "folds of 4 examples\n" in result.render()
    assert "folds of 6 examples\n" in result.render()


def test_one_fold_has_no_standard_deviation(config) -> None:
    result = adapt.run(replace(config, examples=(QUERIES - 3,)))
    found = json.loads(config.output.read_bytes())
    about = found["folds"]["adapted"]
    assert (about["num_folds"], about["std"]) == (1, None)
    assert about["mean"] is not None
    assert "outside one fold of 16 examples, which has no standard deviation" in result.render()
    assert "±" not in result.render()


@pytest.fixture
def indexed(config, monkeypatch, tmp_path: Path):
    """Build an index with codes, and return what adapts over it."""
    monkeypatch.setattr(token, "CODED_TOKENS", 100)

    def build(name: str, built: dict, searched: dict) -> adapt.AdaptConfig:
        place = tmp_path / name
        index.run(index.IndexConfig(embeddings=config.index, type="token", output=place, settings=built))
        return replace(config, index=place, settings=searched, output=tmp_path / f"{name}.json")

    return build


@pytest.mark.parametrize(
    ("built", "searched"),
    [({"keep": 0.5, "fast": False}, {}), ({}, {"mode": "exact"})],
    ids=["pruned, rescored by all tokens", "exact"],
)
def test_where_a_search_is_exact_the_index_changes_nothing(config, indexed, built, searched) -> None:
    adapt.run(config)
    other = indexed("other", built, searched)
    adapt.run(other)
    assert other.output.read_bytes() == config.output.read_bytes()
    mine, theirs = (read_manifest(manifest_path(of.output)) for of in (other, config))
    assert mine.fingerprint == theirs.fingerprint


WAYS = {
    "fast": ({}, {}),
    "neighbours": ({"fast": False}, {"neighbours": 2}),
    "kept": ({"keep": 0.3, "fast": False}, {"rescore": "kept"}),
    "asked": ({"keep": 0.5}, {"ask": 0.4}),
}


@pytest.mark.parametrize("way", WAYS)
def test_by_an_index_each_alignment_finds_what_search_finds(config, indexed, way: str) -> None:
    adapt.run(config)
    given = indexed(way, *WAYS[way])
    assert adapt.run(given).state == "written"
    found = json.loads(given.output.read_bytes())
    for word in WORDS:
        values = evaluated(given, word)
        assert one_run(given.output, word).by_query("nDCG@10") == pytest.approx(values)
        np.testing.assert_allclose(found["grid"][word], np.mean(list(values.values())), rtol=1e-12)
    options = read_manifest(manifest_path(given.output)).options
    assert options.keys() & {"index", "neighbours", "rescore"} == {
        {"fast": "index", "asked": "index", "kept": "rescore"}.get(way, way)
    }
    if way in ("neighbours", "kept"):
        assert found["grid"] != json.loads(config.output.read_bytes())["grid"]
    assert adapt.run(given).state == "up to date"


@pytest.mark.parametrize("way", ["fast", "neighbours", "asked"])
@pytest.mark.parametrize("at", [1, 2, 4])
def test_not_exact_it_goes_on_behind_the_queries_done(
    config, indexed, monkeypatch, way: str, at: int
) -> None:
    """Each query is asked once for the whole grid."""
    monkeypatch.setattr(adapt, "QUERIES_AT_ONCE", 5)
    given = indexed(way, *WAYS[way])
    whole = given.output.with_name("whole.json")
    adapt.run(replace(given, output=whole))
    monkeypatch.setattr(checkpoint, "time", SimpleNamespace(monotonic=count(1e9, 1e4).__next__))
    killed(given, adapt, "search_each", at)
    before, asked = adapt.search_each, []

    def noted(ways, queries, *rest):
        asked.append(len(queries))
        before(ways, queries, *rest)

    monkeypatch.setattr(adapt, "search_each", noted)
    adapt.run(given)
    assert asked == [5, 5, 5, 3][at - 1 :]
    assert given.output.read_bytes() == whole.read_bytes()


@pytest.mark.parametrize("at", [1, 3])
def test_over_the_tokens_kept_it_goes_on_behind_the_passages_done(config, indexed, visited, at: int) -> None:
    given = indexed("kept", *WAYS["kept"])
    whole = given.output.with_name("whole.json")
    adapt.run(replace(given, output=whole))
    blocks, visited[:] = list(visited), []
    assert len(blocks) >= 3
    killed(given, token_scan, "_offer", at)
    visited.clear()
    adapt.run(given)
    assert visited == blocks[at - 1 :], "in one pass for the whole grid"
    assert given.output.read_bytes() == whole.read_bytes()


def test_how_near_to_exact_a_fast_search_is_is_said_of_the_grid(indexed) -> None:
    """Before, of the alignment that the vectors were encoded for; and of all tokens where few ask."""
    given, told = indexed("asked", *WAYS["asked"]), Told()
    adapt.run(replace(given, grid="k=3 p=20"), told)
    (said,) = (line for line in told.lines if "fast search" in line)
    assert said.startswith("top3, the least sure of the grid: fast search; beside exact search: overlap@10 ")
    assert said.endswith(" pieces of passages by top1, top4, p1.5, with all tokens")


def test_a_percentage_that_is_top1_here_is_searched_by_as_top1(indexed) -> None:
    folder = indexed("fast", {}, {}).index
    top1, same, other = (
        token.open_index(folder, settings={"alignment": word}) for word in ("top1", "p5", "p20")
    )
    assert same.tuned == top1.tuned == other.by("p5", folder).tuned
    assert other.tuned != top1.tuned


def test_what_one_pass_left_is_no_number_of_alignments(config, visited) -> None:
    """Where all tokens are kept, those kept score as all: it is one search, whatever it is called."""
    whole = config.output.with_name("whole.json")
    adapt.run(replace(config, output=whole))
    killed(config, token_scan, "_offer", 4)
    adapt.run(replace(config, settings={"rescore": "kept"}))
    assert config.output.read_bytes() == whole.read_bytes()


def test_all_labelled_queries_as_examples_give_the_choice_alone(config) -> None:
    result = adapt.run(replace(config, examples=(QUERIES - 1,)))
    found = json.loads(config.output.read_bytes())
    assert found["folds"]["adapted"]["mean"] is None
    assert found["folds"]["adapted"]["each"][0]["outside"] is None
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
        adapt.run(replace(config, examples=(4, 19)))
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
    queries = texts(QUERIES, 4, 1)
    others = write_embeddings("others", QUERY_IDS, queries, side="query", score="alignment", model="another")
    with pytest.raises(VerificationError, match="passage side another of a model, .* encoded by m;"):
        adapt.run(replace(config, query_embeddings=others))
    with pytest.raises(UsageError, match="--set alignment: .* are those of --grid; give it there"):
        replace(config, settings={"alignment": "top4"})
    with pytest.raises(UsageError, match=r"--output .*choice\.txt: .* let it end in \.json"):
        replace(config, output=tmp_path / "choice.txt")
    with pytest.raises(UsageError, match="--examples: give each size of folds once"):
        replace(config, examples=(4, 4))
    with pytest.raises(UsageError, match="--examples 0: expected a whole number from 1"):
        replace(config, examples=(8, 0))
    with pytest.raises(UsageError, match="--set max_tokens: with --query-embeddings nothing is encoded"):
        adapt.run(replace(config, settings={"max_tokens": 512}))
    adapt.run(config)
    file = json.loads(config.output.read_bytes()) | {"passage_model": "another"}
    config.output.write_text(json.dumps(file))
    with pytest.raises(VerificationError, match=r"another model \(another\) than those of .*dretrieve adapt"):
        evaluated(config, str(config.output))


def test_judged_passages_that_are_not_there_are_said(config) -> None:
    file = Path(config.qrels)
    judged = {line.split()[2] for line in file.read_text().splitlines()}
    file.write_text(f"{file.read_text()}q0 0 elsewhere 1\n")
    told = Told()
    adapt.run(config, told)
    assert f"1 of {len(judged) + 1} relevant passages are not in {config.index}" in told.lines


def test_alignments_that_the_passages_are_too_short_for_are_said(config) -> None:
    told = Told()
    adapt.run(replace(config, grid="k=1,9 p=5,50"), told)
    short, same = told.lines
    assert re.fullmatch(r"alignment top9: \d\d% of the passages have fewer than 9 tokens .*", short)
    assert same.startswith("alignment p5 is top1 here: the longest passage has 12 tokens")


def test_the_command_and_its_dry_run(cli_here, config) -> None:
    words = ["adapt", "--index", config.index, "--query-embeddings", config.query_embeddings]
    words += ["--qrels", config.qrels, "--grid", GRID, "--examples", 4, "--output", config.output]
    assert "by 5 alignments" in cli_here(*words, "--dry-run").out
    assert "next: dretrieve search" in cli_here(*words).out
    assert json.loads(cli_here(*words, "--json").out)["state"] == "up to date"
