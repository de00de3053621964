"""The part of ``report`` that knows recipes: read what is expected, judge what was made, write it down."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from dretrieve.errors import PreconditionError, UsageError
from dretrieve.jobs.configs.report import RecipeOptions
from dretrieve.reports.claims import Finding, find_all
from dretrieve.reports.claims_table import outcome_text, with_recorded
from dretrieve.reports.expected import Expected, Profile
from dretrieve.reports.expected_file import read_expected
from dretrieve.reports.html import Page
from dretrieve.reports.pages import shown
from dretrieve.reports.plan import Ask, Plan, recorded_plan
from dretrieve.reports.readings import Place
from dretrieve.reports.readme import picture, readme_block, write_block
from dretrieve.reports.recipe_page import recipe_page
from dretrieve.reports.recorded import with_measured, write_recorded
from dretrieve.reports.verdicts import Judged, judge_all, recorded_all, tally
from dretrieve.store.stage import Planned


@dataclass(frozen=True, kw_only=True, slots=True)
class ReportResult:
    """The page, the same as data, and what was written; exit code 5 when a cell failed its check."""

    page: Page
    data: dict[str, Any]
    written: Sequence[Path] = ()
    exit_code: int = 0
    form: str = "terminal"

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {**self.data, "written": [str(path) for path in self.written]}

    def render(self) -> Any:
        """Return the page in its form."""
        return shown(self.page, self.form)


def recipe_report(
    file: Path, options: RecipeOptions, ask: Ask, *, full: bool = False, dry_run: bool = False
) -> ReportResult | Planned:
    """Judge everything that expected.yaml speaks of.

    Raises:
        UsageError: no such profile.
        PreconditionError: the work folder was named and does not exist.
        DataError: expected.yaml is not what it must be.
    """
    expected = read_expected(file)
    profile = _profile(expected, options.profile, file)
    recipe = file.resolve().parent.name
    work = options.work or Path("work") / recipe / profile.name
    if options.work is not None and not work.is_dir():
        raise PreconditionError(f"{work} does not exist; run the recipe first, or correct --work")
    if dry_run:
        where = f"{len(expected.cells())} cells of {file} (profile {profile.name}) in {work}"
        return Planned(text=f"would look for {where}")
    commands = Plan(work=work)
    if work.is_dir():
        commands = recorded_plan(file.parent, profile.name, work, ask, full=full)
    judged = judge_all(expected, Place(work=work, profile=profile, behind=commands.behind))
    findings = find_all(expected, judged, profile.name)
    written = []
    if options.record:
        _record(file, options, profile, judged, findings)
        written.append(file)
    if not any(one.readings for one in judged.values()):  # nothing was run: what was recorded is shown
        judged = recorded_all(expected, profile)
        findings = with_recorded(findings, expected.outcomes.get(profile.name, {}))
    if options.readme is not None:
        block = readme_block(expected, profile, judged, _shown(expected, findings))
        write_block(options.readme, file.resolve().parent.name, block, picture(expected, judged))
        written.append(options.readme)
    return ReportResult(
        page=recipe_page(expected, profile, judged, findings),
        data=_data(expected, profile, judged, findings),
        written=written,
        exit_code=5 if any(one.verdict == "FAIL" for one in judged.values()) else 0,
    )


def _profile(expected: Expected, name: str, file: Path) -> Profile:
    if not name:
        return next(iter(expected.profiles.values()))
    if name not in expected.profiles:
        raise UsageError(f"{file} has no profile '{name}'; it has {', '.join(expected.profiles)}")
    return expected.profiles[name]


def _record(
    file: Path,
    options: RecipeOptions,
    profile: Profile,
    judged: Mapping[str, Judged],
    findings: Mapping[str, Finding],
) -> None:
    expected = read_expected(file)  # anew: another report may have recorded while this one judged
    today = time.strftime("%Y-%m-%d", time.gmtime())
    ours = with_measured(expected, profile.name, judged, options.hardware, commit_of(file), today)
    kept = {name: dict(texts) for name, texts in expected.outcomes.items()}
    kept.setdefault(profile.name, {}).update(
        {
            name: outcome_text(expected, one)
            for name, one in findings.items()
            if one.outcome not in ("NOT RUN", "FAIL")
        }
    )
    write_recorded(file, ours, kept)


def _shown(expected: Expected, findings: Mapping[str, Finding]) -> dict[str, str]:
    """Return claim name to its outcome in words; where some were recorded, those alone."""
    recorded = {name: one.recorded for name, one in findings.items() if one.recorded}
    return recorded or {name: outcome_text(expected, one) for name, one in findings.items()}


def commit_of(file: Path) -> str:
    """Return the short commit of the checkout that holds the file, with + when it was changed; or unknown."""
    folder = str(file.resolve().parent)
    try:
        words = ["git", "-C", folder, "describe", "--always", "--abbrev=10", "--dirty=+", "--exclude=*"]
        done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=True)
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return done.stdout.strip() or "unknown"


def _data(
    expected: Expected, profile: Profile, judged: Mapping[str, Judged], findings: Mapping[str, Finding]
) -> dict[str, Any]:
    cells = {
        name: {
            "verdict": one.verdict,
            "paper": one.cell.paper,
            "ours": one.value,
            "spread": one.spread,
            "target": one.target,
            "difference": one.difference,
            "tolerance": one.tolerance,
            "seeds": [reading.seed for reading in one.readings] or list(one.seeds),
            "marks": list(one.marks),
            "notes": list(one.notes),
            "recorded": one.recorded
            and {key: getattr(one.recorded, key) for key in ("hardware", "commit", "date")},
        }
        for name, one in judged.items()
    }
    claims = {
        name: {key: value for key, value in asdict(one).items() if key != "claim"} | {"says": one.claim.says}
        for name, one in findings.items()
    }
    return {
        "paper": expected.paper,
        "profile": profile.name,
        "tally": tally(one.verdict for one in judged.values()),
        "cells": cells,
        "claims": claims,
    }
