"""report: measured numbers as tables and plots: beside a paper's (recipes), or systems side by side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from shlex import quote
from typing import Any

from dretrieve.errors import PreconditionError, UsageError, VerificationError
from dretrieve.jobs.configs.report import RecipeOptions, ReportConfig
from dretrieve.jobs.report_recipe import ReportResult, recipe_report
from dretrieve.options import refuse_given
from dretrieve.reports.compared_page import compared_page
from dretrieve.reports.comparison import Comparison, System, compare_systems
from dretrieve.reports.expected_file import FILE
from dretrieve.reports.metrics_file import one_run, read_metrics, split_name
from dretrieve.reports.pages import form_of, write_page
from dretrieve.reports.plan import Ask
from dretrieve.store.manifest import Manifest, read_manifest
from dretrieve.store.stage import Planned, open_artefact
from dretrieve.types import SILENT, Progress

SUFFIX = ".manifest.json"
JUDGED = {"qrels": "judgements", "answers": "answers", "corpus": "passages"}  # inputs of metrics


def run(config: ReportConfig, progress: Progress = SILENT, ask: Ask | None = None) -> ReportResult | Planned:
    """Gather, judge, print, write; ``ask`` asks a command of a recipe whether what it makes is up to date.

    Raises:
        UsageError: nothing to report; options that do not fit together.
        PreconditionError: a file is missing; a file that no report wrote stands at the output.
        DataError: expected.yaml or a metrics file is not what it must be.
        VerificationError: in a plain comparison a metrics file was changed (in a recipe its cell fails), or
            two were measured against other judgements or with other options.
    """
    if config.output is not None and config.output.suffix and not config.output.is_dir():
        form_of(config.output)
    if _is_recipe(config):
        assert config.target is not None
        assert ask is not None
        file = config.target if config.target.name == FILE else config.target / FILE
        result = recipe_report(file, config.recipe, ask, full=config.verify, dry_run=config.dry_run)
    else:
        result = _comparison(config)
    if isinstance(result, Planned):
        return result
    written = write_page(result.page, config.output, force=config.force) if config.output is not None else ()
    for path in written:
        progress.note(f"wrote {path}")
    return replace(result, written=[*result.written, *written], form=config.form)


def _is_recipe(config: ReportConfig) -> bool:
    target = config.target
    found = target is not None and (target.name == FILE or (target / FILE).is_file())
    if target is not None and config.rows:
        raise UsageError(
            f"--row names what is compared, and {target} is not looked at; leave one of them out"
        )
    if not found and config.recipe != RecipeOptions():
        raise UsageError(
            f"{target or 'a comparison'} has no {FILE}; "
            "--profile, --work, --readme, --record, --hardware need one"
        )
    if found:
        refuse_given(config, ("title",), f"is of a plain comparison, and {target} has its own; leave it out")
        if config.recipe.hardware and not config.recipe.record:
            raise UsageError("--hardware is recorded with the values; give --record too, or leave it out")
    return found


def _comparison(config: ReportConfig) -> ReportResult | Planned:
    systems, made = _named(config) if config.rows else _found(config)
    _refuse_mixed(made)
    if config.dry_run:
        return Planned(text=f"would compare {', '.join(system.title for system in systems)}")
    comparison = compare_systems(systems)
    title = config.title or (config.target.resolve().name if config.target else "Comparison")
    page = compared_page(comparison, title)
    return ReportResult(page=page, data=_data(comparison))


def _named(config: ReportConfig) -> tuple[list[System], dict[Path, Manifest]]:
    """Return the named runs, and the manifests of their files."""
    systems, made = [], {}
    for text in config.rows:
        name, equals, place = text.partition("=")
        if not (equals and name.strip() and place):
            raise UsageError(f"--row takes NAME=FILE, not {text!r}")
        file, run_name = split_name(place)
        made[Path(file)] = open_artefact(Path(file), ("evaluate",), full=config.verify)
        systems.append(System(title=name.strip(), measured=one_run(Path(file), run_name)))
    return systems, made


def _found(config: ReportConfig) -> tuple[list[System], dict[Path, Manifest]]:
    """Return every run of every metrics file below the folder, in the order of paths, and the manifests."""
    work = config.target
    if work is None:
        raise UsageError("name what to report: a recipe, a work folder, or --row NAME=FILE")
    if not work.is_dir():
        raise PreconditionError(f"{work} is no folder; name a recipe or the work folder of one")
    systems, made = [], {}
    for path in sorted(work.rglob("*" + SUFFIX)):
        if read_manifest(path).stage != "evaluate":
            continue
        file = path.with_name(path.name.removesuffix(SUFFIX))
        made[file] = open_artefact(file, ("evaluate",), full=config.verify)
        systems += [System(title=entry.name, measured=entry) for entry in read_metrics(file)]
    if not systems:
        raise PreconditionError(
            f"{work} holds no metrics; make them with `dretrieve evaluate … --output "
            f"{quote(f'{work}/NAME.json')}`"
        )
    return systems, made


def _refuse_mixed(made: Mapping[Path, Manifest]) -> None:
    """Refuse metrics that were not measured in one way against the same judgements."""
    (first, known), *others = made.items()
    for file, manifest in others:
        wrong = [what for name, what in JUDGED.items() if manifest.inputs.get(name) != known.inputs.get(name)]
        if manifest.options.get("prepare") != known.options.get("prepare"):
            wrong.append("options (--depth, --drop-self, --judged-only, --retrieved-only)")
        if wrong:
            raise VerificationError(
                f"{file} was measured with other {', other '.join(wrong)} than {first}; evaluate all runs "
                "against the same judgements with the same options"
            )


def _data(comparison: Comparison) -> dict[str, Any]:
    rows = []
    for row, system in enumerate(comparison.systems):
        better = {
            name: [comparison.systems[other].title for one, other in sorted(pairs) if one == row]
            for name, pairs in comparison.better.items()
        }
        means = {name: system.measured.means[name] for name in comparison.measures}
        rows.append({"system": system.title, "mean": means, "significantly_above": better})
    return {
        "num_queries": comparison.num_queries,
        "measures": list(comparison.measures),
        "left_out": list(comparison.left_out),
        "rows": rows,
    }
