"""A training step of `taser` and `sb_moe` beside `shared` and `dpr`: same batches, same optimizer.

Run: ``python tests/bench/bench_taser.py [--device cuda] [--precision bf16] [--rounds 12] [--batch 8]``.
MiniLM's weights (6 layers, of which ``--every 3`` gives the layers 2 and 5 experts), dropout, one hard
negative a query; the texts are those of `bench_train`. In a round all methods do the same step in turn, in
another order each time; a ratio is the median over the rounds of the method's time divided by that of
`shared` (CPU seconds of one thread, or seconds on a GPU that is waited for). Without options: on the CPU, in
fp32 with 8 queries a step; and where torch sees a GPU on that too, in bf16 with 128, as the profile `mini`
trains there. On one core the methods compute the same products, and Det-R is ahead of `dpr` by the weights
that it need not clip and update: 2.6 % at 8 queries a step, lost in the noise at 32.

The rules, on each device: Det-R and sb-moe at most 1.03 times `shared`, Det-R faster than `dpr`;
Seq-R and Tok-R with two experts at most 1.25 times `shared`; the peak of memory of Det-R, each method in a
process of its own, below that of `dpr` by at least 80 % of what the missing parameters take in weights,
gradients and Adam's two moments.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent))

import torch
from bench_train import CLIP, RATE, standing, training_set
from torch import nn

from dretrieve.errors import DretrieveError, PreconditionError
from dretrieve.models.base import Method
from dretrieve.models.dpr import Dpr
from dretrieve.models.dpr_config import DprConfig
from dretrieve.models.encoder import PooledEncoder
from dretrieve.models.sb_moe import SbMoe
from dretrieve.models.sb_moe_config import SbMoeConfig
from dretrieve.models.shared import Shared
from dretrieve.models.shared_config import SharedConfig
from dretrieve.models.taser import Taser
from dretrieve.models.taser_config import TaserConfig
from dretrieve.training.batches import Choosing
from dretrieve.training.pieces import CPU_OVERHEAD, GPU_OVERHEAD, Feed, Prepared, StepOptions, cut_of
from dretrieve.training.processes import Processes
from dretrieve.training.step import Stepper

METHODS = {
    "shared": lambda: Shared.build(SharedConfig(), "minilm"),
    "dpr": lambda: Dpr.build(DprConfig(), "minilm"),
    "Det-R": lambda: Taser.build(TaserConfig(router="det"), "minilm"),
    "Seq-R 2": lambda: Taser.build(TaserConfig(router="seq"), "minilm"),
    "Tok-R 2": lambda: Taser.build(TaserConfig(router="tok"), "minilm"),
    "sb-moe": lambda: SbMoe.build(SbMoeConfig(), "minilm"),
}
MOST = {"Det-R": 1.03, "Seq-R 2": 1.25, "Tok-R 2": 1.25, "sb-moe": 1.03}
SAVED_SHARE = 0.8
NUMBERS_PER_PARAMETER = 4  # weight, gradient, and two moments, in fp32
DROPOUT = 0.1
MIB = 1 << 20
PRECISION, BATCH = {"cpu": "fp32", "cuda": "bf16"}, {"cpu": 8, "cuda": 128}


@dataclass(frozen=True, kw_only=True, slots=True)
class Setting:
    """Where and on what steps are measured.

    Attributes:
        device: ``cpu`` or ``cuda``.
        precision: of the products, ``fp32`` or ``bf16``.
        batch: queries a step; there are twice as many passages.
        rounds: those that count; one goes before them.
        texts: the collection whose passages are read; None: invented words.
    """

    device: str
    precision: str
    batch: int
    rounds: int
    texts: Path | None

    @property
    def steps(self) -> int:
        """How many steps each method does."""
        return self.rounds + 1


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


def make(name: str, setting: Setting) -> Trained:
    """Return a method of that name with its batches."""
    torch.manual_seed(1)
    method = METHODS[name]()
    for part in method.modules():
        if isinstance(part, nn.Dropout):
            part.p = DROPOUT
        if isinstance(part, PooledEncoder):
            part.backbone.config.attention_probs_dropout_prob = DROPOUT
    device = torch.device(setting.device)
    method.to(device).train()
    data = training_set(setting.batch * setting.steps, setting.texts)
    options = StepOptions(
        seed=1,
        precision=setting.precision,
        cache_tokens=0,
        overhead=CPU_OVERHEAD if device.type == "cpu" else GPU_OVERHEAD,
        pad={"query": 0, "passage": 0},
    )
    choosing = Choosing(negatives=1, positives="first", seed=1)
    feed = Feed([data], setting.batch, choosing, options, Processes(), cut=cut_of(method))
    optimizer = torch.optim.AdamW(method.parameters(), lr=RATE, weight_decay=0.0, fused=True)
    stepper = Stepper(method, Processes(), options, device)
    return Trained(method, stepper, optimizer, [feed.make(step) for step in range(setting.steps)])


def seconds(device: str) -> float:
    """Return the time that is charged to a step."""
    if device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()


def rounds(setting: Setting, names: Iterable[str]) -> dict[str, list[float]]:
    """Return the seconds of each of these methods in every round that counts, the same rounds for all.

    Raises:
        PreconditionError: the collection has too few passages.
    """
    trained = {name: make(name, setting) for name in names}
    order = list(trained)
    spent: dict[str, list[float]] = {name: [] for name in order}
    for number in range(setting.steps):
        turn = number % len(order)
        for name in order[turn:] + order[:turn]:
            began = seconds(setting.device)
            trained[name].step(number)
            spent[name].append(seconds(setting.device) - began)
    return {name: of[1:] for name, of in spent.items()}


def ratio(own: list[float], other: list[float]) -> float:
    """Return the median over the rounds of one method's seconds divided by another's."""
    return statistics.median(one / two for one, two in zip(own, other, strict=True))


def peak(name: str, setting: Setting) -> tuple[int, int]:
    """Return what two steps add to the memory at most, and the number of parameters; in a fresh process."""
    words = [sys.executable, __file__, "--only", name, "--batch", str(setting.batch), "--rounds", "1"]
    words += ["--device", setting.device, "--precision", setting.precision]
    out = subprocess.run(words, check=True, capture_output=True, text=True).stdout.split()
    return int(out[-2]), int(out[-1])


def only(name: str, setting: Setting) -> None:
    """Do the steps and print what they and the method take in bytes, and the number of parameters."""
    training_set(setting.batch * setting.steps, setting.texts)  # what reading leaves behind is no method's
    before = resident("VmRSS")
    trained = make(name, setting)
    if setting.device == "cuda":
        torch.cuda.reset_peak_memory_stats()
    else:
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins again here
    for number in range(setting.steps):
        trained.step(number)
    used = torch.cuda.max_memory_allocated() if setting.device == "cuda" else resident("VmHWM") - before
    print(used, trained.parameters)


def resident(entry: str) -> int:
    """Return VmRSS (now) or VmHWM (the peak) of this process in bytes."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(lines[entry].split()[0]) * 1024


def times(setting: Setting) -> list[str]:
    """Measure and print the time of a step; return the methods whose rule is broken."""
    spent = rounds(setting, METHODS)
    broken = []
    for name, own in spent.items():
        found, median = ratio(own, spent["shared"]), statistics.median(own)
        rule = f"   rule: at most {MOST[name]}" if name in MOST else ""
        rate = setting.batch / median
        print(f"{name:8} {median:8.3f} s a step {rate:8.1f} examples/s   {found:.3f} x shared{rule}")
        if found > MOST.get(name, float("inf")):
            broken.append(name)
    beside = ratio(spent["Det-R"], spent["dpr"])
    print(f"Det-R / dpr {beside:.3f}   rule: below 1")
    return [*broken, "dpr"] if beside >= 1 else broken


def memory(setting: Setting) -> list[str]:
    """Measure and print what a step takes; return ``memory`` when its rule is broken."""
    sizes = {name: peak(name, setting) for name in ("dpr", "Det-R")}
    missing = sizes["dpr"][1] - sizes["Det-R"][1]
    wanted = SAVED_SHARE * missing * NUMBERS_PER_PARAMETER * 4
    saved = sizes["dpr"][0] - sizes["Det-R"][0]
    for name, (used, parameters) in sizes.items():
        print(f"{name:8} {parameters / 1e6:6.1f} million parameters, peak {used / MIB:,.0f} MiB")
    print(f"saved {saved / MIB:,.0f} MiB   rule: at least {wanted / MIB:,.0f}")
    return ["memory"] if saved < wanted else []


def places(device: str) -> list[str]:
    """Return the devices to measure on; ``auto`` is the CPU and, where torch sees one, the GPU.

    Raises:
        PreconditionError: it sees none.
    """
    seen = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    if device not in (*seen, "auto"):
        raise PreconditionError(f"--device {device}: torch sees no GPU here; give auto or cpu")
    return seen if device == "auto" else [device]


def positive(text: str) -> int:
    """Return a word's whole number of 1 or more.

    Raises:
        ArgumentTypeError: it is none.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number of 1 or more")
    return int(text)


def measured(arguments: argparse.Namespace) -> list[str]:
    """Measure on every device and print; return the broken rules."""
    broken = []
    for device in places(arguments.device):
        setting = Setting(
            device=device,
            precision=arguments.precision or PRECISION[device],
            batch=arguments.batch or BATCH[device],
            rounds=arguments.rounds,
            texts=standing(),
        )
        if arguments.only:
            only(arguments.only, setting)
            continue
        sizes = f"{setting.batch} queries + {2 * setting.batch} passages a step"
        print(f"MiniLM on {device}, {setting.precision}, {sizes}; texts: {setting.texts or 'invented words'}")
        broken += [f"{rule} on {device}" for rule in (*times(setting), *memory(setting))]
    return broken


def main() -> None:
    """Measure and print; exit 1 when a rule is broken, 3 when there is no such device."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", choices=("auto", "cpu", "cuda"), default="auto")
    parser.add_argument("--precision", choices=("fp32", "bf16"))
    parser.add_argument("--rounds", type=positive, default=12)
    parser.add_argument("--batch", type=positive)
    parser.add_argument("--only", choices=METHODS, help="measure one method's memory (used by this script)")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    try:
        broken = measured(arguments)
    except DretrieveError as error:
        sys.stderr.write(f"bench_taser.py: {error}\n")
        sys.exit(error.exit_code)
    if broken:
        print(f"broken: {', '.join(broken)}")
        sys.exit(1)


if __name__ == "__main__":
    main()
