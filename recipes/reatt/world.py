"""An invented world where retrieval can be learned from answers alone, and a T5 with random weights for it.

    python recipes/reatt/world.py FOLDER [--train 4000 --test 2000 --dev 300 --reading 2000]
        [--relations 5 --seed 7]
    python recipes/reatt/world.py FOLDER --texts CORPUS.jsonl     a T5 for these passages, nothing else

The first writes BEIR folders (questions with answers, judgements) and a backbone; the numbers are of
questions, the defaults those of the profile mini-cpu, with which BM25's first 6 (in names 6 to 8) hold 55 to
75 % of the passages: an entity is told of by a fact of each relation (of 5 where there are more), and in
facts the traps of those that ask with the same word, who or what, stand before them. Of four relations the
first 6 hold all. The same options give the same bytes.

    facts      "who founded Banu Korel" asks for what "Banu Korel owes its walls to Xalo Miru" states: they
               share the entity alone. Beside each fact stands a trap, which repeats the question's words
               around a wrong answer: BM25's first hit is wrong. Splits train, dev, test
    names      the same of other entities, but 40 % of the facts call the entity by another name: one of its
               two words gives way to that word's twin, the same everywhere. 60 % of the facts have a trap,
               and all have the question's verb as title, so BM25 finds facts of other entities too
    elsewhere  other relations and names, a quarter of the questions: what an adapted model adapts to
    reading    a question for each entity, and one passage: its fact, another of it, and one of an entity that
               shares a word with it; no traps: what a T5 learns to read one passage on
    t5         T5 v1.1's layout, 4 + 2 layers, 128 wide, 4 heads of 32; its tokens are whole words

The T5 for real passages: 8 + 8 layers, 384 wide, 6 heads of 64; its tokens are a unigram model's.

No entity is in two collections or two splits, and none of `reading` is another's other name.
"""

from __future__ import annotations

import argparse
import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import islice, product
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tokenizers import Tokenizer

SYLLABLES = "ba do fe gi ka lo mu ne pi ra so tu va we xi yo za che dri flo gru klo pre sta tri".split()
Relation = tuple[str, str, str]  # who or what, what it does, the statement
RELATIONS: Sequence[Relation] = (
    ("who", "founded", "{entity} owes its walls to {answer}"),
    ("what", "crosses", "boats reach {entity} upon the {answer}"),
    ("what", "enriches", "merchants from {entity} carry {answer}"),
    ("who", "rules", "people of {entity} kneel before {answer}"),
    ("who", "protects", "prayers at {entity} call upon {answer}"),
    ("who", "burned", "ashes of {entity} recall the armies under {answer}"),
    ("what", "feeds", "every kitchen of {entity} smells like {answer}"),
    ("what", "shelters", "steep roads climb {answer} towards {entity}"),
    ("who", "praised", "{answer} wrote odes about {entity}"),
    ("what", "wakes", "over the roofs of {entity} tolls {answer}"),
)
ABROAD: Sequence[Relation] = (
    ("what", "visits", "anchored off {entity} waits {answer}"),
    ("what", "cheers", "fiddlers in {entity} strike up {answer}"),
    ("who", "judges", "{answer} speaks right and wrong over {entity}"),
    ("what", "adorns", "bees of {entity} swarm around {answer}"),
    ("what", "emptied", "{answer} left no one alive inside {entity}"),
    ("who", "taxes", "purses from {entity} grow light because {answer} passed"),
)
TRAP = "some ask {question} and hear {answer}"
FRAME = "question: title: context: relevance: relevant 0 1 2 3 ."  # of templates
FILLERS = ("", "", "indeed", "they say")
RELATIONS_EACH = 5  # of an entity, or all where there are fewer
SPECIAL, SENTINELS = ["<pad>", "</s>", "<unk>"], [f"<extra_id_{number}>" for number in range(100)]
SMALL = {
    **{"d_model": 128, "d_kv": 32, "num_heads": 4, "d_ff": 256},
    **{"num_layers": 4, "num_decoder_layers": 2},
}
LARGE = {
    **{"d_model": 384, "d_kv": 64, "num_heads": 6, "d_ff": 1024},
    **{"num_layers": 8, "num_decoder_layers": 8},
}
NAMES, NAMES_ABROAD, ANSWERS = 80, 60, 40  # words for each of the two places of a name


@dataclass(frozen=True)
class Part:
    """What a collection is like.

    Attributes:
        relations: of its entities.
        traps: facts beside which one stands.
        twins: facts that call the entity by its other name.
        titled: facts whose title is what the question asks for.
        crowded: whether a passage tells two things besides its fact.
    """

    relations: Sequence[Relation]
    traps: float = 1.0
    twins: float = 0.0
    titled: float = 0.0
    crowded: bool = False


Names = tuple[list[str], list[str]]  # the words of the first place, those of the second


class World:
    """The words, which are drawn first, and what is written with them.

    Args:
        folder: where collections and the backbone go.
        seed: of everything.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder, self._rng = folder, random.Random(seed)
        drawn = ["".join(pair).capitalize() for pair in product(SYLLABLES, repeat=2)]
        self._rng.shuffle(drawn)
        rest = iter(drawn)
        sizes = (NAMES, NAMES, NAMES_ABROAD, ANSWERS)
        kinds: list[Names] = [(list(islice(rest, size)), list(islice(rest, size))) for size in sizes]
        self.names, self.twins, self.abroad, self.answers = kinds

    def entities(self, names: Names) -> Iterator[str]:
        """Yield all pairs of these words, in no order."""
        pairs = [" ".join(pair) for pair in product(*names)]
        self._rng.shuffle(pairs)
        yield from pairs

    def collection(self, name: str, part: Part, questions: dict[str, list[str]], each: int) -> None:
        """Write one.

        Args:
            name: of its folder.
            part: what it is like.
            questions: split to its entities.
            each: relations, and so questions, of an entity.
        """
        passages: list[dict[str, Any]] = []
        queries: list[dict[str, Any]] = []
        folder = self.folder / name
        for split, entities in questions.items():
            judged = ["query-id\tcorpus-id\tscore\n"]
            for entity in entities:
                for relation in self._rng.sample(part.relations, each):
                    key = f"{entity}-{relation[1]}".lower().replace(" ", "-")
                    question, answer, texts = self._fact(part, entity, relation, entities)
                    passages += [{"_id": f"{key}{end}", **text} for end, text in texts.items()]
                    queries.append({"_id": f"q-{key}", "text": question, "answers": [answer]})
                    judged.append(f"q-{key}\t{key}\t1\n")
            write(folder / "qrels" / f"{split}.tsv", judged)
        self._rng.shuffle(passages)
        write(folder / "corpus.jsonl", [json.dumps(row) + "\n" for row in passages])
        write(folder / "queries.jsonl", [json.dumps(row) + "\n" for row in queries])

    def _fact(
        self, part: Part, entity: str, relation: Relation, entities: list[str]
    ) -> tuple[str, str, dict[str, dict[str, str]]]:
        """Return question, answer, and the passages by the ends of their ids."""
        who, does, statement = relation
        question = f"{who} {does} {entity}"
        first, second = (self._rng.sample(words, 2) for words in self.answers)
        answer, wrong = (" ".join(pair) for pair in zip(first, second, strict=True))
        called = self._other_name(entity) if self._rng.random() < part.twins else entity
        title = does if self._rng.random() < part.titled else ""
        told = [statement.format(entity=called, answer=answer)]
        if part.crowded:
            told += self._beside(part, entity, relation, entities)
            self._rng.shuffle(told)
        texts = {"": (title, " . ".join(told))}
        if self._rng.random() < part.traps:
            texts["-trap"] = "", TRAP.format(question=question, answer=wrong)
        filled = {
            end: {"title": title, "text": f"{text} {self._rng.choice(FILLERS)}".strip()}
            for end, (title, text) in texts.items()
        }
        return question, answer, filled

    def _beside(self, part: Part, entity: str, relation: Relation, entities: list[str]) -> list[str]:
        """Return the same of an entity that shares a word, and something else of this one."""
        others = [one for one in entities if one != entity]
        near = [one for one in others if set(one.split()) & set(entity.split())] or others
        another = self._rng.choice([one for one in part.relations if one != relation])
        return [
            told[2].format(entity=of, answer=" ".join(map(self._rng.choice, self.answers)))
            for of, told in ((self._rng.choice(near), relation), (entity, another))
        ]

    def _other_name(self, entity: str) -> str:
        words, place = entity.split(), self._rng.randrange(2)
        words[place] = self.twins[place][self.names[place].index(words[place])]
        return " ".join(words)

    def vocabulary(self) -> list[str]:
        """Return every word of its texts and of the templates around them."""
        sentences = [text for relation in (*RELATIONS, *ABROAD) for text in relation]
        frame = re.sub(r"\{\w+\}", " ", " ".join([*sentences, TRAP, FRAME, *FILLERS]))
        kinds = (self.names, self.twins, self.abroad, self.answers)
        return sorted(
            {*re.findall(r"\w+|[^\w\s]", frame), *(word for kind in kinds for one in kind for word in one)}
        )


def write(path: Path, lines: list[str]) -> None:
    """Write a file and the folders that it stands in."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(lines), encoding="utf-8")


def word_tokenizer(words: list[str]) -> Tokenizer:
    """Return one of whole words; T5's sentinels besides."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    pieces = [*SPECIAL, *words, *SENTINELS]
    made = Tokenizer(models.WordLevel({piece: row for row, piece in enumerate(pieces)}, unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    return made


def unigram_tokenizer(corpus: Path) -> Tokenizer:
    """Return one of 16,000 pieces, trained on the passages of a collection's file."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers

    made = Tokenizer(models.Unigram())
    made.normalizer = normalizers.NFKC()
    made.pre_tokenizer, made.decoder = pre_tokenizers.Metaspace(), decoders.Metaspace()
    trainer = trainers.UnigramTrainer(
        vocab_size=16_000, special_tokens=[*SPECIAL, *SENTINELS], unk_token="<unk>", show_progress=False
    )
    with corpus.open(encoding="utf-8") as lines:
        rows = map(json.loads, lines)
        made.train_from_iterator((f"{row.get('title', '')} {row['text']}" for row in rows), trainer)
    return made


def write_t5(folder: Path, tokenizer: Tokenizer, sizes: dict[str, int], seed: int) -> None:
    """Write a T5 with random weights, without dropout, and its tokenizer, which ends a text with </s>."""
    import torch
    from tokenizers import processors
    from transformers import PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration
    from transformers.utils import logging

    logging.disable_progress_bar()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="$A </s>", pair="$A </s> $B </s>", special_tokens=[("</s>", tokenizer.token_to_id("</s>"))]
    )
    special = dict(zip(("pad_token", "eos_token", "unk_token"), SPECIAL, strict=True))
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=512, extra_special_tokens=SENTINELS, **special
    ).save_pretrained(folder)
    form = {"feed_forward_proj": "gated-gelu", "tie_word_embeddings": False, "dropout_rate": 0.0}
    size, width = tokenizer.get_vocab_size(), sizes["d_model"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = T5ForConditionalGeneration(
            T5Config(vocab_size=size, decoder_start_token_id=0, **sizes, **form)
        )
        # transformers has one table of words, v1.1 another for answers: so copying is learned sooner
        model.lm_head.weight = torch.nn.Parameter(torch.randn(size, width) * width**-0.5)
    model.save_pretrained(folder)


def main(options: argparse.Namespace) -> None:
    """Write the world, unless that of this script and these options stands there."""
    done = options.folder / "complete"
    said = sorted((name, str(value)) for name, value in vars(options).items() if name != "folder")
    made_by = sha256(Path(__file__).read_bytes() + repr(said).encode()).hexdigest()
    if done.exists() and done.read_text() == made_by:
        return
    done.unlink(missing_ok=True)
    world = World(options.folder, options.seed)
    splits = {"train": options.train, "dev": options.dev, "test": options.test}
    known, abroad = world.entities(world.names), world.entities(world.abroad)

    relations = RELATIONS[: options.relations]
    each = min(RELATIONS_EACH, len(relations))

    def taken(entities: Iterator[str], share: int = 1) -> dict[str, list[str]]:
        return {split: list(islice(entities, count // share // each)) for split, count in splits.items()}

    names = Part(relations, traps=0.6, twins=0.4, titled=1.0)
    world.collection("facts", Part(relations), taken(known), each)
    world.collection("names", names, taken(known), each)
    world.collection("elsewhere", Part(ABROAD), taken(abroad, 4), each)
    # Two twins are nobody's other name, which has one; of elsewhere the names are read, not the relations.
    kinds = (known, world.entities(world.twins), abroad)
    read = [entity for kind in kinds for entity in islice(kind, options.reading // len(kinds))]
    world.collection("reading", Part(relations, traps=0.0, crowded=True), {"train": read}, 1)
    write_t5(options.folder / "t5", word_tokenizer(world.vocabulary()), SMALL, options.seed)
    done.write_text(made_by)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    for split, count in {"train": 4000, "dev": 300, "test": 2000, "reading": 2000, "seed": 7}.items():
        parser.add_argument(f"--{split}", type=int, default=count)
    parser.add_argument("--relations", type=int, default=RELATIONS_EACH, choices=range(4, len(RELATIONS) + 1))
    parser.add_argument("--texts", type=Path)
    options = parser.parse_args()
    if options.texts is None:
        main(options)
    elif not options.folder.exists():
        write_t5(options.folder, unigram_tokenizer(options.texts), LARGE, options.seed)
