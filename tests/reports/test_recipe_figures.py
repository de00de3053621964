"""Figures out of the chains behind cells: which there are, what is in them, what leaves them out."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from dretrieve.reports.recipe_figures import recipe_figures
from dretrieve.reports.recipe_page import recipe_page

AT_K = {"top1": 0.2, "top5": 0.4, "top100": 0.9}


def figures(recipe, work):
    expected, profile, judged, findings = work.found(recipe)
    page = recipe_page(expected, profile, judged, findings)
    found = {
        figure.name: ET.fromstring(figure.svg).get("aria-label")
        for figure in recipe_figures(expected, judged)
    }
    assert {figure.name for figure in page.figures} >= set(found)
    return found


def system(work, name, method, **model):
    work.model(name, method, **model)
    work.run(name, name)
    return work.metrics(name, [1, 0], more=AT_K)


def test_nothing_measured_no_figures(recipe, work):
    assert figures(recipe, work) == {}


def test_curves_over_k_and_parameters(recipe, work):
    system(work, "dpr", "dpr", parameters=218_000_000)
    system(work, "shared", "shared", parameters=109_000_000)
    found = figures(recipe, work)
    assert found["at-k-t1-nq-top"] == "NQ, questions answered at k: DPR 0.900; Shared 0.900"
    assert found["parameters-t1-nq"] == "NQ against parameters: DPR 218 50; Shared 109 50"
    assert set(found) == {"at-k-t1-nq-top", "parameters-t1-nq"}


def test_a_cell_that_fails_is_in_no_figure(recipe, work):
    system(work, "dpr", "dpr", parameters=218)
    system(work, "shared", "dpr", parameters=109)  # of another method than its row says
    assert figures(recipe, work) == {}


def test_tables_over_the_same_files_are_drawn_once(recipe, work):
    table = (recipe / "expected.yaml").read_text().partition("tables:\n")[2].partition("claims:")[0]
    again = table.replace("  t1:", "  t2:").replace("Success@20", "top1")
    work.edit(recipe, "claims:", again + "claims:")
    system(work, "dpr", "dpr")
    system(work, "shared", "shared")
    assert set(figures(recipe, work)) == {"at-k-t1-nq-top"}


def test_one_line_for_each_training_its_seeds_as_a_band(recipe, work):
    work.seeds(recipe, 1, 2)
    for seed, end in ((1, 0.5), (2, 0.7)):
        system(work, f"dpr-{seed}", "dpr", seed=seed, dev=(0.3, 0.5, end))
        system(work, f"shared-{seed}", "shared", seed=seed)
    found = figures(recipe, work)
    assert found["training"] == "training: DPR 0.600"


def test_the_search_for_alpha(recipe, work):
    work.model("dense", "dpr")
    work.run("dense", "dense")
    work.fused("dpr", "dense", means=(0.4, 0.6, 0.5))
    work.metrics("dpr", [1, 0])
    expected, _, judged, _ = work.found(recipe)
    (figure,) = recipe_figures(expected, judged)
    assert (figure.name, figure.caption) == ("alpha", "The search for alpha on dev; taken: DPR 1.")
    assert ET.fromstring(figure.svg).get("aria-label") == "alpha: DPR 0.500"
