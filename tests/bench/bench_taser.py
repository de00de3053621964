"""A training step of `taser` beside `shared` and `dpr`: same texts, same batches, same optimizer.

Run: ``python tests/bench/bench_taser.py [--device cuda] [--precision bf16] [--steps 6] [--batch 32]``.
MiniLM's weights (6 layers, of which ``--every 3`` gives the layers 2 and 5 experts), dropout, one hard
negative a query; the texts are those of `bench_train`. Each step is done by all methods in turn, in another
order each time; a ratio is the median over the steps of the method's time divided by that of `shared` (CPU
seconds of one thread, or seconds on a GPU that is waited for).

The rules: Det-R at most 1.03 times `shared` and faster than `dpr`; Seq-R and Tok-R with two experts at most
1.25 times `shared`; the peak of memory of Det-R, each method in a process of its own, below that of `dpr` by
at least 80 % of what the missing parameters take in weights, gradients and Adam's two moments.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from bench_train import CLIP, RATE, training_set
from torch import nn

from dretrieve.models.base import Method
from dretrieve.models.dpr import Dpr
from dretrieve.models.dpr_config import DprConfig
from dretrieve.models.pooled import PooledEncoder
from dretrieve.models.shared import Shared
from dretrieve.models.shared_config import SharedConfig
from dretrieve.models.taser import Taser
from dretrieve.models.taser_config import TaserConfig
from dretrieve.training.batches import Choosing
from dretrieve.training.feed import Feed
from dretrieve.training.groups import CPU_OVERHEAD, GPU_OVERHEAD
from dretrieve.training.processes import Processes
from dretrieve.training.step import Prepared, StepOptions, Stepper, packs_sides

METHODS = {
    "shared": lambda: Shared.build(SharedConfig(), "minilm"),
    "dpr": lambda: Dpr.build(DprConfig(), "minilm"),
    "Det-R": lambda: Taser.build(TaserConfig(router="det"), "minilm"),
    "Seq-R 2": lambda: Taser.build(TaserConfig(router="seq"), "minilm"),
    "Tok-R 2": lambda: Taser.build(TaserConfig(router="tok"), "minilm"),
}
MOST = {"Det-R": 1.03, "Seq-R 2": 1.25, "Tok-R 2": 1.25}
SAVED_SHARE = 0.8
NUMBERS_PER_PARAMETER = 4  # weight, gradient, and two moments, in fp32
DROPOUT = 0.1
MIB = 1 << 20


@dataclass(slots=True)
class Trained:
    """A method, ready to do steps on its own cut of the same batches."""

    method: Method
    stepper: Stepper
    optimizer: torch.optim.Optimizer
    batches: list[Prepared]

    def step(self, number: int) -> float:
        """Do one step; return the loss."""
        loss = self.stepper.run(self.batches[number]).loss
        nn.utils.clip_grad_norm_(self.method.parameters(), CLIP)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(loss)

    @property
    def parameters(self) -> int:
        """How many numbers are trained."""
        return sum(parameter.numel() for parameter in self.method.parameters())


def make(name: str, arguments: argparse.Namespace) -> Trained:
    """Return a method of that name with its batches."""
    torch.manual_seed(1)
    method = METHODS[name]()
    for part in method.modules():
        if isinstance(part, nn.Dropout):
            part.p = DROPOUT
        if isinstance(part, PooledEncoder):
            part.backbone.config.attention_probs_dropout_prob = DROPOUT
    device = torch.device(arguments.device)
    method.to(device).train()
    data = training_set(arguments.batch * arguments.steps)
    options = StepOptions(
        seed=1,
        precision=arguments.precision,
        cache_tokens=0,
        overhead=CPU_OVERHEAD if device.type == "cpu" else GPU_OVERHEAD,
        pad={"query": (0, "right"), "passage": (0, "right")},
    )
    choosing = Choosing(negatives=1, positives="first", seed=1)
    feed = Feed([data], arguments.batch, choosing, options, Processes(), packed=packs_sides(method))
    optimizer = torch.optim.AdamW(method.parameters(), lr=RATE, weight_decay=0.0, fused=True)
    stepper = Stepper(method, Processes(), options, device)
    return Trained(method, stepper, optimizer, [feed.make(step) for step in range(arguments.steps)])


def seconds(device: str) -> float:
    """Return the time that is charged to a step."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def ratios(arguments: argparse.Namespace) -> tuple[dict[str, float], dict[str, float]]:
    """Return each method's ratio to `shared` and its median seconds a step; the first step is not counted."""
    trained = {name: make(name, arguments) for name in METHODS}
    names = list(trained)
    spent: dict[str, list[float]] = {name: [] for name in names}
    for number in range(arguments.steps):
        turn = number % len(names)
        for name in names[turn:] + names[:turn]:
            began = seconds(arguments.device)
            trained[name].step(number)
            spent[name].append(seconds(arguments.device) - began)
    kept = {name: of[1:] for name, of in spent.items()}
    pairs = {name: zip(of, kept["shared"], strict=True) for name, of in kept.items()}
    found = {name: statistics.median(own / shared for own, shared in of) for name, of in pairs.items()}
    return found, {name: statistics.median(of) for name, of in kept.items()}


def peak(name: str, arguments: argparse.Namespace) -> tuple[int, int]:
    """Return what two steps add to the memory at most, and the number of parameters; in a fresh process."""
    words = [sys.executable, __file__, "--only", name, "--batch", str(arguments.batch), "--steps", "2"]
    words += ["--device", arguments.device, "--precision", arguments.precision]
    out = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
    return int(out[-2]), int(out[-1])


def only(name: str, arguments: argparse.Namespace) -> None:
    """Do two steps and print what they and the method take in bytes, and the number of parameters."""
    training_set(arguments.batch * arguments.steps)  # the memory that reading leaves behind is no method's
    before = resident("VmRSS")
    trained = make(name, arguments)
    if arguments.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins again here
    for number in range(arguments.steps):
        trained.step(number)
    used = torch.cuda.max_memory_allocated() if arguments.device == "cuda" else resident("VmHWM") - before
    print(used, trained.parameters)


def resident(entry: str) -> int:
    """Return VmRSS (now) or VmHWM (the peak) of this process in bytes."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[entry].split()[0]) * 1024


def main() -> None:
    """Measure and print; exit 1 when a rule is broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--only", choices=METHODS, help="measure one method's memory (used by this script)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.only:
        only(arguments.only, arguments)
        return
    broken = []
    place = f"{arguments.device}, {arguments.precision}"
    print(f"MiniLM, {arguments.batch} queries + {2 * arguments.batch} passages a step, {place}")
    found, median = ratios(arguments)
    for name, ratio in found.items():
        rule = f"   rule: at most {MOST[name]}" if name in MOST else ""
        rate = arguments.batch / median[name]
        print(f"{name:8} {median[name]:8.3f} s a step {rate:8.1f} examples/s   {ratio:.3f} x shared{rule}")
        if ratio > MOST.get(name, float("inf")):
            broken.append(name)
    print(f"Det-R / dpr {found['Det-R'] / found['dpr']:.3f}   rule: below 1")
    broken += ["dpr"] * (found["Det-R"] >= found["dpr"])
    sizes = {name: peak(name, arguments) for name in ("dpr", "Det-R")}
    missing = sizes["dpr"][1] - sizes["Det-R"][1]
    wanted = SAVED_SHARE * missing * NUMBERS_PER_PARAMETER * 4
    saved = sizes["dpr"][0] - sizes["Det-R"][0]
    for name, (used, parameters) in sizes.items():
        print(f"{name:8} {parameters / 1e6:6.1f} million parameters, peak {used / MIB:,.0f} MiB")
    print(f"saved {saved / MIB:,.0f} MiB   rule: at least {wanted / MIB:,.0f}")
    broken += ["memory"] * (saved < wanted)
    if broken:
        print(f"broken: {', '.join(broken)}")
        sys.exit(1)


if __name__ == "__main__":
    main()
