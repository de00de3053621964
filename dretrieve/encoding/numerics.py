"""Which device, which number type, and the key under which the same texts give the same bytes."""

from __future__ import annotations

import platform
import warnings
from contextlib import suppress
from pathlib import Path

from dretrieve.errors import PreconditionError, SpokenWarning, UsageError
from dretrieve.types import Engine

PRECISIONS = ("fp32", "bf16", "fp16")
# Processor flags that mean fast products of bfloat16 numbers; others emulate them and are slower than fp32.
BF16_FLAGS = {"avx512_bf16", "amx_bf16"}


def resolve_device(device: str) -> str:
    """Return ``cpu`` or ``cuda[:N]``; ``auto`` is the first GPU, if there is one.

    Raises:
        UsageError: another word.
        PreconditionError: a GPU that is not there.
    """
    kind, _, number = device.partition(":")
    if kind not in ("auto", "cpu", "cuda") or (number and not number.isdigit()):
        raise UsageError(f"--device {device} is unknown; choose auto, cpu, cuda or cuda:N")
    if kind == "cpu":
        return "cpu"
    import torch

    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    # cuDNN's attention makes a plan for every new shape: on an H200 ten times the time of a training step
    # whose batches are cut by length. The other kernels need none.
    torch.backends.cuda.enable_cudnn_sdp(False)
    if kind == "auto":
        return "cuda" if found else "cpu"
    if int(number or 0) >= found:
        there = f"has {found} GPUs, counted from 0" if found else "has no GPU that torch can use"
        raise PreconditionError(f"--device {device}: this machine {there}; use --device cpu, or see doctor")
    return device


def resolve_devices(devices: str) -> list[str]:
    """Return the devices of ``--devices``: ``all`` is every GPU (the CPU where there is none), or a list."""
    if devices != "all":
        return [resolve_device(word.strip()) for word in devices.split(",")]
    first = resolve_device("auto")
    if first == "cpu":
        return ["cpu"]
    import torch

    return [f"cuda:{number}" for number in range(torch.cuda.device_count())]


def resolve_precision(precision: str, device: str) -> str:
    """Return fp32, bf16 or fp16; ``auto`` is bf16 where the device multiplies it natively, else fp32.

    A GPU need not be in this machine: the plan may be for others.

    Raises:
        UsageError: another word; fp16 on a CPU, which computes it a hundred times slower than bf16.

    Warns:
        SpokenWarning: bf16 on a CPU that does not multiply it.
    """
    if precision not in ("auto", *PRECISIONS):
        raise UsageError(f"--precision {precision} is unknown; choose auto, {', '.join(PRECISIONS)}")
    kind = resolve_device(device) if device == "auto" else device.partition(":")[0]
    if precision == "fp16" and kind == "cpu":
        raise UsageError("--precision fp16 is for GPUs; CPUs compute it very slowly: use bf16 or fp32")
    native = kind != "cpu" or cpu_has_bf16()
    if precision == "bf16" and not native:
        warnings.warn(
            "this processor does not multiply bf16 (no AVX512-BF16, no AMX), which can take thirty times as "
            "long as fp32; give --precision fp32 here",
            SpokenWarning,
            stacklevel=2,
        )
    if precision != "auto":
        return precision
    return "bf16" if native else "fp32"


def cpu_has_bf16() -> bool:
    """Return whether this processor multiplies bfloat16 numbers in hardware."""
    return bool(BF16_FLAGS & cpu_flags())


def cpu_flags() -> set[str]:
    """Return the processor's flags, empty where the system does not tell."""
    return set(_cpu_entry("flags", "features").split())


def _cpu_entry(*names: str) -> str:
    """Return what Linux says of the first processor under the first of those names; nothing elsewhere."""
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            if line.lower().startswith(names):
                return line.partition(":")[2].strip()
    return ""


def device_model(device: str) -> str:
    """Return the processor's or GPU's own name."""
    if device.startswith("cuda"):
        import torch

        return str(torch.cuda.get_device_name(torch.device(device)))
    return _cpu_entry("model name") or platform.processor() or platform.machine()


def numerics_key(device: str, engine: Engine) -> dict[str, str]:
    """Return what must be equal for two shards to have been computed to the same bits.

    On a CPU a batch is computed by one thread, so the number of threads is not part of it. The version is of
    our own part: the packed engine, its kernels, how backbones are loaded, the cutting into batches.
    """
    import torch
    import transformers

    from dretrieve.models import packed

    return {
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "device": device_model(device),
        "precision": engine.precision,
        "engine": engine.name,
        "engine_version": str(packed.ENGINE_VERSION),
        "attention": engine.attention,
    }
