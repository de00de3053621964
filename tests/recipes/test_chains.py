"""The conditions of TASER's own expected.yaml: metrics that lie in another's place fill no cell."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from dretrieve.reports.expected_file import read_expected
from dretrieve.reports.recorded import with_measured

EXPECTED = Path(__file__).parents[2] / "recipes" / "taser" / "expected.yaml"
BERT, COCO = "google-bert/bert-base-uncased", "Luyu/co-condenser-wiki"
QUESTIONS = {"nq-test": 100, "nq-dev": 575, "squad-test": 10570}


def filled(judged: dict) -> list[str]:
    return [name for name, one in judged.items() if one.value is not None]


def failed(judged: dict) -> dict[str, str]:
    return {name: "; ".join(one.notes) for name, one in judged.items() if one.verdict == "FAIL"}


@pytest.fixture(scope="module")
def made(tmp_path_factory, taser_work):
    """Both sizes, with every row that a swap is about."""
    folder = tmp_path_factory.mktemp("work")
    small, paper = taser_work(folder / "small", "mini-cpu"), taser_work(folder / "paper", "paper")
    small.bm25()
    paper.bm25()
    small.row("dpr-nosquad", sets=["nq"])
    small.row("dpr")
    paper.row("dpr")
    paper.row("dpr-nosquad", sets=["nq", "trivia", "webquestions", "curatedtrec"])
    for name in ("dpr-mined", "dpr-co-mined", "det-mined", "det-co-mined", "single-dpr", "single-det-mined"):
        paper.row(name)
    return {"mini-cpu": small, "paper": paper}


def test_metrics_in_their_own_places_fill_their_cells(made):
    for work in made.values():
        judged = work.judged()
        assert {name: note for name, note in failed(judged).items() if judged[name].value is None} == {}
    assert len(filled(made["mini-cpu"].judged())) == 3 * 2 * 4 + 2  # rows, sets, tables; Table A1's two
    names = filled(made["paper"].judged())
    for name in ("table1.bm25", "table1.det-co-mined", "table1.dpr-nosquad", "tableA2.dpr-mined"):
        assert {f"{name}.nq", f"{name}.squad"} <= set(names)
    assert {"tableA1.dpr.test", "tableA1.dpr.dev", "tableA1.det-mined.test"} <= set(names)


@pytest.mark.parametrize(
    ("profile", "one", "other", "cells"),
    [
        ("mini-cpu", "dpr.nq-test.1", "dpr.squad-test.1", "table1.dpr.nq table1.dpr.squad r1.dpr.nq"),
        ("mini-cpu", "bm25.nq-test", "bm25.squad-test", "table1.bm25.nq tableA2.bm25.squad"),
        ("mini-cpu", "a1.dpr.nq-dev.1", "a1.dpr.nq-test.1", "tableA1.dpr.dev tableA1.dpr.test"),
        ("mini-cpu", "dpr.nq-test.1", "dpr-nosquad.nq-test.1", "table1.dpr.nq table1.dpr-nosquad.nq"),
        ("paper", "dpr.nq-test.1", "dpr-nosquad.nq-test.1", "table1.dpr.nq table1.dpr-nosquad.nq"),
        ("paper", "dpr.nq-test.1", "a1.dpr.nq-test.1", "table1.dpr.nq tableA1.dpr.test"),
        (
            "paper",
            "det-mined.nq-test.1",
            "a1.det-mined.nq-test.1",
            "table1.det-mined.nq tableA1.det-mined.test",
        ),
        (
            "paper",
            "det-mined.nq-test.1",
            "det-co-mined.nq-test.1",
            "table1.det-mined.nq table1.det-co-mined.nq",
        ),
        (
            "paper",
            "dpr-mined.nq-test.1",
            "dpr-co-mined.nq-test.1",
            "table1.dpr-mined.nq table1.dpr-co-mined.nq",
        ),
    ],
)
def test_swapped_metrics_fail(made, profile, one, other, cells):
    work = made[profile]
    before = filled(work.judged())
    assert set(cells.split()) <= set(before)
    work.swap(one, other)
    try:
        judged = work.judged()
    finally:
        work.swap(one, other)
    assert {name: judged[name].verdict for name in cells.split()} == dict.fromkeys(cells.split(), "FAIL")
    assert [judged[name].value for name in cells.split()] == [None] * len(cells.split())
    assert filled(work.judged()) == before


@pytest.mark.parametrize(
    ("profile", "changes", "row", "given", "cell", "sentence"),
    [
        ("mini-cpu", {}, "dpr", {"sets": ["nq"]}, "table1.dpr.nq", "sets.name is ['nq'] in models/dpr.1"),
        ("paper", {}, "dpr", {"sets": ["nq"]}, "table1.dpr.nq", "sets.name is ['nq'] in models/dpr.1"),
        ("paper", {}, "single-dpr", {"sets": ["nq", "squad"]}, "tableA1.dpr.test", "sets.name is ['nq', 'sq"),
        ("paper", {}, "dpr-co-mined", {"backbone": BERT}, "table1.dpr-co-mined.nq", "source.backbone is"),
        ("paper", {}, "dpr-mined", {"backbone": COCO}, "table1.dpr-mined.nq", "source.backbone is"),
        ("mini-cpu", {"epochs": 2.0}, "dpr", {}, "table1.dpr.nq", "num_train_epochs is 2.0 in models/dpr.1"),
        ("mini-cpu", {"batch": 128}, "dpr", {}, "table1.dpr.nq", "per_device_train_batch_size is 128"),
        (
            "mini-cpu",
            {"sets": {"nq": (0, 1.0), "squad": (512, 1.0)}},
            "dpr",
            {},
            "table1.dpr.nq",
            "sets.sample is [0, 512]",
        ),
        ("mini-cpu", {"passages": 900}, "dpr", {}, "table1.dpr.nq", "counts.passages is 900 in wiki"),
        ("paper", {"source": "wiki"}, "dpr", {}, "table1.dpr.nq", "source is 'wiki' in wiki"),
        (
            "mini-cpu",
            {"questions": QUESTIONS},
            "dpr",
            {},
            "table1.dpr.nq",
            "counts.queries is 100 in metrics",
        ),
    ],
)
def test_under_the_right_name_but_made_otherwise_fails(
    tmp_path, taser_work, profile, changes, row, given, cell, sentence
):
    """The names all fit; what the training, the text or the questions were does not."""
    work = taser_work(tmp_path / "work", profile, **changes)
    work.row(row, **given)
    one = work.judged()[cell]
    assert (one.verdict, one.value) == ("FAIL", None)
    assert any(note.startswith(sentence) for note in one.notes), one.notes


def test_bm25_of_another_backend_is_not_the_papers(tmp_path, taser_work):
    work = taser_work(tmp_path / "work", "paper", bm25="embedded")
    work.bm25()
    assert work.judged()["table1.bm25.nq"].notes == ("backend is 'embedded' in bm25, the row says 'lucene'",)


def test_one_profiles_numbers_are_not_recorded_as_anothers(made):
    """`report --profile mini --work work/taser/mini-cpu --record`: only BM25 is the same at both sizes."""
    expected = read_expected(EXPECTED)
    about = {"hardware": "CPU", "commit": "abc", "date": "2026-11-21"}
    for profile in ("mini", "smoke", "paper"):
        judged = made["mini-cpu"].judged(profile)
        kept = with_measured(replace(expected, ours={}), profile, judged, **about)[profile]
        rows = {name.split(".")[1] for name in kept}
        assert rows == ({"bm25"} if profile == "mini" else set()), profile
        assert judged["table1.dpr.nq"].verdict == "FAIL"
