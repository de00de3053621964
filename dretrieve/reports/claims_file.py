"""Reads one entry of expected.yaml's ``claims`` strictly."""

from __future__ import annotations

from dretrieve.reports.expected import BOUNDED, RELATIONS, Claim
from dretrieve.reports.strict_yaml import Node

CLAIM_KEYS = (
    "says",
    "source",
    "relation",
    "left",
    "right",
    "measure",
    "margin",
    "bound",
    "others",
    "profiles",
)


def read_claim(name: str, node: Node) -> Claim:
    """Return the claim that stands under its name.

    Raises:
        DataError: anything in it is not as recipes/README.md says; names the file and the key.
    """
    node.only(CLAIM_KEYS)
    relation = node.choice("relation", RELATIONS)
    bounded = relation in BOUNDED
    if not bounded and "right" not in node:
        raise node.wrong("right", f"is missing: '{relation}' compares two cells")
    if bounded and "bound" not in node:
        raise node.wrong("bound", f"is missing: '{relation}' needs the number it is held against")
    if relation in ("not-below", "equal") and node.number("margin", 0.0) <= 0:
        raise node.wrong(
            "margin", f"must be above 0: '{relation}' needs the difference that would not matter"
        )
    others = []
    for pair in node.items("others"):
        if not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(part, str) for part in pair)):
            raise node.wrong("others", "must be a list of pairs of cells: [[left, right], …]")
        others.append((pair[0], pair[1]))
    if (relation == "most") != bool(others):
        raise node.wrong("others", "belongs to the relation 'most', which needs at least one pair")
    return Claim(
        name=name,
        says=node.text("says"),
        source=node.text("source", ""),
        relation=relation,
        left=node.text("left"),
        right=node.text("right", ""),
        measure=node.text("measure", ""),
        margin=node.number("margin", 0.0),
        bound=node.number("bound", 0.0),
        others=tuple(others),
        profiles=_profile_names(node),
    )


def _profile_names(node: Node) -> tuple[str, ...]:
    names = node.items("profiles")
    if "profiles" in node and not (names and all(isinstance(name, str) for name in names)):
        raise node.wrong("profiles", "must be a list of profiles, not empty; leave it out for all of them")
    return tuple(names)
