"""The walk from a number to its model, and what lies behind the model."""

from __future__ import annotations

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
