"""A small invented world for the profile `smoke`: collections of questions, and random encoders.

    python recipes/smoke.py FOLDER

writes FOLDER/nq and FOLDER/squad (BEIR folders with answers; train, dev, test), FOLDER/entities (questions
about the same passages, asked in other words, with a relation each), FOLDER/elsewhere (a collection about
other things, for searches out of domain), and FOLDER/deep (a BERT of six layers with random weights and the
world's words). Nothing is read, nothing fetched; the same bytes each time.
"""

from __future__ import annotations

import json
import random
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

ENTITIES, SEED = 150, 7
SYLLABLES = "ba do fe gi ka lo mu ne pi ra so tu va we xi yo za che dri flo gru klo pre sta tri".split()
FACTS = {
    "founder": ("who founded {entity}", "{entity} was founded by {answer} before the great flood"),
    "river": ("which river runs through {entity}", "the old town of {entity} lies on the river {answer}"),
    "craft": ("what is {entity} known for", "merchants praise {entity} for its {answer} above all"),
}
REPHRASED = {
    "founder": "by whom was {entity} founded",
    "river": "on which river lies {entity}",
    "craft": "merchants praise {entity} for what",
}
ABROAD = {
    "ruler": ("who was crowned in {entity}", "in {entity} they once crowned {answer}"),
    "harbour": ("which ships rest at {entity}", "{entity} is a harbour where ships of {answer} rest"),
    "feast": ("what do they eat in {entity}", "at the feast in {entity} they eat {answer}"),
}
Facts = dict[str, tuple[str, str]]


def words(rng: random.Random, count: int, syllables: int) -> list[str]:
    """Return so many different invented words."""
    found: dict[str, None] = {}
    while len(found) < count:
        found["".join(rng.choices(SYLLABLES, k=syllables))] = None
    return list(found)


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write one JSON object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def write_collection(
    folder: Path, entities: list[str], answers: list[str], rng: random.Random, facts: Facts = FACTS
) -> None:
    """Write one collection: three passages for each entity, each with its question."""
    passages, queries = [], []
    judged = {split: ["query-id\tcorpus-id\tscore\n"] for split in ("train", "dev", "test")}
    for number, entity in enumerate(entities):
        kinds = list(facts)
        rng.shuffle(kinds)
        for place, kind in enumerate(kinds):
            (question, sentence), answer, name = facts[kind], rng.choice(answers), f"{entity}-{kind}"
            text = sentence.format(entity=entity, answer=answer)
            passages.append({"_id": name, "title": entity, "text": text})
            queries.append({"_id": f"q-{name}", "text": question.format(entity=entity), "answers": [answer]})
            split = "train" if place < 2 else ("dev" if number % 3 == 0 else "test")
            judged[split].append(f"q-{name}\t{name}\t1\n")
    write_lines(folder / "corpus.jsonl", passages)
    write_lines(folder / "queries.jsonl", queries)
    (folder / "qrels").mkdir(exist_ok=True)
    for split, lines in judged.items():
        (folder / "qrels" / f"{split}.tsv").write_text("".join(lines), encoding="utf-8")


def write_entities(folder: Path, collections: list[Path]) -> None:
    """Write the collections' questions in other words: no passages, a relation each, those not trained on."""
    rows = []
    for collection in collections:
        for line in (collection / "queries.jsonl").read_text(encoding="utf-8").splitlines()[2::3]:
            query = json.loads(line)
            _, entity, kind = query["_id"].split("-")
            text = REPHRASED[kind].format(entity=entity)
            rows.append({"_id": f"e-{entity}", "text": text, "answers": query["answers"], "relation": kind})
    write_lines(folder / "queries.jsonl", rows)


def write_backbone(folder: Path, vocabulary: set[str]) -> None:
    """Write a BERT of six layers with random weights, without dropout, whose tokens are whole words."""
    import torch
    from transformers import BertConfig, BertModel, BertTokenizer
    from transformers.utils import logging

    logging.disable_progress_bar()
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted(vocabulary)]
    ids = {piece: row for row, piece in enumerate(pieces)}
    BertTokenizer(vocab=ids, model_max_length=256).save_pretrained(folder)
    torch.manual_seed(SEED)
    sizes = {"hidden_size": 64, "num_hidden_layers": 6, "num_attention_heads": 2, "intermediate_size": 128}
    no = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    config = BertConfig(vocab_size=len(pieces), max_position_embeddings=256, **sizes, **no)
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)
    kinds = {"": "Transformer", "1_Pooling": "Pooling"}  # that the mean of all tokens is the vector
    (folder / "1_Pooling").mkdir(exist_ok=True)
    mean = {"word_embedding_dimension": 64, "pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(mean))
    modules = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds.items()]
    (folder / "modules.json").write_text(json.dumps(modules))


def world_words() -> tuple[list[str], list[str], list[str], random.Random]:
    """Return the entities, the answers, the entities elsewhere, and the generator as they leave it."""
    rng = random.Random(SEED)
    entities, answers = words(rng, 2 * ENTITIES, 3), words(rng, 60, 2)
    abroad = [word for word in words(random.Random(SEED + 1), ENTITIES, 4) if word not in entities]
    return entities, answers, abroad, rng


def vocabulary() -> set[str]:
    """Return every word that a text of the world may hold."""
    entities, answers, abroad, _ = world_words()
    sentences = [text for facts in (FACTS, ABROAD) for pair in facts.values() for text in pair]
    frame = " ".join([*sentences, *REPHRASED.values()])
    known = {word for word in frame.split() if not word.startswith("{")}
    return known | set(entities) | set(answers) | set(abroad)


def main(folder: Path) -> None:
    """Write the world, unless this script's stands there."""
    done, script = folder / "complete", sha256(Path(__file__).read_bytes()).hexdigest()
    if done.exists() and done.read_text() == script:
        return
    done.unlink(missing_ok=True)
    entities, answers, abroad, rng = world_words()
    write_collection(folder / "nq", entities[:ENTITIES], answers, rng)
    write_collection(folder / "squad", entities[ENTITIES:], answers, rng)
    write_collection(folder / "elsewhere", abroad[: ENTITIES // 2], answers, rng, ABROAD)
    write_entities(folder / "entities", [folder / "nq", folder / "squad"])
    write_backbone(folder / "deep", vocabulary())
    done.write_text(script)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
