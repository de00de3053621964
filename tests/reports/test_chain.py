"""The walk from a number to its model, and what lies behind the model."""

from __future__ import annotations

import json

from dretrieve.models.places import find_model, read_card
from dretrieve.reports.artefacts import Library
from dretrieve.reports.chain import walk
from dretrieve.store.stage import Stage, open_artefact


def names(items):
    return sorted(f"{item.stage} {item.name}" for item in items)


def test_from_metrics_to_the_training(work):
    work.system("dpr", "dpr", [1, 0])
    chain = walk(Library.scan(work.folder), work.folder / "metrics/dpr.json")
    assert names(chain.near) == [
        "encode embeddings/dpr/shard-00000-of-00001",
        "evaluate metrics/dpr.json",
        "model models/dpr/card.json",
        "search runs/dpr.trec",
        "train models/dpr",
    ]
    assert (chain.behind, chain.faults, chain.loose) == ([], [], [])


def test_what_the_training_stood_on_is_behind(work):
    """A first model, negatives mined with it, a second model: only the second made the number."""
    work.model("first", "dpr")
    work.run("first", "first")
    mined = work.negatives("p2", "first")
    work.model("second", "taser", examples=mined)
    work.run("second", "second")
    path = work.metrics("second", [1, 0])
    chain = walk(Library.scan(work.folder), path)
    assert "model models/second/card.json" in names(chain.near)
    assert names(chain.behind) == [
        "encode embeddings/first/shard-00000-of-00001",
        "mine-negatives mined/p2.jsonl",
        "model models/first/card.json",
        "search runs/first.trec",
        "train models/first",
    ]
    assert (
        chain.problems({"model": {"method": "taser"}, "before": {"mine-negatives": {"depth": 100}}}, {}) == []
    )
    assert chain.problems({"model": {"method": "dpr"}}, {}) == [
        "method is 'taser' in models/second/card.json, the row says 'dpr'"
    ]


def test_a_training_set_is_named_by_its_examples_and_its_collection(work):
    work.model("first", "dpr")
    work.run("first", "first")
    mined = work.negatives("p2", "first")
    path = work.model("second", "taser", examples=f"{mined}:{'c' * 64}")
    chain = walk(Library.scan(work.folder), path)
    assert "mine-negatives mined/p2.jsonl" in names(chain.behind)


def test_only_the_chosen_run_of_several_is_followed(work):
    for name, method in (("a", "dpr"), ("b", "shared")):
        work.model(name, method)
        work.run(name, name)
    inputs = {
        f"run {number}": open_artefact(work.folder / f"runs/{name}.trec").fingerprint
        for number, name in ((1, "a"), (2, "b"))
    }
    stage = Stage(work.folder / "both.json", "file", "evaluate", inputs=inputs)
    with stage.write(text=True) as file:
        file.write("{}")
    stage.commit()
    library = Library.scan(work.folder)
    chosen = walk(library, work.folder / "both.json", role="run 2")
    assert [item.name for item in chosen.near if item.stage == "model"] == ["models/b/card.json"]
    assert len([item for item in walk(library, work.folder / "both.json").near if item.stage == "model"]) == 2


def test_inputs_that_are_data_may_stand_elsewhere_others_are_named(work):
    work.system("dpr", "dpr", [1, 0])
    work.fused("fused", "dpr")
    chain = walk(Library.scan(work.folder), work.folder / "runs/fused.trec")
    assert chain.loose == [f"the input 'bm25' (bbbbbbbbbbbb…) of runs/fused.trec is not in {work.folder}"]
    assert chain.problems({"model": {"method": "dpr"}}, {}) == []


def test_a_folder_may_be_the_start(work):
    folder = work.model("dpr", "dpr")
    chain = walk(Library.scan(work.folder), folder)
    assert names(chain.near) == ["model models/dpr/card.json", "train models/dpr"]


def test_a_file_without_manifest_is_a_fault(work):
    (work.folder / "x.json").write_text("{}")
    assert walk(Library.scan(work.folder), work.folder / "x.json").faults == [
        f"{work.folder}/x.json has no manifest: it was not made by dretrieve"
    ]


def test_queries_of_another_model_fail(work):
    """The passages are the row's own; the queries were encoded by a model that the row does not name."""
    work.model("dpr", "dpr")
    work.model("shared", "shared")
    work.run("mixed", "dpr", query_model="shared")
    file = work.metrics("mixed", [1, 0])
    chain = walk(Library.scan(work.folder), file)
    assert {item.name for item in chain.near if item.stage == "model"} == {
        "models/dpr/card.json",
        "models/shared/card.json",
    }
    assert chain.problems({"model": {"method": "dpr"}}, {}) == [
        "method is 'shared' in models/shared/card.json, the row says 'dpr'"
    ]
    assert chain.problems({"search": {"hits": 100}}, {}) == []


def test_a_query_model_that_is_gone_or_unnamed_leaves_the_row_unproven(work):
    work.model("dpr", "dpr")
    path = work.model("other", "dpr", seed=2)
    work.run("gone", "dpr", query_model="other")
    work.run("unnamed", "dpr", query_model="")
    files = [work.metrics(name, [1, 0]) for name in ("gone", "unnamed")]
    for file in path.iterdir():
        file.unlink()
    library = Library.scan(work.folder)
    gone, unnamed = (walk(library, file).problems({"model": {"method": "dpr"}}, {}) for file in files)
    assert len(gone) == 1
    assert gone[0].startswith("the input 'query_model' (")
    assert unnamed == ["runs/unnamed.trec does not say which model made its queries; search again"]
    assert walk(library, files[0]).problems({"search": {"hits": 100}}, {}) == []


def test_a_packaged_query_model_is_found_by_its_name(work):
    """A run keeps the name, and its card's fingerprint: that of the package as it is installed."""
    card, _ = read_card(find_model("minilm"))
    inputs = {"passages": "p" * 64, "queries": "q" * 64, "query_model": card.fingerprint("query")}
    for name, extra in (("named", {"model": "minilm"}), ("bare", {})):
        stage = Stage(work.folder / name, "file", "search", options={"hits": 100}, inputs=inputs)
        with stage.write(text=True) as file:
            file.write("run")
        stage.commit(extra=extra)
    library = Library.scan(work.folder)
    named, bare = (walk(library, work.folder / name) for name in ("named", "bare"))
    assert [item.name for item in named.near if item.stage == "model"] == ["minilm"]
    assert [item.name for item in bare.near if item.stage == "model"] == []


def test_conditions_of_a_profile_are_those_of_the_chain(work):
    work.model("dpr", "dpr")
    work.run("gone", "dpr", query_model="")
    file = work.metrics("gone", [1, 0])
    chain = walk(Library.scan(work.folder), file)
    conditions = {"profiles": {"mini": {"model": {"method": "dpr"}}, "else": {"search": {"hits": 100}}}}
    # Who encoded the queries matters only where the row says something of its models.
    assert chain.problems(conditions, {"profile": "paper"}) == []
    assert chain.problems(conditions, {"profile": "mini"}) == [
        "runs/gone.trec does not say which model made its queries; search again"
    ]


def test_hardware_is_what_the_provenance_of_the_embeddings_says(work):
    work.system("dpr", "dpr", [1, 0])
    place = next((work.folder / "embeddings" / "dpr").glob("*.provenance.json"))

    def hardware():
        return walk(Library.scan(work.folder), work.folder / "metrics/dpr.json").hardware

    assert hardware() == ""
    said = json.loads(place.read_bytes())
    said["details"] = {"numerics": {"device": "a processor", "precision": "bf16"}}
    place.write_text(json.dumps(said), encoding="utf-8")
    assert hardware() == "a processor, bf16"
    place.unlink()
    assert hardware() == ""
