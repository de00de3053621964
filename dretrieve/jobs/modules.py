"""``modules``: domains of a ddr model as files: listed, taken out, added and removed over one index."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dretrieve.errors import DataError, UsageError, VerificationError
from dretrieve.jobs.configs.modules import ModulesConfig
from dretrieve.jobs.model_output import model_files
from dretrieve.models.ddr_modules import Modular, Module
from dretrieve.reports.tables import Cell, Table, terminal
from dretrieve.store.fingerprint import sha256_file
from dretrieve.store.stage import Made, Planned, Stage
from dretrieve.store.state import recorded_state
from dretrieve.types import SIDES, SILENT, Progress

STAGE, VERSION = "modules", 1


@dataclass(frozen=True, slots=True)
class Listed:
    """Domains, one an entry: name, length, parameters, bytes, data, and why it does not fit the model."""

    model: str
    domains: Sequence[Mapping[str, Any]]

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return {"model": self.model, "domains": list(self.domains)}

    def render(self) -> Any:
        """Return a table."""
        rows: list[list[Cell]] = [
            [
                *(of[name] for name in ("domain", "length", "parameters", "bytes")),
                ", ".join(of["data"]),
                f"no: {of['misfit']}" if of["misfit"] else "yes",
            ]
            for of in self.domains
        ]
        columns = ["domain", "length", "parameters", "bytes", "trained on", "fits"]
        return terminal(Table(columns=columns, rows=rows, title=f"Domains of {self.model}"))


def run(config: ModulesConfig, progress: Progress = SILENT) -> Listed | Made | Planned:
    """List the domains of a model, write one's file, or write the model with others.

    Raises:
        UsageError: a domain that the model does not have, or has already; an output that is the model.
        PreconditionError: no ddr model, no such file; what stands at the output is not ours.
        DataError: a file that is no domain's.
        VerificationError: a domain of another model; files that are not those of their card or manifest.
    """
    model = Modular.open(config.model)
    output = config.output
    if output is None:
        return _listed(config, model)
    if config.action == "export":
        return _exported(config, model, output)
    for source in (model.folder, *(map(Path, config.of) if config.action == "add" else ())):
        if source.resolve().is_relative_to(output.resolve()):
            raise UsageError(
                f"--output {output}: {source} stands there, and is read; choose another --output"
            )
    return (_removed if config.action == "remove" else _added)(config, model, output)


def _listed(config: ModulesConfig, model: Modular) -> Listed | Planned:
    if config.dry_run:
        return Planned(text=f"would list the domains of {config.model}")
    entries = []
    for file in (*model.modules.values(), *map(Path, config.of)):
        module = Module.read(file)
        misfit = model.misfit(module, _router(model))
        try:
            if not misfit:
                model.check_tensors(module)
        except DataError as error:
            misfit = str(error)
        entries.append(
            {
                "domain": module.domain,
                "file": str(file),
                "length": module.card.get("prefix_length"),
                "parameters": module.parameters,
                "bytes": file.stat().st_size,
                "data": list(map(str, module.card.get("data", ()))),
                "misfit": misfit,
            }
        )
    return Listed(config.model, entries)


def _router(model: Modular) -> str:
    """Return what the model's router reads; nothing where there is none."""
    return model.config.defaults().router if model.modules else ""


def _known(config: ModulesConfig, model: Modular) -> str:
    """Return the domain that is named; the model has it."""
    (name,) = config.of
    if name not in model.modules:
        known = ", ".join(model.modules) or "none"
        raise UsageError(f"{config.model} has no domain {name!r}; it has {known}")
    return name


def _exported(config: ModulesConfig, model: Modular, output: Path) -> Made | Planned:
    name = _known(config, model)
    file = model.modules[name]
    inputs = {"module": sha256_file(file)}
    stage = Stage(output, "file", STAGE, VERSION, {"action": "export"}, inputs, config.force)
    if config.dry_run:
        return stage.planned(f"would write the domain {name} of {config.model} to {output}")
    state = "up to date"
    if not stage.up_to_date():
        with stage.write() as written:
            written.write(file.read_bytes())
        stage.commit(counts={"parameters": Module.read(file).parameters})
        state = "exported"
    return Made(output, state, stage.existing().counts, f"domain {name}", {"domain": name})


def _removed(config: ModulesConfig, model: Modular, output: Path) -> Made | Planned:
    name, router = _known(config, model), _router(model)
    files = {of: file for of, file in model.modules.items() if of != name}
    stage = _stage(config, model, output, {"domain": name}, {})
    return _written(config, model, stage, files, router, f"{name} removed")


def _added(config: ModulesConfig, model: Modular, output: Path) -> Made | Planned:
    files, router = model.modules, _router(model)
    added = [Module.read(Path(file)) for file in config.of]
    for module in added:
        name = module.domain
        if name in files:
            where = config.model if name in model.modules else files[name]
            raise UsageError(
                f"{module.file} is the domain {name}, which {where} is or has already; leave one out, or "
                "take it out first by dretrieve modules remove"
            )
        if misfit := model.misfit(module, router):
            raise VerificationError(
                f"{module.file} (domain {name}) does not fit {config.model}: {misfit}; train it on this "
                f"model: dretrieve train ddr --train-domains {name} --backbone {config.model}"
            )
        model.check_tensors(module)
        files[name], router = module.file, router or str(module.card["router"])
    inputs = {f"module {module.domain}": sha256_file(module.file) for module in added}
    names = ", ".join(module.domain for module in added)
    stage = _stage(config, model, output, {}, inputs)
    return _written(config, model, stage, files, router, f"{names} added")


def _stage(
    config: ModulesConfig, model: Modular, output: Path, options: Mapping[str, str], inputs: Mapping[str, str]
) -> Stage:
    """Return the stage that writes a model."""
    sides = {f"model {side}": model.card.fingerprint(side) for side in SIDES}
    options = {"action": config.action, **options}
    return Stage(output, "folder", STAGE, VERSION, options, {**sides, **inputs}, config.force)


def _written(
    config: ModulesConfig, model: Modular, stage: Stage, files: Mapping[str, Path], router: str, done: str
) -> Made | Planned:
    """Write the model with the domains of these files, if it does not stand there."""
    card, before = model.with_domains(files, router), model.card.inference
    defaults = {name: value for name, value in card.inference.items() if value != before[name]}
    details = {"domains": sorted(files), "defaults": defaults}
    told = "; ".join(
        [
            done,
            f"it has {', '.join(sorted(files)) or 'no domain'}",
            *(f"the default of {name} is now {value or 'none'}" for name, value in defaults.items()),
        ]
    )
    stage.refuse_strangers()
    if config.dry_run:
        return stage.planned(f"would write {config.model} to {stage.output}: {told}", details)
    old = stage.standing_files()
    if stage.up_to_date():
        return Made(stage.output, "up to date", {}, told, details)
    stage.remove_others(old)
    with recorded_state(stage.manifest_file, STAGE, stage.fingerprint):
        model.write(stage.output, card, files)
        for name in model_files(stage.output):
            stage.add(name)
        stage.commit(counts={"domains": len(files)})
    return Made(stage.output, "written", {}, told, details)
