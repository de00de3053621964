"""A work folder as recipes leave it, made by the store alone: model, embeddings, run, metrics."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from dretrieve.reports.claims import Finding, find_all
from dretrieve.reports.expected import Expected, Profile
from dretrieve.reports.expected_file import read_expected
from dretrieve.reports.plan import Artefact, Behind
from dretrieve.reports.readings import Place
from dretrieve.reports.verdicts import Judged, judge_all
from dretrieve.store.card import ModelCard, SideCard
from dretrieve.store.embeddings import EmbeddingPlan, Embeddings
from dretrieve.store.fingerprint import sha256_bytes
from dretrieve.store.manifest import manifest_path, read_manifest
from dretrieve.store.shard_writer import ShardWriter
from dretrieve.store.shards import shard_rows
from dretrieve.store.stage import Stage, open_artefact
from dretrieve.types import Vectors, VectorSpec

MEASURE = "Success@20"
Cells, Findings = dict[str, Judged], dict[str, Finding]


class Work:
    """Makes the artefacts of one system after the other."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.sources: dict[Path, list[Path]] = {}
        self.refused: dict[Path, str] = {}
        self.methods: dict[str, str] = {}

    def behind(self, file: Path) -> Behind:
        """What a plan says by which everything is up to date but what is ``refused``."""
        if file in self.refused:
            return Behind(problems=(self.refused[file],))
        near, todo = [], [file]
        while todo:
            path = todo.pop(0)
            todo += self.sources.get(path, [])
            manifest = next(iter(sorted(path.glob("shard-*.manifest.json"))), manifest_path(path))
            name = str(path.relative_to(self.folder))
            near.append(Artefact(name=name, path=manifest, manifest=read_manifest(manifest)))
        return Behind(near=tuple(near))

    @staticmethod
    def edit(recipe: Path, old: str, new: str) -> None:
        """Change what stands in the recipe's expected.yaml."""
        path = recipe / "expected.yaml"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))

    def seeds(self, recipe: Path, *numbers: int) -> None:
        """Give the paper's profile those seeds, each with metrics of its own."""
        self.edit(recipe, "metrics/{row}.json", "metrics/{row}-{seed}.json")
        self.edit(recipe, "paper: {target: paper}", f"paper: {{target: paper, seeds: {list(numbers)}}}")

    def found(self, recipe: Path, profile: str = "paper") -> tuple[Expected, Profile, Cells, Findings]:
        """What the recipe expects at that size, every cell, every claim."""
        expected = read_expected(recipe / "expected.yaml")
        place = self.place(expected, profile)
        judged = judge_all(expected, place)
        return expected, place.profile, judged, find_all(expected, judged, profile)

    def place(self, expected: Expected, profile: str) -> Place:
        """The work folder at that size."""
        return Place(work=self.folder, profile=expected.profiles[profile], behind=self.behind)

    @staticmethod
    def recorded(**profiles: Mapping[str, Mapping[str, object]]) -> str:
        """Lines for expected.yaml that record values: profile to row to table and column to value."""
        about = {"hardware": "CPU", "commit": "abc", "date": "2026-11-20", "seeds": [1]}
        runs = {name: {"runs": [{"about": about, "rows": rows}]} for name, rows in profiles.items()}
        return f"ours: {json.dumps(runs, ensure_ascii=False)}\n"

    def model(
        self,
        name: str,
        method: str,
        seed: int = 1,
        dev: Sequence[float] = (),
        parameters: int = 110,
    ) -> Path:
        """A model folder: weights, the manifest of its training, its card; looks at dev every ten steps."""
        folder = self.folder / "models" / name
        self.methods[name] = method
        options = {"method": method, "seed": seed}
        stage = Stage(folder, "folder", "train", options=options, inputs={"collection": "c" * 64})
        with stage.write("model.safetensors") as file:
            file.write(f"{method} {seed}".encode())
        if dev:
            points = [{"step": 10 * look, "dev": value} for look, value in enumerate(dev)]
            with stage.write("curves.json", text=True) as file:
                file.write(json.dumps({"curve": [{"step": 5, "loss": 1.0}, *points]}))
        stage.commit(counts={"parameters": parameters}, extra={"metric": "RR@10"})
        side = SideCard(files={"model.safetensors": sha256_bytes(f"{method} {seed}".encode())})
        card = ModelCard(
            method=method,
            vectors=VectorSpec(4, "one", "dot"),
            query=side,
            passage=side,
            training={"seed": seed},
        )
        card.save(folder)
        return folder

    def run(self, name: str, model: str) -> Path:
        """Embeddings by that model and a run over them."""
        card = ModelCard.load(self.folder / "models" / model)
        plan = EmbeddingPlan(
            side="passage",
            vectors=card.vectors,
            dtype="float32",
            options={},
            inputs={"collection": "c" * 64, "passage_model": card.fingerprint("passage")},
        )
        place = self.folder / "embeddings" / name
        writer = ShardWriter(place, shard_rows(2, 0, 1), plan)
        if not writer.complete:
            writer.write(["x", "y"], Vectors(np.ones((2, 4), np.float32)))
            writer.commit({"rows": 2})
        inputs = {
            "passages": Embeddings.open(place).fingerprint,
            "queries": "q" * 64,
            "query_model": card.fingerprint("query"),
        }
        path = self.folder / "runs" / f"{name}.trec"
        stage = Stage(path, "file", "search", options={"hits": 100}, inputs=inputs)
        with stage.write(text=True) as file:
            file.write(f"run {name}")
        stage.commit()
        self.sources[path] = [place, self.folder / "models" / model]
        return path

    def fused(self, name: str, dense: str, means: Sequence[float] = ()) -> Path:
        """A run fused from a dense one."""
        path = self.folder / "runs" / f"{name}.trec"
        dense_run = open_artefact(self.folder / "runs" / f"{dense}.trec").fingerprint
        inputs = {"dense": dense_run, "bm25": "b" * 64}
        stage = Stage(path, "file", "fuse-bm25", options={"missing": "min"}, inputs=inputs)
        with stage.write(text=True) as file:
            file.write(f"fused {name}")
        tried = {"measure": "top5", "sets": ["dev"], "alphas": list(range(len(means))), "means": list(means)}
        tuned = {"tuned": tried | {"best": list(means).index(max(means))}} if means else {}
        stage.commit(extra={"alpha": 1.1, **tuned})
        self.sources[path] = [self.folder / "runs" / f"{dense}.trec"]
        return path

    def metrics(
        self,
        name: str,
        values: Sequence[float],
        run: str = "",
        measure: str = MEASURE,
        more: Mapping[str, float] | None = None,
    ) -> Path:
        """What `evaluate` writes for that run; ``more`` are means of other measures."""
        run = run or name
        values = [float(value) for value in values]
        source = open_artefact(self.folder / "runs" / f"{run}.trec").fingerprint
        path = self.folder / "metrics" / f"{name}.json"
        stage = Stage(
            path,
            "file",
            "evaluate",
            options={"measures": [measure]},
            inputs={"run 1": source, "qrels": "r" * 64},
        )
        entry = {
            "name": run,
            "fingerprint": source,
            "num_queries": len(values),
            "mean": {measure: sum(values) / len(values), **(more or {})},
            "notes": [],
            "per_query": {
                f"q{number}": {measure: value, **(more or {})} for number, value in enumerate(values)
            },
        }
        with stage.write(text=True) as file:
            file.write(json.dumps({"measures": [measure], "runs": [entry]}))
        stage.commit()
        self.sources[path] = [self.folder / "runs" / f"{run}.trec"]
        if name in ("dpr", "shared") and self.methods.get(name, name) != name:  # than the row's commands make
            self.refused[path] = f"models/{name} is stale (other: method): the recipe would make it anew"
        return path

    def system(self, name: str, method: str, values: Sequence[float], seed: int = 1) -> Path:
        """All of it: model, run, metrics."""
        self.model(name, method, seed)
        self.run(name, name)
        return self.metrics(name, values)


@pytest.fixture
def work(tmp_path: Path) -> Work:
    """An empty work folder."""
    folder = tmp_path / "work"
    folder.mkdir()
    return Work(folder)


EXPECTED = """
paper: TINY
title: A small paper
reference: Someone 2026
tolerance: {exact: 0.0005, stochastic: 0.02}
profiles:
  mini: {title: small, seeds: [1]}
  paper: {target: paper}
tables:
  t1:
    title: Table 1
    source: Table 1, page 5
    unit: percent
    measure: Success@20
    file: "metrics/{row}.json"
    columns:
      nq: {title: NQ}
    rows:
      dpr:
        title: DPR
        cells: {nq: 50.0}
      shared:
        title: Shared
        cells: {nq: {paper: 61.0, corrected: 60.0, why: "the appendix prints 60.0"}}
      xmoco:
        title: xMoCo
        kind: cited
        source: Yang et al. 2021
        cells: {nq: 82.5}
claims:
  shared-above-dpr:
    says: The shared encoder is above DPR
    relation: above
    left: t1.shared.nq
    right: t1.dpr.nq
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A recipe's folder with an expected.yaml of two measured rows, a cited one and a claim."""
    folder = tmp_path / "recipes" / "tiny"
    folder.mkdir(parents=True)
    (folder / "expected.yaml").write_text(EXPECTED, encoding="utf-8")
    return folder
