"""What a training's dev curve says about it: whether it got above its start, whether it was over too early.

``train`` looks at dev before its first step, then from time to time, and at the end of each phase; the looks
stand in the model's ``curves.json``, which its manifest lists. A training is UNDERTRAINED

* when no look after the first is above the one before any step, or
* when the last look is the best and lies more than one query's worth (at least `NOISE`) above the look
  before it: it still rose.

A curve of one look after the start rises by this rule whenever the training helped: nothing shows that it had
come to rest, so look more often (``--eval-steps``). Without ``--dev`` nothing is known and nothing marked.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from dretrieve.errors import DataError, VerificationError
from dretrieve.reports.plan import Artefact
from dretrieve.store.card import CURVES
from dretrieve.store.fingerprint import sha256_bytes

MARK = "UNDERTRAINED"
NOISE = 0.002  # of the dev measure, of five hundred queries or more


@dataclass(frozen=True, slots=True, kw_only=True)
class DevCurve:
    """The looks of one training at dev.

    Attributes:
        metric: what was measured, higher is better.
        steps: [looks], the first is 0 where the untrained start was measured.
        values: [looks].
        queries: how many were looked at; 0 for all.
    """

    name: str
    metric: str
    steps: Sequence[int]
    values: Sequence[float]
    queries: int = 0

    @property
    def noise(self) -> float:
        """A rise that means nothing: one query's worth."""
        return max(NOISE, 1 / self.queries) if self.queries else NOISE


def dev_curve(training: Artefact) -> DevCurve | None:
    """Return the dev curve of a finished training; None where it has none.

    Raises:
        VerificationError: the file is not the one that the training's manifest lists.
        DataError: it does not hold a curve.
    """
    manifest = training.manifest
    if CURVES not in manifest.files:
        return None
    path = training.path.with_name(CURVES)
    text = path.read_bytes()
    if sha256_bytes(text) != manifest.files[CURVES]["sha256"]:
        raise VerificationError(f"{path} is not the curve that the training wrote: its bytes were changed")
    try:
        looks = [
            (int(point["step"]), float(point["dev"])) for point in json.loads(text)["curve"] if "dev" in point
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path} holds no curve ({error}); train again") from error
    if not looks:
        return None
    steps, values = zip(*looks, strict=True)
    metric = str(manifest.extra.get("metric") or "dev")
    queries = int(manifest.options.get("dev_queries") or 0)
    return DevCurve(name=training.name, metric=metric, steps=steps, values=values, queries=queries)


def undertrained(curve: DevCurve) -> str:
    """Return in a sentence why the training is `MARK`; nothing when it is not."""
    first, *later = curve.values
    if not later:
        return ""
    has_start = curve.steps[0] == 0
    if has_start and max(later) <= first:
        return (
            f"{curve.name}: {curve.metric} on dev was {first:.4f} before training and {max(later):.4f} "
            "at best after it"
        )
    before, last = curve.values[-2:]
    if last == max(curve.values) and last - before > curve.noise:
        return (
            f"{curve.name}: {curve.metric} on dev still rose at the end, from {before:.4f} at step "
            f"{curve.steps[-2]:,} to {last:.4f} at step {curve.steps[-1]:,}"
        )
    return ""


def training_notes(items: Sequence[Artefact]) -> tuple[str, ...]:
    """Return why each undertrained training among those artefacts is so; errors as `dev_curve`."""
    curves = [dev_curve(item) for item in items if item.manifest.stage == "train"]
    return tuple(text for curve in curves if curve is not None and (text := undertrained(curve)))
