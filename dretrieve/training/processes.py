"""Several processes that train one model: rows gathered, gradients summed, one of them writes.

1 × B = N × B/N: every process computes the whole batch's loss over gathered vectors, keeps the gradient
only for its own rows, and the parameters' gradients are *summed*. (Averaging, as DDP does, divides the
gradient by N, which Adam forgives and clipping does not.)
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch import Tensor, nn

from dretrieve.errors import DretrieveError

BUCKET_NUMBERS = 1 << 24
LOST = "Connection (closed|reset) by peer|Connection was likely closed|Broken pipe|remote process exit"


@dataclass(frozen=True, slots=True)
class Processes:
    """This process's place: ``rank`` of ``count``; alone when ``count`` is 1."""

    rank: int = 0
    count: int = 1

    @property
    def first(self) -> bool:
        """Whether this process writes the files and speaks."""
        return self.rank == 0

    def wait(self) -> None:
        """Wait for all."""
        if self.count > 1:
            _together(dist.barrier)

    @contextmanager
    def first_goes_first(self) -> Iterator[None]:
        """Let the first process through the block alone, then the others: it fills caches for them."""
        if not self.first:
            self.wait()
        yield
        if self.first:
            self.wait()

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set in any process."""
        return any(self.each(int(flag)))

    def each(self, number: int) -> list[int]:
        """Return every process's number."""
        if self.count == 1:
            return [number]
        value = torch.tensor([number], dtype=torch.int64, device=_wire())
        received = [torch.empty_like(value) for _ in range(self.count)]
        _together(dist.all_gather, received, value)
        return [int(of.item()) for of in received]

    def sum(self, value: Tensor) -> Tensor:
        """Return the sum of the processes' values."""
        if self.count == 1:
            return value
        total = value.detach().clone()
        _together(dist.all_reduce, total)
        return total

    def from_first(self, compute: Callable[[], float]) -> float:
        """Return what the first process computes; the others wait for it."""
        if self.count == 1:
            return compute()
        value = torch.tensor([compute() if self.first else 0.0], dtype=torch.float64, device=_wire())
        _together(dist.broadcast, value, 0)
        return float(value.item())

    def gather_rows(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """Return all processes' rows in rank order; only this process's carry gradient.

        Args:
            rows: [counts[rank], …], equal in the other dimensions everywhere.
            counts: rows of each process.
        """
        if self.count == 1:
            return rows
        sent = rows.detach()
        if sent.dtype == torch.bool:
            sent = sent.to(torch.uint8)
        missing = max(counts) - len(sent)
        sent = torch.cat([sent, sent.new_zeros((missing, *sent.shape[1:]))]).contiguous()
        received = [torch.empty_like(sent) for _ in range(self.count)]
        _together(dist.all_gather, received, sent)
        parts = [part[:count].to(rows.dtype) for part, count in zip(received, counts, strict=True)]
        parts[self.rank] = rows
        return torch.cat(parts)

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace every gradient with the sum over the processes.

        A missing one counts as zero; where all miss it there is none, as in one process: an optimizer leaves
        such a parameter, and with zeros its momentum would move it.
        """
        if self.count == 1:
            return
        every = list(parameters)
        there = torch.tensor([of.grad is not None for of in every], dtype=torch.int32, device=_wire())
        _together(dist.all_reduce, there)
        waiting: list[Tensor] = []
        for parameter, known in zip(every, there.tolist(), strict=True):
            if not known:
                continue
            if parameter.grad is None:
                parameter.grad = torch.zeros_like(parameter)
            waiting.append(parameter.grad)
            if sum(tensor.numel() for tensor in waiting) >= BUCKET_NUMBERS:
                _sum_in_place(waiting)
                waiting = []
        if waiting:
            _sum_in_place(waiting)


def _sum_in_place(tensors: list[Tensor]) -> None:
    """All-reduce in one message."""
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    _together(dist.all_reduce, flat)
    parts = torch.split(flat, [tensor.numel() for tensor in tensors])
    for tensor, part in zip(tensors, parts, strict=True):
        tensor.copy_(part.view_as(tensor))


def _together(collective: Callable[..., object], *given: object) -> None:
    """Do what all processes do together.

    Raises:
        DretrieveError: one of them has ended.
    """
    try:
        collective(*given)
    except RuntimeError as error:  # of gloo, of NCCL, of the store: each has its own words
        if not re.search(LOST, str(error)):
            raise
        raise DretrieveError(
            "another process of this training has ended; its own message, or the launcher's, says why"
        ) from error


def _wire() -> torch.device:
    """Return the device that the process group sends from."""
    if dist.get_backend() == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def join_processes(device: torch.device) -> Processes:
    """Return this process's place under ``torchrun`` (its variables), joining the group when needed.

    Without the variables the process is alone. The waiting time of a collective is 30 minutes, so that a
    process that tokenises while others wait is not taken for dead.
    """
    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        return Processes()
    if not dist.is_initialized():
        backend = "nccl" if device.type == "cuda" else "gloo"
        dist.init_process_group(backend, timeout=timedelta(minutes=30))
    return Processes(dist.get_rank(), dist.get_world_size())


def leave_processes() -> None:
    """Leave the group, if one was joined."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
