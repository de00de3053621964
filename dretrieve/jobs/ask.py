"""``ask``: one question to a model that retrieves and reads; its answer, and the words it looked at."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dretrieve.encoding.numerics import resolve_device, resolve_precision
from dretrieve.encoding.pipeline import encode_records
from dretrieve.encoding.reading import Asked, reader
from dretrieve.errors import PreconditionError, UsageError, VerificationError, visible
from dretrieve.index.base import Passages
from dretrieve.index.exact import ExactOptions
from dretrieve.index.registry import open_vector_index
from dretrieve.index.top_k import TopK
from dretrieve.jobs.configs.ask import AskConfig
from dretrieve.jobs.examples import recorded_collections, shortened
from dretrieve.jobs.read import reading_card
from dretrieve.models.loading import load_model
from dretrieve.models.registry import check_choices
from dretrieve.runs.search import Queries, as_run, check_model, check_queries
from dretrieve.store.text_store import TextStore
from dretrieve.text.collection import Collection
from dretrieve.threads import allotted_threads
from dretrieve.tokens.tokenizer import SideTokenizer
from dretrieve.types import SILENT, Progress, Record, Vectors

NAME = "the question"
MARKED = 0.5  # a word is marked from this share of what the most looked at word has


@dataclass(frozen=True, slots=True)
class Word:
    """A word of a passage's text: where it stands, and its share of the answer's attention."""

    begin: int
    end: int
    attention: float
    word: str


@dataclass(frozen=True, slots=True)
class Read:
    """A passage that was read.

    Attributes:
        attention: its share of what the answer looks at, its pair's question tokens with it.
        words: those that are marked, in the text's order.
    """

    id: str
    score: float
    attention: float
    text: str
    words: Sequence[Word]


@dataclass(frozen=True, kw_only=True, slots=True)
class AskResult:
    """The answer, its log-probability, and the passages, best first."""

    question: str
    answer: str
    log_probability: float
    passages: Sequence[Read]

    def as_json(self) -> dict[str, Any]:
        """Return everything as plain data."""
        return asdict(self)

    def render(self) -> str:
        """Return the answer and a few lines for each passage."""
        lines = [f"{visible(self.answer)}  (probability {np.exp(self.log_probability):.3f})"]
        for rank, of in enumerate(self.passages, 1):
            lines.append(f"{rank:>3}. {100 * of.attention:5.1f} %  {visible(of.id)}  score {of.score:.4f}")
            lines.append(f"     {visible(_marked(of))}")
        return "\n".join(lines)


def run(config: AskConfig, progress: Progress = SILENT) -> AskResult:
    """Search, read, answer.

    Raises:
        UsageError: an empty question; a model that cannot read; a choice that it has not.
        PreconditionError: model, index or the passages' texts are missing.
        VerificationError: an index of another model; texts of another collection.
    """
    if not config.question.strip():
        raise UsageError("the question is empty; ask something")
    card = reading_card(config.model)
    choices = check_choices(card, config.settings)
    settings = {name: choices[name] for name in config.settings}
    index = open_vector_index(config.index, full=config.verify, settings={})
    queries = Queries(
        ids=[NAME],
        passage_model=card.fingerprint("passage", settings),
        fingerprint="",
        name=f"by {config.model}",
        load=lambda: encode_records(model, "query", [asked], index.passages.embeddings.dtype),
    )
    check_model(queries, index.passages)
    texts = _texts(config, index.passages, progress)
    asked = Record(NAME, "", config.question)
    device = resolve_device(config.device)
    model = load_model(config.model, device, resolve_precision(config.precision, device), settings)
    vectors = queries.load()
    check_queries(queries, vectors, index.passages)
    found = _searched(config, index, vectors, device)
    records = [_record(texts, name, config) for name, _ in found]
    with reader(model, config.beams) as reads:
        answer = reads.read([Asked(asked, records)])[0]
    tokenizer, read = model.tokenizers["passage"], zip(records, answer.tokens, strict=True)
    words = [words_of(tokenizer, record, shares) for record, (_, shares) in read]
    top = max((word.attention for of in words for word in of), default=0.0)
    passages = [
        Read(
            id=record.id,
            score=score,
            attention=share,
            text=tokenizer.places(record)[0],
            words=[word for word in of if word.attention >= MARKED * top],
        )
        for record, (_, score), share, of in zip(records, found, answer.attention, words, strict=True)
    ]
    return AskResult(
        question=config.question,
        answer=answer.text,
        log_probability=answer.log_probability,
        passages=passages,
    )


def _texts(config: AskConfig, passages: Passages, progress: Progress) -> list[TextStore]:
    """Return the texts of every collection that was encoded, those added last first.

    For what came in later may have the id of a passage that was deleted before.
    """
    embeddings = passages.embeddings
    specs = config.corpus or recorded_collections(embeddings)
    if not specs:
        raise PreconditionError(
            f"the collection that {embeddings.folder} names is not there; say where its passages' texts are "
            "with --corpus DIR"
        )
    found = [Collection.open(spec, "corpus").corpus(progress, full=config.verify) for spec in specs]
    for spec, texts in zip(specs, found, strict=True):
        if texts.sha256 not in embeddings.collections:
            raise VerificationError(
                f"the texts of {spec} are not those that were encoded for {config.index}, or have changed "
                "since; give theirs with --corpus DIR, or encode again"
            )
    return sorted(found, key=lambda texts: -embeddings.collections.index(texts.sha256))


def _searched(config: AskConfig, index: Any, vectors: Vectors, device: str) -> list[tuple[str, float]]:
    """Return id and score of the best passages."""
    passages = index.passages
    kept = TopK.empty(1, min(config.depth, passages.rows))
    index.search(vectors, kept, (0, passages.rows), ExactOptions(threads=allotted_threads(), device=device))
    return list(as_run([NAME], kept, passages).hits(0))


def _record(stores: Sequence[TextStore], name: str, config: AskConfig) -> Record:
    for texts in stores:
        if (record := texts.find(name)) is not None:
            return record
    raise VerificationError(
        f"passage {name!r} of {config.index} is in none of the texts; give every collection that was encoded "
        "for it, each with --corpus DIR"
    )


def words_of(tokenizer: SideTokenizer, record: Record, shares: NDArray[np.float32]) -> list[Word]:
    """Return a text's words, what is no white space, each with what its tokens have together.

    Where the text was cut there are fewer shares than tokens, the last being its last token's.
    """
    text, places = tokenizer.places(record)
    if len(shares) < len(places):
        places = [*places[: len(shares) - 1], places[-1]]
    found = []
    for match in re.finditer(r"\S+", text):
        begin, end = match.span()
        inside = [
            share for (first, last), share in zip(places, shares, strict=True) if first < end and last > begin
        ]
        found.append(Word(begin, end, float(np.sum(inside)), match[0]))
    return found


def _marked(of: Read) -> str:
    """Return the text with brackets around the marked words; without such, shortened."""
    if not of.words:
        return shortened(of.text)
    text, end = "", 0
    for word in of.words:
        text += f"{of.text[end : word.begin]}[{word.word}]"
        end = word.end
    return " ".join((text + of.text[end:]).split())
