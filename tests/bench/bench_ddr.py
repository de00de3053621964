"""What prefixes cost on MiniLM: a step of each training beside `shared`, encoding beside no prefix.

Run: ``python tests/bench/bench_ddr.py [--rounds 5]``. CPU seconds of one thread, both sides of a ratio in
turn; a ratio is the median over the rounds. A step is of 32 queries and 32 passages of 32 and 128 tokens in
fp32 with AdamW: of the general prefix, and of four domains' on passages given by their vectors; its memory
is the peak above the loaded model, each method in a process of its own. Encoding is in bf16 where the CPU
multiplies it: 64 queries of 32 tokens, 16 passages of 128, beside the same encoder without prefix, and 64
queries of 64 mixtures of eight domains beside 64 of one.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from bench_sb_moe import spent
from bench_taser import CLIP, MIB, RATE, ratio, resident
from torch.nn import functional

from dretrieve.encoding.numerics import resolve_precision
from dretrieve.models.base import Method, TokenBatch
from dretrieve.models.ddr_config import DdrConfig
from dretrieve.models.encoder import PRECISIONS
from dretrieve.models.loading import fresh, ready
from dretrieve.models.model_folder import save_model
from dretrieve.models.prefix import Domain, Prefixes, RoutedPrefixes, new_prefix
from dretrieve.models.shared_config import SharedConfig
from dretrieve.training.optimizer import learn_only

BATCH, QUERY, PASSAGE = 32, 32, 128
TRAINED = ("shared", "general 32", "domains 128", "domains 32")
# Of `shared`: time, memory.
STEPS = {"general 32": (0.85, 0.85), "domains 128": (0.30, 0.40), "domains 32": (0.15, 0.35)}
ENCODING = {
    "queries 128": 1.30,
    "queries 32": 1.10,
    "passages 128": 1.20,
    "passages 32": 1.10,
    "mixtures 128": 1.25,
}


def batch_of(texts: int, tokens: int) -> TokenBatch:
    """Return texts of that length."""
    ids = torch.randint(1000, 20000, (texts, tokens), generator=torch.Generator().manual_seed(tokens))
    return TokenBatch(ids, torch.ones_like(ids, dtype=torch.bool), tuple(map(str, range(texts))))


def method_of(name: str) -> Method:
    """Return one of `TRAINED`, ready to be trained: what is in no group is frozen."""
    kind, _, length = name.partition(" ")
    if kind == "shared":
        method = fresh("shared", SharedConfig(), "minilm", 1)
    else:
        method = fresh("ddr", DdrConfig(prefix_length=int(length)), "minilm", 1)
    if kind == "domains":
        with tempfile.TemporaryDirectory() as folder:
            save_model(method, Path(folder) / "general")
            config = DdrConfig(train_domains="medical+news+qa+science", routing="soft")
            method = fresh("ddr", config, f"{folder}/general", 1)
    learn_only(method, method.parameter_groups(method.phases()[0]))
    return method.train()


def step_of(name: str) -> Callable[[], None]:
    """Return a step of one of `TRAINED`."""
    method = method_of(name)
    trained = [of for of in method.parameters() if of.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=RATE, weight_decay=0.0, fused=True)
    query, passage = batch_of(BATCH, QUERY), batch_of(BATCH, PASSAGE)
    if name.startswith("domains"):
        given = functional.normalize(torch.randn(BATCH, method.encoder.dim), dim=1)
        passage = TokenBatch(passage.input_ids, passage.mask, passage.text_ids, vectors=given)

    def step() -> None:
        pair = method.encode_pair(query, passage)
        scores = pair[0].vectors @ pair[1].vectors.T / 0.05
        functional.cross_entropy(scores, torch.arange(BATCH)).backward()
        torch.nn.utils.clip_grad_norm_(trained, CLIP)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step


def peak(name: str) -> int:
    """Return what two steps add to the memory of the loaded model at most; in a fresh process."""
    words = [sys.executable, __file__, "--only", name]
    return int(subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()[-1])


def only(name: str) -> None:
    """Do two steps and print their peak above the loaded model in bytes."""
    step = step_of(name)
    before = resident("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins again here
    step()
    step()
    print(resident("VmHWM") - before)


def training(rounds: int) -> dict[str, float]:
    """Return each rule's ratio to `shared`."""
    steps = {name: step_of(name) for name in TRAINED}
    spending = [{name: spent(step) for name, step in steps.items()} for _ in range(rounds + 1)][1:]
    times = {name: [of[name] for of in spending] for name in TRAINED}
    peaks = {name: peak(name) for name in TRAINED}
    for name in TRAINED:
        print(f"{name:14} {statistics.median(times[name]):7.3f} s a step, peak {peaks[name] / MIB:7,.0f} MiB")
    found = {f"time of {name}": ratio(times[name], times["shared"]) for name in STEPS}
    return found | {f"memory of {name}": peaks[name] / peaks["shared"] for name in STEPS}


def encoding(rounds: int) -> dict[str, float]:
    """Return each rule's ratio to the same batch without prefix, or with one mixture."""
    method = fresh("shared", SharedConfig(), "minilm", 1)
    precision = resolve_precision("auto", "cpu")
    ready(method, torch.device("cpu"), {name: of for of, name in PRECISIONS.items()}[precision])
    queries, passages = batch_of(64, QUERY), batch_of(16, PASSAGE)
    layers, width = len(method.encoder.layers), method.encoder.width
    found = {}

    def compare(name: str, batch: TokenBatch, one: Callable, other: Callable) -> None:
        pairs = [
            [spent(lambda of=of: method.encoder(batch, of())) for of in (one, other)]
            for _ in range(rounds + 1)
        ][1:]
        found[name] = ratio([pair[1] for pair in pairs], [pair[0] for pair in pairs])

    with torch.inference_mode():
        for length in (128, 32):
            general = new_prefix(layers, length, width)
            compare(f"queries {length}", queries, lambda: None, lambda of=general: Prefixes(of))
            compare(f"passages {length}", passages, lambda: None, lambda of=general: Prefixes(of))
        general = new_prefix(layers, 128, width)
        domains = [Domain(layers, 128, width) for _ in range(8)]
        chosen = torch.ones(64, 8, dtype=torch.bool)
        compare(
            "mixtures 128",
            queries,
            lambda: RoutedPrefixes(general, domains, chosen, uniform=True),
            lambda: RoutedPrefixes(general, domains, chosen),
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", choices=TRAINED, help="measure one method's memory (used by this script)")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.only:
        only(given.only)
        return
    most = dict(ENCODING)
    for name, (time, memory) in STEPS.items():
        most |= {f"time of {name}": time, f"memory of {name}": memory}
    found = encoding(given.rounds) | training(given.rounds)
    for name, value in found.items():
        print(f"{name:22} {value:6.3f}   rule: at most {most[name]}")
    if any(value > most[name] for name, value in found.items()):
        sys.exit(1)


if __name__ == "__main__":
    main()
