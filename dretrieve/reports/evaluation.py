"""The tables of an evaluation: means of every run, its groups, the tests between runs, every query."""

from __future__ import annotations

from collections.abc import Sequence

from dretrieve.metrics.scores import Scores
from dretrieve.metrics.significance import LEVEL, Comparison
from dretrieve.reports.tables import Cell, Table

MARK = "†"


def evaluation_tables(
    scores: Sequence[Scores],
    comparisons: Sequence[Comparison] = (),
    *,
    per_query: bool = False,
    notes: Sequence[str] = (),
) -> list[Table]:
    """Return the tables to print: one of means, then groups, comparisons and queries where there are any."""
    tables = [means_table(scores, comparisons, notes)]
    if scores and scores[0].groups:
        tables.append(groups_table(scores))
    if comparisons:
        tables.append(comparison_table(comparisons))
    if per_query:
        tables.append(queries_table(scores))
    return tables


def notes_of(scores: Sequence[Scores], notes: Sequence[str] = ()) -> list[str]:
    """Return the notes of the evaluation, then each run's, with its name where there are several."""
    own = [f"{one.name}: {note}" if len(scores) > 1 else note for one in scores for note in one.notes]
    return [*notes, *own]


def means_table(
    scores: Sequence[Scores], comparisons: Sequence[Comparison] = (), notes: Sequence[str] = ()
) -> Table:
    """Return one row for each run: its values and the number of queries; notes below."""
    measures = list(scores[0].values) if scores else []
    grouped = bool(scores and scores[0].groups)
    heads = (
        [f"{measure} {kind}" for measure in measures for kind in ("micro", "macro")] if grouped else measures
    )
    rows: list[list[Cell]] = []
    for one in scores:
        means, macro = one.means(), one.macro()
        cells: list[Cell] = []
        for measure in measures:
            value: Cell = int(means[measure]) if one.is_count(measure) else means[measure]
            cells += [value, macro[measure]] if grouped else [value]
        rows.append([one.name, *cells, len(one.query_ids)])
    names = [one.name for one in scores]
    marks = {
        (names.index(found.run), 1 + measures.index(found.measure) * (2 if grouped else 1)): MARK
        for found in comparisons
        if found.significant
    }
    below = notes_of(scores, notes)
    if marks:
        below.append(
            f"{MARK} differs from {comparisons[0].baseline}: randomisation test, Holm-corrected p < {LEVEL}"
        )
    return Table(
        columns=["run", *heads, "queries"],
        rows=rows,
        notes=below,
        best=frozenset(range(1, 1 + len(heads))),
        marks=marks,
    )


def groups_table(scores: Sequence[Scores]) -> Table:
    """Return one row for each run and group."""
    measures = list(scores[0].values)
    rows: list[list[Cell]] = []
    for one in scores:
        sizes = {group: one.groups.count(group) for group in set(one.groups)}
        for group, values in one.by_group().items():
            rows.append([one.name, group, *(values[measure] for measure in measures), sizes[group]])
    return Table(columns=["run", "group", *measures, "queries"], rows=rows, title="By group")


def comparison_table(comparisons: Sequence[Comparison]) -> Table:
    """Return one row for each tested difference."""
    rows: list[list[Cell]] = [
        [
            found.measure,
            found.run,
            found.baseline,
            f"{found.difference:+.4f}",
            f"{found.low:+.4f} to {found.high:+.4f}",
            p_text(found.t_test_holm),
            p_text(found.randomization_holm),
            f"{found.wins}/{found.losses}/{found.ties}",
        ]
        for found in comparisons
    ]
    about = ["difference", "95 % interval", "t-test p", "randomisation p", "better/worse/equal"]
    return Table(
        columns=["measure", "run", "baseline", *about],
        rows=rows,
        title="Differences from the baseline",
        notes=[f"p-values are Holm-corrected over the {len(rows)} rows of this table"],
    )


def p_text(p: float) -> str:
    """Return a p-value for people: four decimals, or ``<0.0001``."""
    return "<0.0001" if p < 0.0001 else f"{p:.4f}"


def queries_table(scores: Sequence[Scores]) -> Table:
    """Return one row for each run and query."""
    measures = list(scores[0].values) if scores else []
    rows: list[list[Cell]] = []
    for one in scores:
        for query_id, values in one.per_query().items():
            rows.append(
                [
                    one.name,
                    query_id,
                    *(int(values[name]) if one.is_count(name) else values[name] for name in measures),
                ]
            )
    return Table(columns=["run", "query", *measures], rows=rows, title="By query")
