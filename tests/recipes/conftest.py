"""Work folders of TASER's tables, made by the store alone: their manifests say what the real stages' say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from dretrieve.reports.artefacts import Library
from dretrieve.reports.expected_file import read_expected
from dretrieve.reports.readings import Place
from dretrieve.reports.verdicts import Judged, judge_all
from dretrieve.store.card import ModelCard, SideCard
from dretrieve.store.embeddings import EmbeddingPlan, Embeddings
from dretrieve.store.fingerprint import sha256_bytes
from dretrieve.store.shard_writer import ShardWriter
from dretrieve.store.shards import shard_rows
from dretrieve.store.stage import Stage, open_artefact
from dretrieve.types import Vectors, VectorSpec

EXPECTED = Path(__file__).parents[2] / "recipes" / "taser" / "expected.yaml"
WIKI = "c" * 64
DET = {"router": "det", "num_experts": 2, "every": 3}
MEASURES = ("top1", "top5", "top20", "top100")
ENDINGS = ("", ".manifest.json", ".provenance.json")
COCO = "Luyu/co-condenser-wiki"


@dataclass(frozen=True)
class Size:
    """What a profile gives its trainings, its text and its questions."""

    profile: str
    passages: int
    source: str
    backbone: str
    bm25: str
    epochs: float
    batch: int
    sets: Mapping[str, tuple[int, float]]  # name to sample and weight
    questions: Mapping[str, int]
    single: str = ""


SMALL = Size(
    profile="mini-cpu",
    passages=37055,
    source="nq",
    backbone="minilm",
    bm25="embedded",
    epochs=1.0,
    batch=32,
    sets={"nq": (512, 1.0), "squad": (512, 1.0)},
    questions={"nq-test": 1355, "nq-dev": 575, "squad-test": 10570},
)
PAPER = Size(
    profile="paper",
    passages=21015324,
    source="dpr:psgs_w100",
    backbone="google-bert/bert-base-uncased",
    bm25="lucene",
    epochs=40.0,
    batch=16,
    sets={
        "nq": (0, 1.0),
        "trivia": (0, 1.0),
        "webquestions": (0, 4.0),
        "curatedtrec": (0, 4.0),
        "squad": (0, 1.0),
    },
    questions={"nq-test": 3610, "nq-dev": 8757, "squad-test": 10570},
    single="single-",
)


def commit(
    path: Path, stage: str, options: dict, inputs: dict, counts: dict, extra: dict | None = None
) -> str:
    """Write a one-file artefact; return its fingerprint."""
    one = Stage(path, "file", stage, options=options, inputs=inputs)
    with one.write(text=True) as file:
        file.write(path.name)
    return one.commit(counts=counts, extra=extra or {}).fingerprint


class Work:
    """A work folder of TASER's tables at one size."""

    def __init__(self, folder: Path, size: Size) -> None:
        self.folder, self.size = folder, size
        folder.mkdir()
        text = Stage(folder / "wiki", "folder", "prepare", options={"source": size.source})
        with text.write("corpus.jsonl", text=True) as file:
            file.write("{}")
        text.commit(counts={"passages": size.passages}, extra={"sha256": WIKI})
        index = Stage(
            folder / "bm25", "folder", "index-bm25", options={"backend": size.bm25}, inputs={"corpus": WIKI}
        )
        with index.write("terms.txt", text=True) as file:
            file.write("bees")
        self.index = index.commit().fingerprint

    def search(self, run: str, inputs: dict) -> str:
        """A run; returns its fingerprint."""
        inputs |= {"queries": sha256_bytes(run.encode())}
        return commit(self.folder / "runs" / f"{run}.trec", "search", {"hits": 100}, inputs, {"queries": 1})

    def model(self, name: str, sets: Sequence[str], backbone: str, negatives: Mapping[str, str]) -> ModelCard:
        """A training on those sets, the negatives of some of them mined, and the card beside it."""
        method = "dpr" if "dpr" in name else "taser"
        config = {} if method == "dpr" else DET
        given = [self.size.sets[one.removesuffix("-first")] for one in sets]
        options = {
            "method": method,
            "method_config": config,
            "seed": 1,
            "num_train_epochs": self.size.epochs,
            "per_device_train_batch_size": self.size.batch,
            "sets": [
                {"name": one, "phase": "", "sample": sample, "weight": weight}
                for one, (sample, weight) in zip(sets, given, strict=True)
            ],
        }
        inputs = {f"set {one}": f"{WIKI}:{negatives.get(one, 'b' * 64)}" for one in sets}
        inputs["backbone passage"] = sha256_bytes(backbone.encode())
        folder = self.folder / "models" / name
        weights = f"{name} {sets} {backbone}".encode()
        side = SideCard(files={"model.safetensors": sha256_bytes(weights)})
        stage = Stage(folder, "folder", "train", options=options, inputs=inputs)
        with stage.write("model.safetensors") as file:
            file.write(weights)
        card = ModelCard(
            method=method,
            method_config=config,
            vectors=VectorSpec(4, "one", "dot"),
            query=side,
            passage=side,
            source={"backbone": backbone},
        )
        card.save(folder)
        stage.add("card.json")
        stage.commit(counts={"parameters": 1})
        return card

    def vectors(self, name: str, card: ModelCard) -> dict[str, str]:
        """Embeddings of the text; returns what a search over them names."""
        plan = EmbeddingPlan(
            side="passage",
            vectors=card.vectors,
            dtype="float32",
            options={},
            inputs={"collection": WIKI, "passage_model": card.fingerprint("passage")},
        )
        place = self.folder / "vectors" / name
        writer = ShardWriter(place, shard_rows(2, 0, 1), plan)
        if not writer.complete:
            writer.write(["x", "y"], Vectors(np.ones((2, 4), np.float32)))
            writer.commit({"rows": 2})
        return {"passages": Embeddings.open(place).fingerprint, "query_model": card.fingerprint("query")}

    def row(self, name: str, sets: Sequence[str] = (), backbone: str = "") -> None:
        """A row's model (of a mined row its first round's as well), its runs and measures."""
        single = bool(self.size.single) and name.startswith(self.size.single)
        sets = sets or (["nq"] if single else list(self.size.sets))
        backbone = backbone or (COCO if "-co" in name else self.size.backbone)
        negatives = {}
        if name.endswith("-mined"):
            base = name.removesuffix("-mined")
            first = self.vectors(f"{base}.1", self.model(f"{base}.1", sets, backbone, {}))
            run = self.search(f"{base}.1.nq-train", first)
            place = self.folder / "negatives" / f"{base}.1.nq.jsonl"
            options = {"depth": 100, "num_negatives": 30}
            commit(place, "mine-negatives", options, {"run": run}, {"examples": 1})
            negatives["nq"] = next(iter(open_artefact(place).files.values()))["sha256"]
            sets = [*sets, "nq-first"] if single else sets
        made = self.vectors(f"{name}.1", self.model(f"{name}.1", sets, backbone, negatives))
        for asked in ("nq-dev", "nq-test", "squad-test"):
            run = self.search(f"{name}.1.{asked}", dict(made))
            if asked != "nq-dev":
                self.measure(f"{name}.{asked}.1", f"{name}.1.{asked}", run, self.size.questions[asked])
            if asked.startswith("nq-"):
                place = f"a1.{name.removeprefix('single-')}.{asked}.1"
                if single or not self.size.single:
                    self.measure(place, f"{name}.1.{asked}", run, self.size.questions[asked])

    def bm25(self) -> None:
        """BM25's runs and measures."""
        for asked in ("nq-test", "squad-test"):
            run = self.search(f"bm25.{asked}", {"index": self.index})
            self.measure(f"bm25.{asked}", f"bm25.{asked}", run, self.size.questions[asked])

    def measure(self, place: str, name: str, run: str, questions: int) -> None:
        """What `evaluate` writes of that run."""
        path = self.folder / "metrics" / f"{place}.json"
        values = dict.fromkeys(MEASURES, 0.5)
        options = {"measures": list(MEASURES), "names": [name], "by": None}
        inputs = {"run 1": run, "answers": "a" * 64, "corpus": WIKI}
        stage = Stage(path, "file", "evaluate", options=options, inputs=inputs)
        with stage.write(text=True) as file:
            file.write(json.dumps({"runs": [{"name": name, "mean": values, "per_query": {"q": values}}]}))
        stage.commit(counts={"queries": questions, "runs": 1})

    def judged(self, profile: str = "") -> dict[str, Judged]:
        """Every cell of TASER's expected.yaml, at the size's own profile or at another."""
        expected = read_expected(EXPECTED)
        place = Place(
            work=self.folder,
            profile=expected.profiles[profile or self.size.profile],
            library=Library.scan(self.folder),
        )
        return judge_all(expected, place)

    def swap(self, one: str, other: str) -> None:
        """Exchange two metrics files, manifests and all."""
        for ending in ENDINGS:
            first, second = (self.folder / "metrics" / f"{name}.json{ending}" for name in (one, other))
            shutil.move(first, f"{first}.kept")
            shutil.move(second, first)
            shutil.move(f"{first}.kept", second)


@pytest.fixture(scope="session")
def taser_work() -> Callable[..., Work]:
    """Make an empty work folder of the profile ``mini-cpu`` or ``paper``; other words change its size."""
    sizes = {size.profile: size for size in (SMALL, PAPER)}
    return lambda folder, profile, **changes: Work(folder, replace(sizes[profile], **changes))
