"""What ``explain`` reads: a sample of each side of one or more collections, judged pairs, a query to draw."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from dretrieve.encoding.pieces import batches_of, token_batch
from dretrieve.errors import UsageError, VerificationError
from dretrieve.jobs.configs.explain import ExplainConfig
from dretrieve.models.base import TokenBatch
from dretrieve.models.loading import LoadedModel
from dretrieve.models.registry import spelled
from dretrieve.runs.read import read_run
from dretrieve.store.seeds import generator
from dretrieve.store.shards import CHUNK_ROWS
from dretrieve.store.text_store import TextStore
from dretrieve.text.collection import Collection
from dretrieve.text.files import sha256_of
from dretrieve.text.queries import QuerySet
from dretrieve.types import Progress, Record, Side, Texts

MOST_DRAWN = 1000  # passages of the query that is drawn


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Texts of one side."""

    records: Sequence[Record]
    total: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """What is read of one collection.

    Attributes:
        samples: of its sides, queries first.
        queries: all that are read of; None where none are.
        pairs: ids of a query of the sample and of a passage that is relevant to it.
        judged: how many such pairs there are; those above were drawn from them.
        beside: passages that the sample lacks: those of the pairs, those relevant to the query to draw.
        unpaired: why pairs are missing; empty where none is.
        judgements: the hash of the file they come from; empty where there is none.
        positives: query id to the ids of its relevant passages.
    """

    name: str
    samples: Mapping[Side, Sample]
    passages: TextStore
    queries: QuerySet | None = None
    positives: Mapping[str, Sequence[str]] = field(default_factory=dict)
    pairs: Sequence[tuple[str, str]] = ()
    judged: int = 0
    beside: Sequence[Record] = ()
    unpaired: str = ""
    judgements: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """The query that is drawn with its best passages.

    Attributes:
        part: the name of its collection.
        relevant: ids of the passages that are relevant to it.
        hits: its passages of a run, best first, `MOST_DRAWN` at most; empty where none is given.
    """

    part: str
    query: Record
    relevant: frozenset[str] = frozenset()
    hits: Sequence[Record] = ()
    passages: Sequence[Record] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Everything that an explanation is made of, but the model.

    Attributes:
        chosen: the queries to draw, of most methods one; none where no queries are read.
        check: called between two batches; raises where a signal came.
    """

    config: ExplainConfig
    parts: Sequence[Part]
    chosen: Sequence[Drawn] = ()
    check: Callable[[], None] = lambda: None

    @property
    def drawn(self) -> Drawn | None:
        """The first of the queries to draw."""
        return self.chosen[0] if self.chosen else None


def read(
    config: ExplainConfig, progress: Progress, check: Callable[[], None], *, draws: bool = True
) -> Reading:
    """Return the texts that the config names, drawn by its seed; with ``draws`` the run's hits of a query.

    Raises:
        UsageError: queries that do not go with the corpora one by one; no such split, no such query.
        PreconditionError: no such collection.
        DataError: a collection that cannot be read, or has no texts.
    """
    if config.queries and len(config.queries) != len(config.corpus):
        raise UsageError(
            f"--queries stands {len(config.queries)} times and --corpus {len(config.corpus)} times; give one "
            "for each corpus, in the same order, or none"
        )
    specs = config.queries or (None,) * len(config.corpus)
    opened = [
        _open(config, name, corpus, queries, progress)
        for name, corpus, queries in zip(_names(config.corpus), config.corpus, specs, strict=True)
    ]
    chosen = _chosen(config, opened)
    if config.run is not None and draws:
        chosen = _with_hits(config.run, opened, chosen)
    if config.passage:
        chosen = _with_passages(config.passage, opened, chosen)
    parts = [_paired(config, of, chosen) for of in opened]
    return Reading(config=config, parts=parts, chosen=chosen, check=check)


def _names(specs: Sequence[str]) -> list[str]:
    """Return a short name for each collection."""
    names = [Path(spec).resolve().name for spec in specs]
    found = names if len(set(names)) == len(names) else list(specs)
    if len(set(found)) < len(found):
        twice = next(spec for spec in specs if specs.count(spec) > 1)
        raise UsageError(f"--corpus {twice} stands twice; give each corpus once")
    return found


def _open(config: ExplainConfig, name: str, corpus: str, queries: str | None, progress: Progress) -> Part:
    """Return a collection opened, its texts drawn, with its judgements where it has some."""
    passages = Collection.open(corpus, "corpus").corpus(progress, full=config.verify)
    samples: dict[Side, Sample] = {"passage": _sample(config, "passage", passages)}
    if queries is None:
        return Part(name=name, samples=samples, passages=passages)
    collection = Collection.open(queries, "queries")
    asked = collection.queries()
    samples = {"query": _sample(config, "query", asked), **samples}
    found = Part(name=name, samples=samples, passages=passages, queries=asked)
    try:
        judged = sha256_of(collection.qrels_file())
        return replace(found, positives=collection.qrels().positives(), judgements=judged)
    except UsageError as error:  # none for this split, or several and none was named
        return replace(found, unpaired=str(error))


def _sample(config: ExplainConfig, side: Side, texts: Texts) -> Sample:
    total = len(texts)
    assert total, "a collection without texts is refused when it is opened"
    rows = _some(config, side, total)
    records = [texts.records(row, row + 1)[0] for row in rows.tolist()]
    return Sample(records=records, total=total, sha256=texts.sha256)


def _some(config: ExplainConfig, what: str, total: int) -> NDArray[np.int64]:
    """Return the numbers below ``total``, ascending; of more than the limit those that the seed draws."""
    if not config.limit or config.limit >= total:
        return np.arange(total)
    return np.sort(generator(config.seed, "explain", what).permutation(total)[: config.limit])


def _paired(config: ExplainConfig, of: Part, chosen: Sequence[Drawn]) -> Part:
    """Return what is read of a collection, with its judged pairs and the passages that the sample lacks."""
    asked = of.samples["query"].records if "query" in of.samples else ()
    every = [(query.id, passage) for query in asked for passage in of.positives.get(query.id, ())]
    known = {passage for _, passage in every if of.passages.row_of(passage) is not None}
    judged = [pair for pair in every if pair[1] in known]
    pairs = [judged[number] for number in _some(config, "pairs", len(judged)).tolist()]
    unpaired = of.unpaired
    if len(judged) < len(every):
        unpaired = f"{len(every) - len(judged):,} of {len(every):,} judged passages are not in the corpus"
    elif of.queries is not None and not (pairs or unpaired):
        unpaired = "no query of the sample has a relevant passage"
    wanted = {passage for _, passage in pairs}
    for drawn in chosen:
        wanted |= drawn.relevant if drawn.part == of.name else set()
    lacking = wanted - {record.id for record in of.samples["passage"].records}
    rows = sorted(row for passage in lacking if (row := of.passages.row_of(passage)) is not None)
    beside = [of.passages.record(row) for row in rows]
    return replace(of, pairs=pairs, judged=len(judged), beside=beside, unpaired=unpaired)


def _chosen(config: ExplainConfig, opened: Sequence[Part]) -> list[Drawn]:
    """Return the queries that are asked for, else the first that has a relevant passage, or the first."""
    if config.query:
        if twice := [name for name in config.query if config.query.count(name) > 1]:
            raise UsageError(f"--query {twice[0]} stands twice; give each query once")
        return [_named(name, opened) for name in config.query]
    asked = [of for of in opened if "query" in of.samples]
    every = [(of, query) for of in asked for query in of.samples["query"].records]
    judged = (pair for pair in every if pair[0].positives.get(pair[1].id))
    first = next(judged, every[0] if every else None)
    return [_with_relevant(*first)] if first is not None else []


def _named(name: str, opened: Sequence[Part]) -> Drawn:
    asked = [(of, of.queries) for of in opened if of.queries is not None]
    for of, queries in asked:
        if (row := queries.row_of(name)) is not None:
            return _with_relevant(of, queries.records(row, row + 1)[0])
    has = f"the first there are {', '.join(asked[0][1].ids(0, 3))}" if asked else "give --queries DIR:split"
    raise UsageError(f"--query {name}: no such query is read; {has}")


def _with_relevant(of: Part, query: Record) -> Drawn:
    return Drawn(part=of.name, query=query, relevant=frozenset(of.positives.get(query.id, ())))


def _with_hits(path: Path, opened: Sequence[Part], chosen: Sequence[Drawn]) -> list[Drawn]:
    """Return the queries with their hits of a run."""
    if not chosen:
        raise UsageError(f"--run {path}: no query is read; give --queries DIR:split")
    run = read_run(path)
    places = {name: place for place, name in enumerate(run.query_ids)}
    found = []
    for drawn in chosen:
        part = next(of for of in opened if of.name == drawn.part)
        if drawn.query.id not in places:
            raise UsageError(f"--run {path} has no query {drawn.query.id}; name one that it has with --query")
        every = run.hits(places[drawn.query.id])
        hits = [hit_record(part, name, path) for name, _ in islice(every, MOST_DRAWN)]
        if not hits:
            raise UsageError(
                f"--run {path} has no hits for query {drawn.query.id}; name another with --query"
            )
        found.append(replace(drawn, hits=hits))
    return found


def hit_record(part: Part, name: str, run: Path | None) -> Record:
    """Return the text of a run's passage.

    Raises:
        VerificationError: the collection lacks it.
    """
    record = part.passages.find(name)
    if record is None:
        raise VerificationError(f"--run {run}: passage {name} is not in {part.name}; give its corpus")
    return record


def _with_passages(names: Sequence[str], opened: Sequence[Part], chosen: Sequence[Drawn]) -> list[Drawn]:
    """Return each of the queries with the passages that are named."""
    if not chosen:
        raise UsageError(f"--passage {names[0]}: no query is read; give --queries DIR:split")
    found = []
    for drawn in chosen:
        passages = next(of.passages for of in opened if of.name == drawn.part)
        rows = {name: passages.row_of(name) for name in names}
        for name, row in rows.items():
            if row is None:
                raise UsageError(f"--passage {name}: {drawn.part} has no such passage; give its corpus")
        records = [passages.record(row) for row in rows.values() if row is not None]
        found.append(replace(drawn, passages=records))
    return found


def refuse_picture(
    reading: Reading, model: LoadedModel, allowed: Sequence[str] = (), *, several: bool = False
) -> None:
    """Refuse the options of the picture, for a method that has none, and several queries for one of one.

    Raises:
        UsageError: names the first that is given and not allowed.
    """
    config = reading.config
    given = {"--query": config.query, "--run": config.run, "--tsne": config.tsne}
    for name, value in (given | {"--passage": config.passage, "--hits": config.hits}).items():
        if value and name not in allowed:
            method = spelled(model.card.method)
            raise UsageError(f"{name}: {method} has no picture of texts; leave that option out")
    if len(reading.chosen) > 1 and not several:
        raise UsageError(f"--query stands {len(reading.chosen)} times: give {spelled(model.card.method)} one")


def token_batches(
    model: LoadedModel, side: Side, records: Sequence[Record]
) -> Iterator[tuple[NDArray[np.int64], TokenBatch]]:
    """Yield rows and their texts tokenised, as ``encode`` would cut them, where the engine wants them."""
    tokenizer = model.tokenizers[side]
    for start in range(0, len(records), CHUNK_ROWS):
        some = records[start : start + CHUNK_ROWS]
        tokens, ids = tokenizer.tokenize(some), [record.id for record in some]
        for rows in batches_of(tokens, model.device):
            batch = token_batch(tokens, rows, tokenizer.pad_id, ids)
            yield rows + start, batch if model.engine.name == "packed" else batch.to(model.device)
