"""AdamW over a method's parameter groups, its rate at every step, its state as named tensors (no pickle)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from dretrieve.models.base import ParameterGroup
from dretrieve.training.options import TrainOptions


def learn_only(module: nn.Module, groups: Sequence[ParameterGroup]) -> None:
    """Freeze every parameter that stands in none of the groups."""
    learning = {id(parameter) for group in groups for parameter in group.parameters}
    for parameter in module.parameters():
        parameter.requires_grad_(id(parameter) in learning)


class Optimizer:
    """One phase's optimizer: `apply` after the gradient stands on the parameters.

    Matrices decay, biases and norms (fewer than two dimensions) never.
    """

    def __init__(self, groups: Sequence[ParameterGroup], options: TrainOptions, steps: int) -> None:
        self._options, self._steps = options, steps
        self.parameters: list[nn.Parameter] = []
        described: list[dict[str, Any]] = []
        for group in groups:
            decay = options.weight_decay if group.weight_decay is None else group.weight_decay
            rate = options.rate if group.learning_rate is None else group.learning_rate
            for matrices in (True, False):
                chosen = [parameter for parameter in group.parameters if (parameter.dim() > 1) == matrices]
                if chosen:
                    described.append(
                        {
                            "params": chosen,
                            "peak": rate * group.scale,
                            "weight_decay": decay if matrices else 0.0,
                        }
                    )
                    self.parameters += chosen
        self._adam = torch.optim.AdamW(
            described,
            lr=options.rate,
            betas=(options.adam_beta1, options.adam_beta2),
            eps=options.adam_epsilon,
            fused=True,
        )

    def apply(self, step: int) -> tuple[float, float]:
        """Update the parameters at the phase's ``step`` (from 0); return gradient length and rate.

        The length is that before cutting. A length that is not finite updates nothing.
        """
        limit = self._options.max_grad_norm or float("inf")
        norm = float(torch.nn.utils.clip_grad_norm_(self.parameters, limit))
        options = self._options
        factor = rate_factor(
            step,
            total=self._steps,
            warmup=warmup_steps(options.warmup_steps, options.warmup_ratio, self._steps),
            schedule=options.lr_scheduler_type,
        )
        for group in self._adam.param_groups:
            group["lr"] = group["peak"] * factor
        if norm == norm and norm != float("inf"):
            self._adam.step()
        self._adam.zero_grad(set_to_none=True)
        return norm, self._options.rate * factor

    def tensors(self) -> dict[str, Tensor]:
        """Return the state as ``<parameter's number>.<name>`` to tensor."""
        state: Mapping[int, Mapping[str, Tensor]] = self._adam.state_dict()["state"]
        return {
            f"{number}.{name}": value.detach().cpu().contiguous()
            for number, entry in state.items()
            for name, value in entry.items()
        }

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Take the state that `tensors` gave."""
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            number, _, name = key.partition(".")
            state.setdefault(int(number), {})[name] = value
        self._adam.load_state_dict({"state": state, "param_groups": self._adam.state_dict()["param_groups"]})


def rate_factor(step: int, *, total: int, warmup: int, schedule: str) -> float:
    """Return what the peak learning rate is multiplied with at ``step`` (from 0), between 0 and 1.

    Linear warm-up over ``warmup`` steps, then the schedule down to 0 at ``total``. As in transformers, except
    that the first step already moves: factor ``(step + 1) / warmup`` instead of ``step / warmup``.
    """
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "constant":
        return 1.0
    done = (step - warmup) / max(1, total - warmup)
    return 1.0 - done if schedule == "linear" else 0.5 * (1.0 + math.cos(math.pi * done))


def warmup_steps(steps: int, ratio: float, total: int) -> int:
    """Return the warm-up's length: ``steps`` when above 0, else ``ratio`` of ``total`` rounded up."""
    return steps if steps > 0 else math.ceil(ratio * total)
