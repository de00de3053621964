import json
from dataclasses import replace
from pathlib import Path

import pytest

from dretrieve.errors import DataError, PreconditionError, UsageError, VerificationError
from dretrieve.jobs.evaluate import EvaluateConfig, open_inputs, run, run_names
from dretrieve.metrics.options import RelevanceOptions
from dretrieve.store.manifest import manifest_path, read_manifest
from dretrieve.store.stage import Stage, open_artefact
from dretrieve.text.collection import Collection
from dretrieve.types import Silent
from tests.common import Told


@pytest.fixture
def first_run(tmp_path, tiny_collection):
    """Every test query finds its passage at rank 1, but `tides` at rank 2 and `bread` not at all."""
    lines = []
    for topic in ("bees", "tides", "bread", "chess", "volcano", "printing"):
        order = {"tides": [0, 2, 1], "bread": [0, 1]}.get(topic, [2, 0, 1])
        lines += [f"q-{topic}-2 Q0 {topic}-{part} 0 {3 - place} t" for place, part in enumerate(order)]
    path = tmp_path / "first.trec"
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture
def perfect_run(tmp_path, tiny_collection):
    topics = ("bees", "tides", "bread", "chess", "volcano", "printing")
    path = tmp_path / "perfect.trec"
    path.write_text("".join(f"q-{topic}-2 Q0 {topic}-2 1 1.0 t\n" for topic in topics))
    return path


def measure(tiny_collection, *runs, **changes):
    fields = {"runs": runs, "qrels": f"{tiny_collection}:test", "metrics": "RR R@1"}
    return run(EvaluateConfig(**(fields | changes)))


def test_means_and_queries(tiny_collection, first_run):
    result = measure(tiny_collection, first_run)
    value = result.as_json()
    assert value["measures"] == ["RR", "R@1"]
    assert value["runs"][0]["mean"] == pytest.approx({"RR": 4.5 / 6, "R@1": 4 / 6})
    assert value["runs"][0]["num_queries"] == 6
    assert "per_query" not in value["runs"][0]
    shown = measure(tiny_collection, first_run, per_query=True).as_json()
    assert shown["runs"][0]["per_query"]["q-tides-2"] == {"RR": 0.5, "R@1": 0.0}


def test_default_measures(tiny_collection, first_run):
    assert measure(tiny_collection, first_run, metrics="").measures == ["nDCG@10", "RR@10", "R@100"]


def test_the_qrels_may_be_a_file(tiny_collection, first_run):
    named = measure(tiny_collection, first_run, qrels=str(tiny_collection / "qrels" / "test.tsv"))
    assert named.as_json()["runs"] == measure(tiny_collection, first_run).as_json()["runs"]


def test_the_file_holds_every_query_and_has_a_manifest(tiny_collection, first_run, tmp_path):
    output = tmp_path / "m.json"
    result = measure(tiny_collection, first_run, output=output)
    assert result.state == "measured"
    value = json.loads(output.read_text())
    assert len(value["runs"][0]["per_query"]) == 6
    manifest = open_artefact(output, ("evaluate",))
    assert manifest.counts == {"runs": 1, "queries": 6}
    assert manifest.inputs["run 1"] == value["runs"][0]["fingerprint"]
    assert manifest.options["measures"] == ["RR", "R@1"]
    assert sorted(manifest.inputs) == ["qrels", "run 1"]


def test_again_is_up_to_date_and_equal(tiny_collection, first_run, tmp_path):
    output = tmp_path / "m.json"
    first = measure(tiny_collection, first_run, output=output)
    before = output.stat().st_mtime_ns
    second = measure(tiny_collection, first_run, output=output)
    assert second.state == "up to date"
    assert output.stat().st_mtime_ns == before
    assert second.as_json() == first.as_json()


def test_other_options_need_force(tiny_collection, first_run, tmp_path):
    output = tmp_path / "m.json"
    measure(tiny_collection, first_run, output=output)
    with pytest.raises(PreconditionError, match="holds the result of other options .*measures"):
        measure(tiny_collection, first_run, output=output, metrics="AP")
    assert measure(tiny_collection, first_run, output=output, metrics="AP", force=True).state == "measured"
    first_run.write_text(first_run.read_text().replace("bees-2", "bees-4"))
    with pytest.raises(PreconditionError, match="input run 1"):
        measure(tiny_collection, first_run, output=output, metrics="AP")


def test_a_run_of_ours_counts_by_its_fingerprint_and_is_verified(tiny_collection, first_run, tmp_path):
    path = tmp_path / "ours.trec"
    stage = Stage(path, "file", "search", 1, {"hits": 3}, {"index": "x"})
    with stage.write(text=True) as file:
        file.write(first_run.read_text())
    manifest = stage.commit()
    result = measure(tiny_collection, path)
    assert result.fingerprints == [manifest.fingerprint]
    path.write_text(first_run.read_text().replace("3 t", "4 t"))
    with pytest.raises(VerificationError, match="its bytes were changed"):
        measure(tiny_collection, path)


def test_compare_two_runs(tiny_collection, first_run, perfect_run):
    result = measure(tiny_collection, first_run, perfect_run, compare=True)
    rows = result.as_json()["comparisons"]
    assert [(row["measure"], row["baseline"], row["run"]) for row in rows] == [
        ("RR", "first", "perfect"),
        ("R@1", "first", "perfect"),
    ]
    assert rows[0]["difference"] == pytest.approx(1.5 / 6)
    assert (rows[0]["wins"], rows[0]["losses"], rows[0]["ties"]) == (2, 0, 4)
    assert "Differences from the baseline" in render_text(result)


def render_text(result):
    from dataclasses import replace

    return replace(result, config=replace(result.config, form="markdown")).render()


def test_what_is_no_mean_is_not_compared_and_that_is_said(tiny_collection, first_run, perfect_run):
    result = measure(tiny_collection, first_run, perfect_run, compare=True, metrics="RR NumRet gm_map")
    assert {row["measure"] for row in result.as_json()["comparisons"]} == {"RR"}
    assert result.as_json()["notes"] == ["NumRet, GMAP: not compared, only means over queries are"]


def test_by_a_field_of_the_queries(tiny_collection, first_run):
    lines = [json.loads(line) for line in (tiny_collection / "queries.jsonl").read_text().splitlines()]
    for line in lines:
        line["kind"] = "sea" if "tides" in line["_id"] else "land"
    (tiny_collection / "queries.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    value = measure(tiny_collection, first_run, by="kind").as_json()["runs"][0]
    assert value["by"]["sea"] == {"RR": 0.5, "R@1": 0.0}
    assert value["macro"]["RR"] == pytest.approx((0.5 + 4 / 5) / 2)
    assert value["mean"]["RR"] == pytest.approx(4.5 / 6)
    with pytest.raises(UsageError, match="no query has the field 'colour' for --by; the fields are kind"):
        measure(tiny_collection, first_run, by="colour")


@pytest.fixture
def questions(tiny_collection):
    """Questions of the test split; the answer to each is a word of its passage, one is a pattern."""
    words = {
        "bees": "wax",
        "tides": "harbour",
        "bread": "zzz",
        "chess": "CASTLE",
        "volcano": " ",
        "printing": "x",
    }
    folder = tiny_collection.parent / "questions"
    folder.mkdir()
    lines = []
    for topic, word in words.items():
        line = {"_id": f"q-{topic}-2", "text": "?", "answers": [word], "split": "test"}
        lines.append(
            line | ({"answers": [r"bo+k\b"], "answers_are_regex": True} if topic == "printing" else {})
        )
    (folder / "queries.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def test_answers_in_passages(tiny_collection, questions, first_run):
    result = run(
        EvaluateConfig(
            runs=(first_run,), answers=f"{questions}:test", corpus=str(tiny_collection), metrics="top1 top3"
        )
    )
    passages = {
        line["_id"]: line["text"].lower()
        for line in map(json.loads, (tiny_collection / "corpus.jsonl").read_text().splitlines())
    }
    wanted = {"bees": "wax", "tides": "harbour", "chess": "castle", "printing": "book"}
    order = {"tides": [0, 2, 1]}
    expected = {1: 0, 3: 0}
    for topic, word in wanted.items():
        parts = order.get(topic, [2, 0, 1])
        for k in expected:
            expected[k] += any(
                word in passages[f"{topic}-{part}"].replace(".", " ").split() for part in parts[:k]
            )
    assert result.scores[0].means() == pytest.approx({"top1": expected[1] / 6, "top3": expected[3] / 6})
    assert 0 < expected[1] <= expected[3] < 6


def test_answers_default_measures_and_fingerprints(tiny_collection, questions, first_run, tmp_path):
    config = EvaluateConfig(
        runs=(first_run,),
        answers=f"{questions}:test",
        corpus=str(tiny_collection),
        output=tmp_path / "m.json",
    )
    assert run(config).measures == ["top1", "top5", "top20", "top100"]
    assert sorted(open_artefact(tmp_path / "m.json").inputs) == ["answers", "corpus", "run 1"]


def test_answers_without_passages(questions, first_run):
    with pytest.raises(UsageError, match=r"has no passages; name those that were searched: --corpus DIR"):
        run(EvaluateConfig(runs=(first_run,), answers=f"{questions}:test"))


def test_passages_have_no_splits(tiny_collection, questions, first_run):
    corpus = f"{tiny_collection}:test"
    with pytest.raises(UsageError, match="passages have no splits, all of them are taken; write --corpus "):
        run(EvaluateConfig(runs=(first_run,), answers=f"{questions}:test", corpus=corpus))


def test_predictions_of_a_reader(questions, tmp_path):
    """A pattern is matched, and has no F1: left out when no measure is named, else refused."""
    said = {"q-bees-2": "the Wax", "q-tides-2": "the old harbour", "q-printing-2": "Book by book"}
    (tmp_path / "p.json").write_text(json.dumps(said))
    config = EvaluateConfig(
        predictions=(tmp_path / "p.json",), answers=f"{questions}:test", output=tmp_path / "m.json"
    )
    assert run(config, told := Told()).scores[0].means() == pytest.approx({"EM": 2 / 6})
    assert told.lines[0].endswith("of 1 of 6 questions are patterns; EM alone is measured")
    assert open_artefact(tmp_path / "m.json").version == 2
    for dry_run in (False, True):
        with pytest.raises(UsageError, match="answers of 1 of 6 questions are patterns; give --metrics EM"):
            run(replace(config, metrics="EM F1", output=None, dry_run=dry_run))
    path = questions / "queries.jsonl"
    path.write_text("".join(line for line in path.read_text().splitlines(True) if "regex" not in line))
    found = run(replace(config, output=None))
    assert found.scores[0].means() == pytest.approx({"EM": 1 / 5, "F1": (1 + 2 / 3) / 5})


def test_predictions_for_questions_without_answers_are_refused(tiny_collection, tmp_path):
    (tmp_path / "p.json").write_text(json.dumps({"q-bees-2": "wax"}))
    with pytest.raises(DataError, match="has the key 'answers'"):
        run(EvaluateConfig(predictions=(tmp_path / "p.json",), answers=f"{tiny_collection}:test"))


def test_dry_run_reads_no_run_and_writes_nothing(tiny_collection, first_run, tmp_path):
    output = tmp_path / "m.json"
    result = measure(tiny_collection, first_run, output=output, dry_run=True)
    assert result.render() == (
        f"to do: read {first_run}, {tiny_collection / 'qrels' / 'test.tsv'}; measure RR R@1; write {output}"
    )
    assert not output.exists()
    measure(tiny_collection, first_run, output=output)
    done = measure(tiny_collection, first_run, output=output, dry_run=True)
    assert done.state == "up to date"
    assert done.fingerprint == read_manifest(manifest_path(output)).fingerprint


RUN = Path("r.trec")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"qrels": "x"}, "give --run RUN (once or several times), or --predictions FILE"),
        ({"runs": (RUN,), "predictions": (RUN,), "answers": "x"}, "give --run RUN"),
        ({"runs": (RUN,)}, "give either --qrels DIR:split (judgements) or --answers DIR:split"),
        ({"runs": (RUN,), "qrels": "x", "answers": "y"}, "give either --qrels"),
        ({"predictions": (RUN,), "qrels": "x"}, "--predictions needs --answers DIR:split"),
        ({"runs": (RUN,), "qrels": "x", "corpus": "y"}, "--corpus goes with --answers and --run"),
        ({"predictions": (RUN,), "answers": "x", "corpus": "y"}, "--corpus goes with --answers and --run"),
        ({"runs": (RUN,), "qrels": "x", "compare": True}, "--compare needs two runs or more"),
        (
            {
                "runs": (RUN, RUN),
                "qrels": "x",
                "compare": True,
                "options": RelevanceOptions(retrieved_only=True),
            },
            "--compare needs the same queries in all runs; leave --retrieved-only out",
        ),
        (
            {"runs": (RUN,), "answers": "x", "options": RelevanceOptions(drop_self=True)},
            "--depth, --drop-self, --judged-only and --retrieved-only go with --qrels",
        ),
        ({"runs": (RUN,), "qrels": "x", "form": "html"}, "--format html: expected terminal or markdown"),
        ({"runs": (RUN,), "qrels": "x", "metrics": "wibble top20"}, "wibble, top20 are no measures"),
        ({"runs": (RUN,), "answers": "x", "metrics": "nDCG@10"}, "nDCG@10 is no measure of answers"),
    ],
)
def test_options_that_do_not_fit(fields, message):
    with pytest.raises(UsageError) as caught:
        run(EvaluateConfig(**fields))
    assert message in str(caught.value)


def test_names_stay_short_while_they_differ():
    def names(*paths):
        return run_names([Path(path) for path in paths])

    assert names("work/bm25.trec", "work/dense.trec.gz") == ["bm25", "dense"]
    assert names("a/run.trec", "a/run.tsv") == ["run.trec", "run.tsv"]
    assert names("a/run.trec", "b/run.trec") == ["a/run.trec", "b/run.trec"]


@pytest.mark.parametrize("form", ["terminal", "markdown", "latex", "tsv", "json"])
def test_every_format_shows_the_value(tiny_collection, first_run, form):
    import io

    from rich.console import Console

    shown = measure(tiny_collection, first_run, form=form).render()
    if form == "terminal":
        console = Console(file=io.StringIO(), width=100)
        console.print(shown)
        shown = console.file.getvalue()
    assert "0.75" in shown


def measured(tmp_path, runs, forms=(), **changes):
    """Return the first run's values against one relevant passage ``d1`` of each of 100 queries."""
    qrels = tmp_path / "qrels.txt"
    qrels.write_text("".join(f"q{row} 0 d{row}_1 1\n" for row in range(100)))
    paths = []
    for number, text in enumerate(runs):
        paths.append(tmp_path / f"run-{number}.tsv")
        paths[-1].write_text(text)
    fields = {"qrels": str(qrels), "metrics": "RR@10", "run_format": tuple(forms)}
    result = run(EvaluateConfig(runs=tuple(paths), **(fields | changes)))
    return [one["mean"]["RR@10"] for one in result.as_json()["runs"]]


RANKS = [f"q{row}\td{row}_{rank}\t{rank}\n" for row in range(100) for rank in range(1, 11)]


def test_ranks_with_a_missing_line_are_asked_about_and_never_reversed(tmp_path):
    assert measured(tmp_path, ["".join(RANKS)]) == [1.0]
    holed = "".join(line for line in RANKS if line != "q7\td7_1\t1\n")
    with pytest.raises(DataError, match=r"line 71: .* here is 2 where the query's rank 1 was due"):
        measured(tmp_path, [holed])
    assert measured(tmp_path, [holed], ["msmarco"]) == [pytest.approx(0.99)]
    assert measured(tmp_path, [holed], ["tevatron"]) == [pytest.approx(0.1 + 0.0, abs=0.002)]


def test_each_run_has_its_own_form_or_all_have_one(tmp_path):
    trec = "".join(f"q{row} Q0 d{row}_1 1 2.5 t\n" for row in range(100))
    assert measured(tmp_path, [trec, "".join(RANKS)], ["trec", "msmarco"]) == [1.0, 1.0]
    assert measured(tmp_path, ["".join(RANKS)] * 2, ["msmarco"]) == [1.0, 1.0]
    with pytest.raises(UsageError, match="--run-format is given 3 times for 2 runs"):
        measured(tmp_path, [trec, trec], ["trec"] * 3)
    with pytest.raises(UsageError, match="--run-format goes with --run"):
        run(EvaluateConfig(predictions=(tmp_path / "p",), answers="x", run_format=("trec",)))


def test_the_form_is_part_of_what_a_result_was_made_with(tmp_path):
    assert measured(tmp_path, ["".join(RANKS)], output=tmp_path / "m.json") == [1.0]
    with pytest.raises(PreconditionError, match="run_format"):
        measured(tmp_path, ["".join(RANKS)], ["tevatron"], output=tmp_path / "m.json")


@pytest.mark.parametrize("text", ["", "# nothing was found\n", "{}"])
def test_a_run_without_hits_measures_zero_and_says_so(tiny_collection, tmp_path, text):
    empty = tmp_path / "empty.trec"
    empty.write_text(text)
    value = measure(tiny_collection, empty).as_json()["runs"][0]
    assert value["mean"] == {"RR": 0.0, "R@1": 0.0}
    assert value["num_queries"] == 6
    assert "run empty holds no hits at all" in value["notes"]
    answers = {"qrels": None, "answers": f"{tiny_collection}:test", "metrics": "top1"}
    if Collection.open(f"{tiny_collection}:test").queries().answers[0]:
        assert measure(tiny_collection, empty, **answers).as_json()["runs"][0]["mean"] == {"top1": 0.0}


def test_what_is_opened(tiny_collection, tmp_path):
    (tmp_path / "r").write_text("q Q0 d 1 1 t\n")
    inputs = open_inputs(EvaluateConfig(runs=(tmp_path / "r",), qrels=f"{tiny_collection}:dev"), Silent())
    assert sorted(inputs.fingerprints) == ["qrels", "run 1"]
    assert inputs.queries is None
    assert inputs.corpus is None


def test_a_run_compared_with_itself_differs_nowhere(tmp_path):
    path = tmp_path / "r.trec"
    path.write_text("q1 Q0 d1 1 1 t\n")
    qrels = tmp_path / "qrels.tsv"
    qrels.write_text("q1\td1\t1\nq2\td1\t1\n")
    found = run(EvaluateConfig(runs=(path, path), qrels=str(qrels), metrics="RR", compare=True))
    assert [(one.ties, one.difference) for one in found.comparisons] == [(2, 0.0)]
