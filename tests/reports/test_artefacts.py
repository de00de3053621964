"""Everything below a work folder is found by the names that others call it by."""

from __future__ import annotations

from dretrieve.reports.artefacts import Library, card_names
from dretrieve.store.card import ModelCard
from dretrieve.store.embeddings import Embeddings
from dretrieve.store.fingerprint import sha256_file
from dretrieve.store.stage import open_artefact


def stages(found):
    return sorted(each.stage for each in found)


def test_each_artefact_is_found_by_every_name_it_has(work):
    work.system("dpr", "dpr", [1, 0])
    library = Library.scan(work.folder)
    run = work.folder / "runs/dpr.trec"
    assert stages(library.named(open_artefact(run).fingerprint)) == ["search"]
    assert stages(library.named(sha256_file(run))) == ["search"]
    assert stages(library.named(Embeddings.open(work.folder / "embeddings/dpr").fingerprint)) == ["encode"]
    card = ModelCard.load(work.folder / "models/dpr")
    assert stages(library.named(card.fingerprint("passage"))) == ["model"]
    assert library.named("0" * 64) == []
    assert sorted({each.name for each in library.by_path.values()}) == [
        "embeddings/dpr/shard-00000-of-00001",
        "metrics/dpr.json",
        "models/dpr",
        "models/dpr/card.json",
        "runs/dpr.trec",
    ]


def test_a_card_leads_to_the_training_beside_it(work):
    work.model("dpr", "dpr")
    library = Library.scan(work.folder)
    card = library.by_path[work.folder / "models/dpr/card.json"]
    assert stages(library.named(card.inputs["training"])) == ["train"]


def test_a_packaged_model_outside_the_folder_is_found_by_the_name_in_the_embeddings(work, monkeypatch):
    from dretrieve.reports import artefacts

    folder = work.model("outside", "shared")
    card = ModelCard.load(folder)
    monkeypatch.setattr(artefacts, "PACKAGED", {"minilm": ("package", "distribution")})
    monkeypatch.setattr(artefacts, "find_model", lambda name: folder)
    item = artefacts.Artefact(work.folder / "x", "encode", {"extra": {"model": "minilm"}}, {}, "x")
    library = Library.scan(work.folder / "nowhere")
    assert [each.name for each in library.model_of(item, card.fingerprint("passage"))] == ["minilm"]
    assert library.model_of(item, "0" * 64) == []


def test_inference_choices_are_part_of_a_models_name(work):
    from dataclasses import replace

    folder = work.model("m", "ddr")
    card = replace(ModelCard.load(folder), inference={"domain": "a"})
    card.save(folder)
    library = Library.scan(work.folder)
    found = library.by_path[folder / "card.json"]
    other = card.fingerprint("passage", {"domain": "b"})
    assert library.named(other) == []
    assert other in card_names(found, {"domain": "b"})
    assert card_names(found, {"unknown": 1}) == set()


def test_what_cannot_be_read_is_kept_with_its_sentence(work):
    (work.folder / "manifest.json").write_text("{")
    (work.folder / "card.json").write_text("{")
    library = Library.scan(work.folder)
    assert sorted(path.name for path in library.unreadable) == ["card.json", "manifest.json"]
    assert all("cannot be read" in sentence for sentence in library.unreadable.values())
