"""``validate``: are these whole, do they fit together, and if a score is zero, why."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from dretrieve.errors import DataError, DretrieveError, PreconditionError, UsageError, VerificationError
from dretrieve.jobs.artefacts import Artefact, checked_manifest, relevant_counts
from dretrieve.jobs.configs.validate import ValidateConfig
from dretrieve.runs.locate import rows_of
from dretrieve.runs.read import WAY_OUT, run_fingerprint
from dretrieve.store.card import ModelCard
from dretrieve.store.embeddings import Embeddings
from dretrieve.store.manifest import Manifest
from dretrieve.store.text_store import TextStore
from dretrieve.text.collection import Collection, parse_spec
from dretrieve.text.entities import beginning
from dretrieve.text.examples import read_examples
from dretrieve.types import SILENT, Progress, Qrels, Run

State = Literal["ok", "note", "problem"]
Said = Iterator[tuple[State, str]]
Named = Mapping[str, Any]  # what was opened, by the word that names it
BAD_INPUT, UNVERIFIED = DataError.exit_code, VerificationError.exit_code
COUNTED = ("rows", "questions", "passages", "queries", "judgements", "hits")
SAMPLE = 500
UNRELATED = "they come from another collection, or another release of it"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        state: ``problem`` is what makes results wrong or impossible; ``note`` is worth knowing.
    """

    state: State
    about: str
    text: str
    code: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class ValidateResult:
    """All findings, in the order of looking."""

    findings: tuple[Finding, ...]

    @property
    def exit_code(self) -> int:
        """0, or the highest code that a problem asks for (3 missing, 4 bad input, 5 does not belong)."""
        return max((finding.code for finding in self.findings), default=0)

    def as_json(self) -> dict[str, Any]:
        """Return the findings as plain data."""
        return {"fits": self.exit_code == 0, "findings": [asdict(finding) for finding in self.findings]}

    def render(self) -> str:
        """Return a line for each finding and a verdict."""
        lines = [f"{finding.state:<8} {finding.about}: {finding.text}" for finding in self.findings]
        problems = sum(finding.state == "problem" for finding in self.findings)
        verdict = f"{problems} problem{'s' * (problems != 1)}" if problems else "everything fits"
        return "\n".join([*lines, "", verdict])


@dataclass(frozen=True, slots=True)
class Judgements:
    """Judgements of a file, or of a collection's split."""

    name: str
    qrels: Qrels
    collection: Collection | None = None


def run(config: ValidateConfig, progress: Progress = SILENT) -> ValidateResult:
    """Open everything, compare whatever can be compared.

    Raises:
        UsageError: nothing was given.
    """
    if not config.paths:
        raise UsageError("name what belongs together: dretrieve validate COLLECTION:split RUN EMBEDDINGS …")
    given: dict[str, dict[str, Any]] = defaultdict(dict)  # by role
    manifests: dict[str, Manifest] = {}
    findings = []
    for word in config.paths:
        try:
            it = _open(word, config, progress)
            counts = ", ".join(f"{it.facts[name]:,} {name}" for name in COUNTED if name in it.facts)
            given[it.kind.role][word] = it.value
            manifests[word] = it.manifest or Manifest(stage="", version=0)
            findings.append(Finding("ok", word, f"{it.name} of {counts}" if counts else it.name))
        except DretrieveError as error:
            findings.append(Finding("problem", word, str(error), error.exit_code))
    for about, code, check in _checks(given, manifests):
        try:
            for state, text in check:
                findings.append(Finding(state, about, text, code if state == "problem" else 0))
        except DretrieveError as error:
            findings.append(Finding("problem", about, str(error), error.exit_code))
    return ValidateResult(findings=tuple(findings))


def _open(word: str, config: ValidateConfig, progress: Progress) -> Artefact:
    """Return what the word names, where it can be held against others."""
    path, split = parse_spec(word)
    manifest = checked_manifest(path, full=config.verify)
    it = Artefact(path, split, "auto", config.verify, progress, manifest)
    if it.kind.role == "run" and config.run_format != "auto":
        it = replace(it, run_format=config.run_format)
    if not it.kind.role:
        unfinished = it.state is not None and it.manifest is None
        raise (PreconditionError if unfinished else DataError)(
            f"{path} holds {it.name}; validate takes collections, judgements, runs, answers, examples, "
            f"embeddings, indexes and models; {it.facts.get('next', 'name one of those')}"
        )
    return it


def _checks(given: Mapping[str, Named], manifests: Mapping[str, Manifest]) -> Iterator[tuple[str, int, Said]]:
    """Yield what each check is about, the exit code of its problems, and what it says."""
    collections, embeddings = given["collection"], dict(given["embeddings"])
    with_passages = {word: found for word, found in collections.items() if found.files.corpus}
    judged = [Judgements(word, qrels) for word, qrels in given["qrels"].items()]
    for word, found in collections.items():
        yield word, BAD_INPUT, check_collection(found)
        judged += _judgements(found, [found.split] if found.split else found.files.qrels)
    for part in judged:
        own = part.collection if part.collection and part.collection.files.corpus else None
        only = next(iter(with_passages.values())) if len(with_passages) == 1 else None
        yield part.name, BAD_INPUT, check_qrels(part, own or only)
    folders = {found.folder.resolve() for found in embeddings.values()}
    read = {f"{word} (its vectors)": found for word, found in given["index"].items() if found is not None}
    embeddings |= {word: found for word, found in read.items() if found.folder.resolve() not in folders}
    for word, recorded, known, fits, otherwise in _origins(given, manifests, embeddings):
        yield word, UNVERIFIED, check_origin(recorded, known, fits, otherwise)
    for word, vectors in embeddings.items():
        for model, (card, _) in given["model"].items():
            yield word, UNVERIFIED, check_model(vectors, model, card)
        for other, theirs in embeddings.items():
            if (vectors.side, theirs.side) == ("query", "passage"):
                yield f"{word} with {other}", UNVERIFIED, check_sides(vectors, theirs)
    for word, path in given["examples"].items():
        for name, found in with_passages.items():
            yield f"{word} with {name}", BAD_INPUT, check_examples(path, found.corpus())
    yield from _run_checks(given, with_passages, judged)


def _run_checks(
    given: Mapping[str, Named], with_passages: Named, judged: Sequence[Judgements]
) -> Iterator[tuple[str, int, Said]]:
    named = {f"{found.path}:{found.split}" for found in given["collection"].values() if found.split}
    chosen = [part for part in judged if part.collection is None or part.name in named]
    others = [part for part in judged if part not in chosen]
    for word, hits in given["run"].items():
        fitting = [part for part in others if set(hits.query_ids) & set(part.qrels.query_ids)]
        for part in chosen + (fitting or others):
            yield f"{word} with {part.name}", BAD_INPUT, check_run_queries(hits, part, judged)
        for name, found in with_passages.items():
            yield f"{word} with {name}", BAD_INPUT, check_run_corpus(hits, found)


def _judgements(found: Collection, splits: Iterable[str]) -> list[Judgements]:
    return [
        Judgements(f"{found.path}:{split}", found.qrels(split), Collection(found.path, split))
        for split in splits
        if split in found.files.qrels
    ]


# By content: judgements, hits and examples with texts and with each other


def check_collection(collection: Collection) -> Said:
    """Empty texts; query ids that are passage ids."""
    if collection.files.corpus and (empty := collection.corpus().num_empty):
        yield "note", f"{empty:,} passages are empty; they keep their ids and are never good hits"
    if collection.files.queries:
        queries = collection.queries()
        if queries.num_empty:
            yield "note", f"{queries.num_empty:,} queries are empty"
        if count := queries_that_are_passages(collection):
            text = f"{count:,} of {len(queries):,} queries are passages themselves"
            yield "note", f"{text}: evaluate with --drop-self"


def queries_that_are_passages(collection: Collection) -> int:
    """Return how many queries have the id *and* the text of a passage, as in ArguAna.

    Equal ids alone say nothing: many collections number queries and passages alike.
    """
    files = collection.files
    if not files.corpus or not files.queries or files.queries == files.corpus:
        return 0
    store, count = collection.corpus(), 0
    for query in collection.queries().queries:
        if (record := store.find(query.id)) is not None:
            passage, words = " ".join(record.text.split()), " ".join(query.text.split())
            count += bool(passage and words) and (passage in words or words in passage)
    return count


def check_qrels(part: Judgements, collection: Collection | None) -> Said:
    """Judged passages that do not exist; queries without a relevant passage."""
    qrels = part.qrels
    if without := int((relevant_counts(qrels) == 0).sum()):
        share = f"{without:,} of {len(qrels):,} queries have no relevant passage"
        yield "note", f"{share}; they score 0 whatever is found"
    if part.collection is not None and part.collection.files.queries:
        part.collection.queries()  # refuses judged queries that are not there
    if collection is None or not len(qrels.grades):
        return
    lost, judged = collection.unknown_passages(qrels), len(np.unique(qrels.passages))
    if len(lost) == judged:
        why = _why("judged", lost, "corpus", collection.corpus())
        yield "problem", f"no judged passage is in the corpus, every score will be 0: {why}"
    elif lost:
        share = f"{len(lost):,} of {judged:,} judged passages are not in the corpus"
        yield "note", f"{share} (first: {lost[0]}); no run can find them"
    else:
        yield "ok", f"all {judged:,} judged passages are in the corpus"


def check_run_queries(run: Run, part: Judgements, judged: Sequence[Judgements]) -> Said:
    """The run's queries against the judged ones, and whether anything relevant is among the hits."""
    asked, wanted = set(run.query_ids), set(part.qrels.query_ids)
    if not len(run.scores):
        yield "note", "the run holds no hits at all; every measure is 0"
    elif not asked & wanted:
        yield "problem", _no_shared_queries(run, part, judged)
    else:
        if missing := len(wanted - asked):
            share = f"{missing:,} of {len(wanted):,} judged queries"
            yield "note", f"{share} have no hits; each counts 0 in the mean"
        if strange := len(asked - wanted):
            yield "note", f"{strange:,} queries of the run are not judged and are left out"
        yield from _check_hits(run, part.qrels, len(asked & wanted))


def _no_shared_queries(run: Run, part: Judgements, judged: Sequence[Judgements]) -> str:
    """Say whose judgements the run would fit, or how its ids differ."""
    others = [other for other in judged if other is not part]
    if part.collection:
        others += _judgements(part.collection, set(part.collection.files.qrels) - {part.collection.split})
    for other in others:
        if len(set(run.query_ids) & set(other.qrels.query_ids)) > len(run) / 2:
            return f"no query of the run is judged there: it is a run of {other.name}; evaluate it with that"
    why = _why("the run has", run.query_ids, "the judgements", part.qrels.query_ids)
    return f"no query of the run is judged: {why}"


def _check_hits(run: Run, qrels: Qrels, shared: int) -> Said:
    rows = {query_id: row for row, query_id in enumerate(run.query_ids)}
    places = np.array([rows.get(query_id, -1) for query_id in qrels.query_ids], dtype=np.int64)
    queries = np.repeat(places, np.diff(qrels.offsets))
    wanted = (qrels.grades > 0) & (queries >= 0)
    passages = rows_of(run, qrels.passage_ids)[qrels.passages][wanted]
    hit = passages >= 0
    width = len(run.passage_ids)  # a pair of query and passage is one number
    pairs = np.repeat(np.arange(len(run), dtype=np.int64), np.diff(run.offsets)) * width + run.passages
    if found := int(np.isin(queries[wanted][hit] * width + passages[hit], pairs).sum()):
        share = f"{found:,} of {len(passages):,} relevant passages of {shared:,} queries"
        yield "ok", f"{share} are among the hits"
    elif hit.any():
        yield (
            "problem",
            (
                "every score is 0: the ids fit, yet no query has a relevant passage among its hits "
                f"({int(hit.sum()):,} are hits of other queries); the query ids are mixed up, or the "
                "queries were encoded by another model than the passages"
            ),
        )
    else:
        ids = [run.passage_ids[int(row)] for row in run.passages[:SAMPLE]]
        why = _why("hits are", ids, "judged are", qrels.passage_ids)
        if why.endswith(UNRELATED):
            why += "; or, where they are passages of the corpus, the search is no better than chance"
        yield "problem", f"every score is 0: no relevant passage is among the hits; {why}"


def check_run_corpus(run: Run, collection: Collection) -> Said:
    """Hits that are no passages of the corpus; hits that are the query itself."""
    store = collection.corpus()
    hit = [run.passage_ids[row] for row in np.unique(run.passages).tolist()]
    if strangers := [passage_id for passage_id in hit if store.row_of(passage_id) is None]:
        share = f"{len(strangers):,} of {len(hit):,} passages in the run are not in the corpus"
        yield "problem", f"{share}: {_why('run', strangers, 'corpus', store)}"
    else:
        yield "ok", f"all {len(hit):,} passages of the run are in the corpus"
    own = rows_of(run, run.query_ids)
    itself = int((np.repeat(own, np.diff(run.offsets)) == run.passages).sum())
    if itself and queries_that_are_passages(collection):
        yield "note", f"{itself:,} queries have themselves as a hit; evaluate with --drop-self drops these"


def check_examples(path: Path, store: TextStore) -> Said:
    """Whether the examples' passages are in the corpus."""
    named, without = [], 0
    for example in read_examples(path):
        without += not example.positive_document_ids
        named += [*example.positive_document_ids, *example.negative_document_ids]
    if without:
        yield "note", f"{without:,} examples have no positive passage"
    if strangers := [passage for passage in dict.fromkeys(named) if store.row_of(passage) is None]:
        why = _why("first", strangers, "corpus", store)
        yield "problem", f"{len(strangers):,} passages are not in the corpus: {why}"
    else:
        yield "ok", f"all {len(named):,} passages named are in the corpus"


# Why no id of one side is known to the other: the usual ways in which two id spaces differ


def _why(mine: str, strangers: Sequence[str], theirs: str, known: TextStore | Sequence[str]) -> str:
    """Return some ids of both sides, and what would make the strangers known."""
    if isinstance(known, TextStore):
        some, knows = known.ids(0, SAMPLE), lambda text_id: known.row_of(text_id) is not None
    else:
        some, knows = list(known[:SAMPLE]), set(known).__contains__
    shown = [", ".join(map(repr, ids[:2])) for ids in (strangers, some)]
    return f"{mine} {shown[0]}, {theirs} {shown[1]}; {explain_strangers(strangers, knows, some)}"


def explain_strangers(strangers: Sequence[str], known: Callable[[str], bool], examples: Sequence[str]) -> str:
    """Return what would make the ids known, in one clause, or a clause that says that nothing simple does."""
    sample = strangers[:SAMPLE]
    for change, clause in _changes(sample, examples):
        changed = [change(text_id) for text_id in sample]
        if sum(map(known, changed)) >= 0.9 * len(sample):
            return f"{clause} ({sample[0]!r} is {changed[0]!r} there)"
    if all(map(str.isdecimal, sample)) and not any(map(str.isdecimal, examples)):
        return "they look like row numbers; write the collection's ids instead"
    return UNRELATED


def _changes(sample: Sequence[str], examples: Sequence[str]) -> Iterator[tuple[Callable[[str], str], str]]:
    yield lambda text_id: text_id.lstrip("0") or "0", "leading zeros were added"
    yield str.lower, "letters were turned to upper case"
    yield str.upper, "letters were turned to lower case"
    yield lambda text_id: text_id.removesuffix(".0"), "ids went through a number type and got '.0'"
    widths = {len(text_id) for text_id in examples if text_id.isdecimal()}
    if len(widths) == 1:
        width = widths.pop()
        lost = "leading zeros were lost (ids went through a number type)"
        yield lambda text_id: text_id.zfill(width), lost
    mine, theirs = _prefix(sample), _prefix(examples)
    if mine:
        yield lambda text_id: text_id.removeprefix(mine), f"the prefix {mine!r} was added"
    if theirs:
        yield lambda text_id: theirs + text_id, f"the prefix {theirs!r} is missing"


def _prefix(ids: Sequence[str]) -> str:
    """Return the letters that all ids begin with, up to the first digit."""
    return re.sub(r"\d.*$", "", beginning(ids)) if ids else ""


# By fingerprint: vectors, indexes and runs with what they were made from

Origin = tuple[str, str | None, Mapping[str, str], str, str]


def _origins(
    given: Mapping[str, Named], manifests: Mapping[str, Manifest], embeddings: Mapping[str, Embeddings]
) -> Iterator[Origin]:
    """Yield what was made from something of a kind that is given, for `check_origin`."""
    collections = given["collection"].items()
    corpora = {found.corpus().sha256: word for word, found in collections if found.files.corpus}
    queries = {sha256: word for word, found in collections for sha256 in queries_sha256(found)}
    over_words = {word: manifests[word] for word, vectors in given["index"].items() if vectors is None}
    changed = "{} (another collection or split, or the texts changed since)"
    for word, found in embeddings.items():
        side, known = ("passages", corpora) if found.side == "passage" else ("queries", queries)
        wrong = f"was not encoded from the {side} of {changed}; encode again"
        yield word, found.collection_sha256, known, f"encodes the {side} of", wrong
    for word, manifest in over_words.items():
        wrong = f"was not built over {changed}; index again"
        yield word, manifest.inputs.get("corpus"), corpora, "was built over", wrong
    passages, asked = (
        {found.fingerprint: word for word, found in embeddings.items() if found.side == side}
        for side in ("passage", "query")
    )
    # an index that others were added to has a fingerprint of its own
    over_vectors = {found.fingerprint: word for word, found in given["index"].items() if found is not None}
    passages = over_vectors | passages
    indexes = {manifest.fingerprint: word for word, manifest in over_words.items()}
    with_these, wrong = "was searched with", "was not searched in {}, which changed since or is another"
    strange = "was not searched with queries of {} (or another split of it); search again"
    for word in given["run"]:
        inputs, corpus = manifests[word].inputs, manifests[word].extra.get("corpus")
        elsewhere = (
            "was not searched in the passages of {} (another collection, or the texts changed since); search "
            f"again ({WAY_OUT})"
        )
        yield word, corpus, corpora, "was searched in the passages of", elsewhere
        yield word, inputs.get("passages"), passages, with_these, f"{wrong}; search again"
        yield word, inputs.get("index"), indexes, with_these, f"{wrong}; search again"
        # Queries that were encoded on the spot have another fingerprint and are right.
        yield word, inputs.get("queries"), asked, with_these, ""
        if "index" in inputs:
            yield word, inputs["queries"], queries, f"{with_these} the queries of", strange
    yield from _answers_origins(given, manifests, corpora, queries)


def _answers_origins(
    given: Mapping[str, Named],
    manifests: Mapping[str, Manifest],
    corpora: Mapping[str, str],
    queries: Mapping[str, str],
) -> Iterator[Origin]:
    """Yield what a reader's answers were read from; ``corpora`` and ``queries`` by their hashes."""
    runs = {run_fingerprint(Path(word)): word for word in given["run"]} if given["answers"] else {}
    models = {card.fingerprint("passage"): word for word, (card, _) in given["model"].items()}
    known = {"queries": queries, "corpus": corpora, "run": runs, "passage_model": models}
    said = {
        "queries": ("answer the questions of", "no answers to the questions of {} (or another split of it)"),
        "corpus": ("were read in the passages of", "were not read in the passages of {}"),
        "run": (
            "were read in the hits of",
            "were not read in the hits of {}, which changed since or is another",
        ),
        "passage_model": ("were read by", "were not read by {}, which changed since or is another"),
    }
    for word in given["answers"]:
        for name, (fits, otherwise) in said.items():
            yield word, manifests[word].inputs.get(name), known[name], fits, f"{otherwise}; read again"


def check_origin(recorded: str | None, known: Mapping[str, str], fits: str, otherwise: str) -> Said:
    """Whether what a manifest records is one of the fingerprints that are known by name."""
    if recorded is not None and recorded in known:
        yield "ok", f"{fits} {known[recorded]}"
    elif recorded is not None and known and otherwise:
        yield "problem", otherwise.format(" or ".join(dict.fromkeys(known.values())))


def queries_sha256(collection: Collection) -> set[str]:
    """Return the hashes of the named split's queries, or of all queries and of every split."""
    if not collection.files.queries or collection.files.queries == collection.files.corpus:
        return set()
    found = set()
    for split in [collection.split] if collection.split else [None, *collection.splits]:
        with suppress(DataError):  # said of its judgements
            found.add(collection.queries(split).sha256)
    return found


def check_model(vectors: Embeddings, model: str, card: ModelCard) -> Said:
    """Whether the model made the vectors, with the inference choices that they record."""
    recorded = {"passage": vectors.passage_fingerprint, "query": vectors.query_fingerprint}
    chosen = vectors.extra.get("inference", {})
    known = {key: value for key, value in chosen.items() if key in card.inference}
    if card.fingerprint("passage", known) != recorded["passage"]:
        yield "problem", f"was encoded by another model than {model}, or with other templates or lengths"
    elif card.fingerprint(vectors.side, known) != recorded[vectors.side]:
        yield "note", f"fits the passages of {model}, whose query side is another"
    else:
        yield "ok", f"was encoded by {model}"


def check_sides(queries: Embeddings, passages: Embeddings) -> Said:
    """Whether query vectors belong to passage vectors."""
    if queries.vectors != passages.vectors:
        both = f"{queries.vectors} and {passages.vectors}"
        yield "problem", f"vectors differ: {both}; encode both with one model"
    elif queries.passage_fingerprint != passages.passage_fingerprint:
        yield "problem", "queries and passages were encoded by different models; encode one of them again"
    else:
        yield "ok", "queries and passages were encoded by one model"
