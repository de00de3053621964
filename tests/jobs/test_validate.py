"""validate: what fits is said to fit, and every reason for a score of zero is found and named."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from dretrieve.jobs.validate import ValidateConfig, ValidateResult, run


def check(*paths: object, full: bool = False) -> ValidateResult:
    """Validate paths."""
    return run(ValidateConfig(paths=tuple(map(str, paths)), full=full))


def problems(result: ValidateResult) -> list[str]:
    """Return the texts of the problems."""
    return [finding.text for finding in result.findings if finding.state == "problem"]


def texts(result: ValidateResult, state: str) -> str:
    """Return all texts of that state."""
    return "\n".join(finding.text for finding in result.findings if finding.state == state)


def trec(path: Path, hits: Iterable[tuple[str, str]]) -> Path:
    """Write a run with falling scores."""
    rows = [f"{query} Q0 {passage} 0 {100 - place} t\n" for place, (query, passage) in enumerate(hits)]
    path.write_text("".join(rows), encoding="utf-8")
    return path


TOPICS = ("bees", "tides", "bread", "chess", "volcano", "printing")
RIGHT = [(f"q-{topic}-2", f"{topic}-2") for topic in TOPICS]


def test_a_run_that_fits(tiny_collection: Path, tmp_path: Path) -> None:
    found = check(f"{tiny_collection}:test", trec(tmp_path / "run", RIGHT))
    assert found.exit_code == 0
    assert "6 of 6 relevant passages of 6 queries are among the hits" in texts(found, "ok")
    assert "all 6 passages of the run are in the corpus" in texts(found, "ok")
    assert found.render().endswith("everything fits")


def test_a_run_of_another_split(tiny_collection: Path, tmp_path: Path) -> None:
    made = trec(tmp_path / "run", [(f"q-{topic}-1", f"{topic}-1") for topic in TOPICS])
    found = check(f"{tiny_collection}:test", made)
    assert found.exit_code == 4
    assert problems(found) == [
        f"no query of the run is judged there: it is a run of {tiny_collection}:dev; evaluate it with that"
    ]
    whole = check(tiny_collection, made)
    assert whole.exit_code == 0
    assert "6 of 6 relevant passages" in texts(whole, "ok")
