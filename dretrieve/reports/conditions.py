"""What the artefacts behind a number must be: the ``chain`` of expected.yaml, and whether a chain meets it.

A condition names a stage and what its manifest must say::

    chain:
      model: {method: dpr, training.seed: "{seed}"}   # every model whose vectors are in the run
      train: {backbone: minilm}                       # every training that made one of those models
      search: {hits: 100}                             # at least one search
      absent: [fuse-bm25]                             # none of these
      before: {mine-negatives: {depth: 100}}          # the same, for all that the training stood on
      wherever: {train: {num_train_epochs: 40.0}}     # every such artefact, if any, of the chain
      profiles:                                       # what holds at one size only; the others take `else`
        paper: {train: {sets.name: [nq, trivia]}}
        else: {train: {sets.name: [nq]}}

A plain key is an option of the stage (of a model: an entry of its card); ``counts.x``, ``inputs.x`` and
``extra.x`` reach the rest of the manifest, further dots reach inside; behind a list they reach into each of
its items. A mapping must be contained, a list must be equal, nothing (``null``) must not be there. Text, also
in a list, may hold ``{seed}``, ``{row}``, ``{column}``, ``{profile}``; ``*end`` is any text with that end.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from string import Formatter
from typing import Any, Protocol

from dretrieve.errors import DataError

EVERY = ("model", "train")
ABSENT, BEFORE, WHEREVER, PROFILES, ELSE = "absent", "before", "wherever", "profiles", "else"
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
    "bench",
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
        if stage == ABSENT:
            if not (isinstance(wanted, list) and all(isinstance(item, str) for item in wanted)):
                return stage, "must be a list of stages"
            strange = next((item for item in wanted if item not in STAGES), None)
            if strange is not None:
                return stage, f"names {strange!r}; {_stages()}"
        elif stage not in (*STAGES, BEFORE, WHEREVER, PROFILES):
            return stage, f"is no stage; {_stages()}"
        elif not isinstance(wanted, Mapping):
            return stage, "must be a mapping: option to value"
        elif problem := _check_inside(stage, wanted):
            return f"{stage}.{problem[0]}", problem[1]
    return None


def _check_inside(stage: str, wanted: Mapping[str, Any]) -> tuple[str, str] | None:
    """Return what `check_conditions` does, for what stands below one key."""
    if stage == PROFILES:
        for profile, inside in wanted.items():
            if not isinstance(inside, Mapping):
                return profile, "must be a mapping: stage to its options"
            if PROFILES in inside:
                return f"{profile}.{PROFILES}", "must not stand in itself"
            if problem := check_conditions(inside):
                return f"{profile}.{problem[0]}", problem[1]
        return None
    if stage == WHEREVER:
        strange = next((key for key in wanted if key not in STAGES), None)
        if strange is not None:
            return strange, f"is no stage; {_stages()}"
    if stage in (BEFORE, WHEREVER):
        return check_conditions(wanted)
    for key, value in wanted.items():
        unknown = _fields(value) - set(FIELDS)
        if unknown:
            return key, f"holds {{{min(unknown)}}}; known are {', '.join(FIELDS)}"
    return None


def _stages() -> str:
    return f"the stages are {', '.join(STAGES)}"


def joined(*parts: Mapping[str, Any]) -> dict[str, Any]:
    """Return all conditions together; of two on one key the later holds, ``absent`` adds up."""
    result: dict[str, Any] = {}
    for part in parts:
        for stage, wanted in part.items():
            if stage == ABSENT:
                result[stage] = sorted({*result.get(stage, []), *wanted})
            elif stage in (BEFORE, WHEREVER):
                result[stage] = joined(result.get(stage, {}), wanted)
            elif stage == PROFILES:
                result[stage] = _joined_profiles(result[stage], wanted) if stage in result else wanted
            else:
                result[stage] = {**result.get(stage, {}), **wanted}
    return result


def _joined_profiles(first: Mapping[str, Any], second: Mapping[str, Any]) -> dict[str, Any]:
    """Return profile to the conditions of both; a profile about which one says nothing is left out."""
    pairs = {
        name: (first.get(name, first.get(ELSE)), second.get(name, second.get(ELSE)))
        for name in dict.fromkeys([*first, *second])
    }
    return {name: joined(*pair) for name, pair in pairs.items() if None not in pair}


def settled(conditions: Mapping[str, Any], profile: str) -> dict[str, Any]:
    """Return the conditions as they are at that profile, without ``profiles``.

    Raises:
        DataError: they name neither the profile nor ``else``: a misspelt profile would be met by everything.
    """
    plain = {stage: wanted for stage, wanted in conditions.items() if stage != PROFILES}
    if PROFILES in conditions:
        own = conditions[PROFILES].get(profile, conditions[PROFILES].get(ELSE))
        if own is None:
            raise DataError(
                f"the row's chain says nothing about the profile '{profile}', nor has it an 'else'"
            )
        plain = joined(plain, own)
    if BEFORE in plain:
        plain[BEFORE] = settled(plain[BEFORE], profile)
    return plain


def unmet(
    conditions: Mapping[str, Any],
    near: Sequence[Described],
    behind: Sequence[Described],
    names: Mapping[str, object],
) -> list[str]:
    """Return a sentence for every condition that the artefacts do not meet.

    Args:
        conditions: as this module's text says, `settled`.
        near: the artefacts from the number to the models, and the trainings that made these.
        behind: what the trainings stood on.
        names: what ``{seed}`` and the others stand for.
    """
    problems = []
    for stage, wanted in conditions.items():
        if stage == BEFORE:
            problems += [f"before training: {text}" for text in unmet(wanted, behind, behind, names)]
        elif stage == WHEREVER:
            problems += _wherever_unmet(wanted, [*near, *behind], names)
        elif stage == ABSENT:
            found = [item for item in near if item.stage in wanted]
            problems += [
                f"{item.name} was made by '{item.stage}', which this row must not use" for item in found[:1]
            ]
        else:
            problems += _stage_unmet(stage, wanted, near, names)
    return list(dict.fromkeys(problems))


def _wherever_unmet(
    conditions: Mapping[str, Any], items: Sequence[Described], names: Mapping[str, object]
) -> list[str]:
    return [
        text
        for stage, wanted in conditions.items()
        for item in items
        if item.stage == stage
        for key, value in wanted.items()
        if (text := _key_unmet(item, key, value, names))
    ]


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
    if wanted is None:
        fits = actual is MISSING or actual is None
    elif isinstance(wanted, str) and _fields(wanted) and actual is not MISSING:
        fits = str(actual) == expected
    else:
        fits = _contains(actual, expected)
    if fits:
        return ""
    shown = "is not there" if actual is MISSING else f"is {actual!r}"
    said = "that it is not there" if wanted is None else repr(expected)
    return f"{key} {shown} in {item.name}, the row says {said}"


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
        if isinstance(value, list | tuple):
            if not all(isinstance(item, Mapping) and part in item for item in value):
                return MISSING
            value = [item[part] for item in value]
        elif isinstance(value, Mapping) and part in value:
            value = value[part]
        else:
            return MISSING
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
    if isinstance(wanted, str) and wanted.startswith("*"):
        return isinstance(actual, str) and actual.endswith(wanted[1:])
    return bool(actual == wanted)


def _fields(value: Any) -> set[str]:
    if isinstance(value, list):
        return {field for item in value for field in _fields(item)}
    if not isinstance(value, str):
        return set()
    try:
        return {field for _, field, _, _ in Formatter().parse(value) if field is not None}
    except ValueError:
        return set()


def _filled(value: Any, names: Mapping[str, object]) -> Any:
    if isinstance(value, list):
        return [_filled(item, names) for item in value]
    return value.format(**names) if isinstance(value, str) and _fields(value) else value
