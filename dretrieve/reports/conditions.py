"""What the artefacts behind a number must be: the ``chain`` of expected.yaml, and whether a chain meets it.

A condition names a stage and what its manifest must say::

    chain:
      model: {method: dpr, training.seed: "{seed}"}   # every model whose vectors are in the run
      train: {backbone: minilm}                       # every training that made one of those models
      search: {hits: 100}                             # at least one search
      absent: [fuse-bm25]                             # none of these
      before: {mine-negatives: {depth: 100}}          # the same, for all that the training stood on

A plain key is an option of the stage (of a model: an entry of its card); ``counts.x``, ``inputs.x`` and
``extra.x`` reach the rest of the manifest, further dots reach inside. A mapping must be contained, a list
must be equal, and text may hold ``{seed}``, ``{row}``, ``{column}``, ``{profile}``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import Formatter
from typing import Any, Protocol

EVERY = ("model", "train")
SPECIAL = ("absent", "before")
PARTS = ("options", "counts", "inputs", "extra")
FIELDS = ("table", "row", "column", "seed", "profile")
MISSING = object()
# Who may stand behind a number. A misspelt name under ``absent`` would be met by everything.
STAGES = (
    "prepare",
    "text-store",
    "convert",
    "encode",
    "index-bm25",
    "index-flat",
    "index-hnsw",
    "index-ivf",
    "index-ivfpq",
    "index-token",
    "search",
    "merge",
    "fuse-bm25",
    "evaluate",
    "read",
    "train",
    "adapt",
    "mine-negatives",
    "model",
)


class Described(Protocol):
    """What a condition looks at: one artefact of a chain."""

    @property
    def stage(self) -> str:
        """Who made it; ``model`` for a model card."""
        ...

    @property
    def facts(self) -> Mapping[str, Any]:
        """``options``, ``counts``, ``inputs``, ``extra`` of a manifest; the entries of a card."""
        ...

    @property
    def name(self) -> str:
        """How messages name it."""
        ...


def check_conditions(conditions: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return the first key that is not as the grammar says with what is wrong, or None."""
    for stage, wanted in conditions.items():
        if stage == "absent":
            if not (isinstance(wanted, list) and all(isinstance(item, str) for item in wanted)):
                return stage, "must be a list of stages"
            strange = next((item for item in wanted if item not in STAGES), None)
            if strange is not None:
                return stage, f"names {strange!r}; {_stages()}"
        elif stage not in (*STAGES, "before"):
            return stage, f"is no stage; {_stages()}"
        elif not isinstance(wanted, Mapping):
            return stage, "must be a mapping: option to value"
        elif stage == "before":
            inside = check_conditions(wanted)
            if inside:
                return f"before.{inside[0]}", inside[1]
        else:
            for key, value in wanted.items():
                unknown = _fields(value) - set(FIELDS)
                if unknown:
                    return f"{stage}.{key}", f"holds {{{min(unknown)}}}; known are {', '.join(FIELDS)}"
    return None


def _stages() -> str:
    return f"the stages are {', '.join(STAGES)}"


def joined(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return all conditions together; of two on one key the later holds, ``absent`` adds up."""
    result: dict[str, Any] = {}
    for part in parts:
        for stage, wanted in part.items():
            if stage == "absent":
                result[stage] = sorted({*result.get(stage, []), *wanted})
            elif stage == "before":
                result[stage] = joined(result.get(stage, {}), wanted)
            else:
                result[stage] = {**result.get(stage, {}), **wanted}
    return result


def unmet(
    conditions: Mapping[str, Any],
    near: Sequence[Described],
    behind: Sequence[Described],
    names: Mapping[str, object],
) -> list[str]:
    """Return a sentence for every condition that the artefacts do not meet.

    Args:
        conditions: as this module's text says.
        near: the artefacts from the number to the models, and the trainings that made these.
        behind: what the trainings stood on.
        names: what ``{seed}`` and the others stand for.
    """
    problems = []
    for stage, wanted in conditions.items():
        if stage == "before":
            problems += [f"before training: {text}" for text in unmet(wanted, behind, behind, names)]
        elif stage == "absent":
            found = [item for item in near if item.stage in wanted]
            problems += [
                f"{item.name} was made by '{item.stage}', which this row must not use" for item in found[:1]
            ]
        else:
            problems += _stage_unmet(stage, wanted, near, names)
    return problems


def _stage_unmet(
    stage: str, wanted: Mapping[str, Any], items: Sequence[Described], names: Mapping[str, object]
) -> list[str]:
    found = [item for item in items if item.stage == stage]
    if not found:
        return [f"no '{stage}' stands behind it, the row needs one"]
    verdicts = [
        [text for key, value in wanted.items() if (text := _key_unmet(item, key, value, names))]
        for item in found
    ]
    if stage in EVERY:
        return [text for verdict in verdicts for text in verdict]
    return [] if any(not verdict for verdict in verdicts) else verdicts[0]


def _key_unmet(item: Described, key: str, wanted: Any, names: Mapping[str, object]) -> str:
    actual = lookup(item.facts, key)
    expected = _filled(wanted, names)
    if expected is not wanted and actual is not MISSING:
        fits = str(actual) == str(expected)
    else:
        fits = _contains(actual, expected)
    if fits:
        return ""
    shown = "is not there" if actual is MISSING else f"is {actual!r}"
    return f"{key} {shown} in {item.name}, the row says {expected!r}"


def lookup(facts: Mapping[str, Any], key: str) -> Any:
    """Return what stands at the dotted key, an option's name first; `MISSING` where nothing does."""
    options = facts.get("options")
    if isinstance(options, Mapping) and key in options:
        return options[key]
    parts = key.split(".")
    if isinstance(options, Mapping) and parts[0] not in PARTS:
        parts = ["options", *parts]
    value: Any = facts
    for part in parts:
        if not isinstance(value, Mapping) or part not in value:
            return MISSING
        value = value[part]
    return value


def _contains(actual: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        return isinstance(actual, Mapping) and all(
            key in actual and _contains(actual[key], value) for key, value in wanted.items()
        )
    if isinstance(wanted, bool) or isinstance(actual, bool):
        return actual is wanted
    if isinstance(wanted, list) and isinstance(actual, tuple):
        return list(actual) == wanted
    return bool(actual == wanted)


def _fields(value: Any) -> set[str]:
    if not isinstance(value, str):
        return set()
    try:
        return {field for _, field, _, _ in Formatter().parse(value) if field is not None}
    except ValueError:
        return set()


def _filled(value: Any, names: Mapping[str, object]) -> Any:
    return value.format(**names) if _fields(value) else value
