"""Fixtures for all tests: a tiny collection, a tiny real model, the command line, the real collections."""

from __future__ import annotations

import gzip
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

ROOT = Path(__file__).resolve().parent.parent

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
settings.register_profile(
    "dretrieve",
    deadline=None,
    derandomize=True,
    max_examples=50,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
settings.load_profile("dretrieve")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the recipes: their files take minutes, and the last file of one process is not shared.

    Of slow tests the recipes are the longest, but for collections that are encoded: those come last, for
    `.ci/run` begins none when most of its hour is over.
    """

    def rank(item: pytest.Item) -> int:
        recipe = "recipes" in item.path.parts
        if item.get_closest_marker("slow") is None:
            return 0 if recipe else 1
        return 4 if item.get_closest_marker("realdata") is not None else 3 if recipe else 2

    items.sort(key=rank)


def pytest_runtest_setup() -> None:
    """Begin no test after ``$DRETRIEVE_TESTS_UNTIL``, in seconds since 1970: `.ci/run` has an hour in all."""
    if time.time() > float(os.environ.get("DRETRIEVE_TESTS_UNTIL", "inf")):
        pytest.skip("not begun: the time given to these tests was over")


TOPICS = {
    "bees": "honey bee hive nectar pollen queen swarm wax colony flower",
    "tides": "moon tide ocean gravity shore wave current harbour sea ebb",
    "bread": "flour yeast dough oven crust loaf bake knead rise sourdough",
    "chess": "rook bishop knight pawn castle checkmate opening board endgame queen",
    "volcano": "lava magma crater eruption ash basalt vent mountain plate heat",
    "printing": "press ink type paper book letter plate copy edition publisher",
}


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep every cache of the tests inside pytest's own folder."""
    patch = pytest.MonkeyPatch()
    patch.setenv("DRETRIEVE_CACHE", str(tmp_path_factory.mktemp("cache")))
    yield
    patch.undo()


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def script() -> Callable[[str], ModuleType]:
    """``script("recipes/smoke.py")``: a file of this checkout that is in no package, as a module."""

    @cache
    def script(path: str) -> ModuleType:
        spec = importlib.util.spec_from_file_location(f"script_{Path(path).stem}", ROOT / path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[spec.name] = module  # dataclasses look there
        spec.loader.exec_module(module)
        return module

    return script


@pytest.fixture
def generators() -> Iterator[None]:
    """The random generators of a training, in the place of this process's own."""
    from dretrieve.training.device import own_generators

    with own_generators():
        yield


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The real collections: ``../shared/data`` beside the checkout, else ``$DRETRIEVE_DATA``; or skip."""
    beside = ROOT.parent / "shared" / "data"
    if beside.is_dir():
        return beside
    named = os.environ.get("DRETRIEVE_DATA")
    if named and Path(named).is_dir():
        return Path(named)
    pytest.skip("no real collections: neither ../shared/data nor $DRETRIEVE_DATA is a folder")


def tiny_passages() -> list[dict[str, str]]:
    """Return 30 passages: five on each of six topics, each with three of its topic's words in front."""
    passages = []
    for topic, text in TOPICS.items():
        words = text.split()
        for part in range(5):
            turned = words[2 * part :] + words[: 2 * part]
            passages.append(
                {"_id": f"{topic}-{part}", "title": f"{topic} {part}", "text": f"the {' '.join(turned[:6])}."}
            )
    return passages


def write_lines(path: Path, rows: list[dict[str, str]]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


@pytest.fixture
def tiny_collection(tmp_path: Path) -> Path:
    """A BEIR folder: 30 passages, 18 queries (two words of a passage), qrels train, dev and test of 6 each.

    Query ``q-<topic>-<part>`` is made from passage ``<topic>-<part>``, its one relevant passage.
    """
    return build_tiny_collection(tmp_path / "tiny")


@pytest.fixture(scope="session")
def kept_collection(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for models that several tests read; nobody writes into it."""
    return build_tiny_collection(tmp_path_factory.mktemp("kept") / "tiny")


def build_tiny_collection(folder: Path) -> Path:
    """Write the collection of `tiny_collection` into ``folder`` and return it."""
    (folder / "qrels").mkdir(parents=True)
    passages = tiny_passages()
    write_lines(folder / "corpus.jsonl", passages)
    queries = []
    for split, part in (("train", 0), ("dev", 1), ("test", 2)):
        lines = ["query-id\tcorpus-id\tscore"]
        for topic, text in TOPICS.items():
            words = text.split()
            query_id = f"q-{topic}-{part}"
            queries.append({"_id": query_id, "text": f"{words[2 * part]} {words[2 * part + 1]}"})
            lines.append(f"{query_id}\t{topic}-{part}\t1")
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write_lines(folder / "queries.jsonl", queries)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A BERT of 2 layers and 32 dimensions, seeded weights, its own word pieces; its vector is the [CLS]."""
    return build_tiny_model(tmp_path_factory.mktemp("tiny-model"))


def build_tiny_model(folder: Path) -> Path:
    """Write the model of `tiny_model` into ``folder`` and return it."""
    import torch
    from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
    from tokenizers.models import WordPiece
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words = sorted({word for text in TOPICS.values() for word in text.split()} | set(TOPICS) | {"the"})
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,?'"
    pieces = [*special, *words, *letters, *(f"##{letter}" for letter in letters)]
    tokenizer = Tokenizer(WordPiece({piece: row for row, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", pieces.index("[CLS]")), ("[SEP]", pieces.index("[SEP]"))],
    )
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=64, **dict(zip(names, special, strict=True))
    ).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    with torch.random.fork_rng():
        torch.manual_seed(20)
        model = BertModel(config, add_pooling_layer=False)
    model.eval().save_pretrained(folder)
    kinds = {"": "Transformer", "1_Pooling": "Pooling"}
    modules = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds.items()]
    (folder / "modules.json").write_text(json.dumps(modules), encoding="utf-8")
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode": "cls"}', encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def small_t5(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """``small_t5("v1.1", num_layers=4)``: a T5 (or "original") of 4 + 2 layers with 4 heads, random weights.

    It knows the words of the tiny collection, pads with 0 and ends a text with 1.
    """

    @cache
    def make(kind: str = "v1.1", **options: Any) -> Path:
        return build_small_t5(tmp_path_factory.mktemp("small-t5") / "model", kind, **options)

    return make


def build_small_t5(folder: Path, kind: str, **options: Any) -> Path:
    """Write a T5 of `small_t5` into ``folder`` and return it."""
    import torch
    from tokenizers import Tokenizer, pre_tokenizers, processors
    from tokenizers.models import WordLevel
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration

    special = ["<pad>", "</s>", "<unk>"]
    words = {word for text in TOPICS.values() for word in text.split()} | set(TOPICS) | set("01234:.,")
    words |= {"question", "title", "context", "relevance", "the"}
    pieces = [*special, *sorted(words)]
    tokenizer = Tokenizer(WordLevel({piece: row for row, piece in enumerate(pieces)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", 1)]
    )
    names = ("pad_token", "eos_token", "unk_token")
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=512, **dict(zip(names, special, strict=True))
    ).save_pretrained(folder)
    own: dict[str, Any] = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False}
    if kind == "original":
        own = {"feed_forward_proj": "relu", "tie_word_embeddings": True}
    sizes = {"d_model": 32, "d_kv": 8, "d_ff": 48, "num_layers": 4, "num_decoder_layers": 2, "num_heads": 4}
    config = T5Config(vocab_size=len(pieces), decoder_start_token_id=0, **own | sizes | options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        T5ForConditionalGeneration(config).save_pretrained(folder)
    return folder


@dataclass(frozen=True)
class Outcome:
    """What a command line did."""

    code: int
    out: str
    err: str

    def json(self) -> dict:
        return json.loads(self.out)


def command_environment() -> dict[str, str]:
    """Return the environment in which ``python -m dretrieve_cli`` runs from this checkout."""
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "cli")]), "PYTHONHASHSEED": "0"}


@pytest.fixture
def cli(tmp_path: Path) -> Callable[..., Outcome]:
    """``cli("search", "--index", path, …, code=0)``: a real process, started in ``tmp_path``.

    Fails when the exit code is not ``code`` (``None`` accepts any). ``env`` adds variables.
    """

    def run(*words: object, code: int | None = 0, env: dict[str, str] | None = None) -> Outcome:
        command = [sys.executable, "-m", "dretrieve_cli", *map(str, words)]
        done = subprocess.run(
            command,
            cwd=tmp_path,
            env=command_environment() | (env or {}),
            capture_output=True,
            text=True,
            timeout=1800,
        )
        assert code is None or done.returncode == code, (
            done.returncode,
            done.stdout[-2000:],
            done.stderr[-4000:],
        )
        return Outcome(done.returncode, done.stdout, done.stderr)

    return run


@pytest.fixture
def cli_here(capsys: pytest.CaptureFixture[str]) -> Iterator[Callable[..., Outcome]]:
    """The same in this process: no start-up time; the environment is restored afterwards."""
    import warnings

    from dretrieve_cli.app import main

    before = dict(os.environ)

    def run(*words: object, code: int | None = 0) -> Outcome:
        with warnings.catch_warnings():
            result = main([str(word) for word in words])
        captured = capsys.readouterr()
        assert code is None or result == code, (result, captured.out[-2000:], captured.err[-4000:])
        return Outcome(result, captured.out, captured.err)

    yield run
    os.environ.clear()
    os.environ.update(before)


@pytest.fixture(scope="module")
def slurm() -> Iterator[None]:
    """A real Slurm of one node, our own, found by its commands through ``SLURM_CONF``."""
    if not all(shutil.which(name) for name in ("slurmctld", "slurmd", "munged", "sbatch")):
        pytest.skip("Slurm is not installed (apt install slurm-wlm munge)")
    cluster = ROOT / "tests" / "slurm" / "cluster.sh"
    folder = tempfile.mkdtemp(prefix="dretrieve-slurm-")
    patch = pytest.MonkeyPatch()
    subprocess.run([str(cluster), "start", folder], check=True, timeout=60)
    patch.setenv("SLURM_CONF", f"{folder}/slurm.conf")
    yield
    subprocess.run([str(cluster), "stop", folder], check=True, timeout=60)
    patch.undo()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def dpr_file() -> Callable[[Path], Path]:
    """A DPR training file: a passage used twice, a negative that is a positive, a row without positives."""

    def write(path: Path) -> Path:
        gold = {"title": "Dune", "text": "Dune is a novel", "passage_id": "1"}
        hard = {"title": "Arrakis", "text": "A planet", "passage_id": "2"}
        keys = ("question", "answers", "positive_ctxs", "negative_ctxs", "hard_negative_ctxs")
        values = (
            ("who", ["F"], [gold], [], [hard, gold]),
            ("what", [], [hard], [gold], []),
            ("none", [], [], [gold], []),
        )
        rows = [dict(zip(keys, row, strict=True)) for row in values]
        path.write_bytes(gzip.compress(json.dumps(rows).encode()))
        return path

    return write


@pytest.fixture
def write_embeddings(tmp_path: Path) -> Callable[..., Path]:
    """``write_embeddings(name, ids, vectors, side="passage", shards=1, …)``: a folder as `encode` writes it.

    ``vectors`` is an array, [rows, dim], or `Vectors`; ``score`` names what compares them; ``extra`` is what
    later stages read; ``model`` names the passage side. Tokens that have no number get 0, 1, 2, …
    """

    def write(name: str, ids: list[str], vectors: Any, **options: Any) -> Path:
        import numpy as np

        from dretrieve.store.embeddings import EmbeddingPlan
        from dretrieve.store.shard_writer import ShardWriter
        from dretrieve.store.shards import shard_rows
        from dretrieve.types import Vectors, VectorSpec

        given = vectors if isinstance(vectors, Vectors) else Vectors(vectors)
        if given.many and given.tokens is None:
            given = replace(given, tokens=np.arange(len(given.values), dtype=np.int32))
        side, shards = options.get("side", "passage"), options.get("shards", 1)
        inputs = {"collection": f"{side}s of {name}", "passage_model": options.get("model", "m")}
        plan = EmbeddingPlan(
            side=side,
            vectors=VectorSpec(given.dim, "many" if given.many else "one", options.get("score", "dot")),
            salience=given.weights is not None,
            dtype=options.get("dtype", "float16"),
            options={},
            inputs=inputs | ({"query_model": "q"} if side == "query" else {}),
            extra=options.get("extra"),
        )
        folder = tmp_path / name
        for index in range(shards):
            shard = shard_rows(len(ids), index, shards)
            writer = ShardWriter(folder, shard, plan)
            for start, stop in shard.chunks():
                writer.write(ids[start:stop], given[start:stop])
            writer.commit({})
        return folder

    return write
