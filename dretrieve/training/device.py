"""Where a training runs, and torch's state that it borrows: device, precision, order of sums, generators."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import torch

from dretrieve.encoding.numerics import resolve_device, resolve_precision
from dretrieve.models.base import Method
from dretrieve.store.seeds import fold
from dretrieve.training.pieces import Precision
from dretrieve.training.processes import Processes

# Of glibc's mallopt(3): nothing is given back, no block is mapped alone; and the most that it does by itself.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
KEEPING = {M_TRIM_THRESHOLD: (1 << 31) - 1, M_MMAP_MAX: 0}
LARGEST_OWN = {M_TRIM_THRESHOLD: 1 << 26, M_MMAP_THRESHOLD: 1 << 25, M_MMAP_MAX: 1 << 16}


@dataclass(frozen=True, slots=True)
class Place:
    """Who takes part in a training, on which device, in which number type."""

    processes: Processes
    device: torch.device
    precision: Precision


def training_device(name: str) -> torch.device:
    """Return the device; under torchrun ``auto`` and ``cuda`` are the process's own GPU."""
    resolved = resolve_device(name)
    local = os.environ.get("LOCAL_RANK", "")
    if resolved == "cuda" and local.isdigit():
        resolved = resolve_device(f"cuda:{local}")
    device = torch.device(resolved)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device


def training_precision(name: str, device: torch.device) -> Precision:
    """Return fp32 or bf16; ``auto`` is bf16 on a GPU and fp32 on a CPU."""
    if name == "auto":
        return "bf16" if device.type == "cuda" else "fp32"
    return cast(Precision, resolve_precision(name, device.type))


def seed_dropout(seed: int, *parts: int | str) -> None:
    """Set torch's global generators (all devices), which dropout draws from, for the forward that follows."""
    number = fold(seed, *parts)
    torch.default_generator.manual_seed(number)
    # torch.manual_seed notes a call, with a traceback, for every device that has not begun: ms a step
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(number)


@contextmanager
def own_generators() -> Iterator[None]:
    """Give the caller's torch generators back, untouched, after the block."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        yield


@contextmanager
def repeatable(device: torch.device) -> Iterator[None]:
    """Ask a GPU for sums in a fixed order; without it, resumed weights differ in their last bits."""
    if device.type != "cuda":
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    before, warned = (
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
    )
    torch.use_deterministic_algorithms(True, warn_only=True)
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before, warn_only=warned)


def save_activation_memory(method: Method) -> None:
    """Turn gradient checkpointing on in every transformers module of the method."""
    for part in method.modules():
        if not getattr(part, "supports_gradient_checkpointing", False):
            continue
        module: Any = part
        if hasattr(part, "activation_checkpointing_enable"):
            module.activation_checkpointing_enable({"use_reentrant": False})
        else:  # transformers before 5.20
            module.gradient_checkpointing_enable({"use_reentrant": False})


@contextmanager
def keeping_memory(device: torch.device) -> Iterator[None]:
    """Let what a step on a CPU frees stay with the process for the next one, till the block ends.

    Large tensors are else asked of the system each time, which fills their pages with zeros one by one: a
    fifth of a step's time.
    """
    libc = ctypes.CDLL(None)
    if device.type != "cpu" or not hasattr(libc, "mallopt"):  # which musl and macOS do not have
        yield
        return
    for option, value in KEEPING.items():
        libc.mallopt(option, value)
    try:
        yield
    finally:
        for option, value in LARGEST_OWN.items():
            libc.mallopt(option, value)
        libc.malloc_trim(0)
