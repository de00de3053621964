"""A small invented world for the profile `smoke`: two collections of questions, a random encoder.

    python recipes/smoke.py FOLDER

writes FOLDER/nq and FOLDER/squad (BEIR folders with answers; train, dev, test) and FOLDER/backbone (a BERT of
two layers with random weights and its own words). Nothing is read, nothing fetched; the same bytes each time.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

ENTITIES, SEED = 150, 7
SYLLABLES = "ba do fe gi ka lo mu ne pi ra so tu va we xi yo za che dri flo gru klo pre sta tri".split()
FACTS = {
    "founder": ("who founded {entity}", "{entity} was founded by {answer} before the great flood"),
    "river": ("which river runs through {entity}", "the old town of {entity} lies on the river {answer}"),
    "craft": ("what is {entity} known for", "merchants praise {entity} for its {answer} above all"),
}


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


def write_collection(folder: Path, entities: list[str], answers: list[str], rng: random.Random) -> None:
    """Write one collection: three passages for each entity, each with its question."""
    passages, queries = [], []
    judged: dict[str, list[str]] = {"train": [], "dev": [], "test": []}
    for number, entity in enumerate(entities):
        kinds = list(FACTS)
        rng.shuffle(kinds)
        for place, kind in enumerate(kinds):
            question, sentence = FACTS[kind]
            answer = rng.choice(answers)
            name = f"{entity}-{kind}"
            text = sentence.format(entity=entity, answer=answer)
            passages.append({"_id": name, "title": entity, "text": text})
            query = {"_id": f"q-{name}", "text": question.format(entity=entity), "answers": [answer]}
            queries.append(query)
            split = "train" if place < 2 else ("dev" if number % 3 == 0 else "test")
            judged[split].append(f"q-{name}\t{name}\t1\n")
    write_lines(folder / "corpus.jsonl", passages)
    write_lines(folder / "queries.jsonl", queries)
    for split, lines in judged.items():
        path = folder / "qrels" / f"{split}.tsv"
        path.parent.mkdir(exist_ok=True)
        path.write_text("query-id\tcorpus-id\tscore\n" + "".join(lines), encoding="utf-8")


def write_backbone(folder: Path, vocabulary: set[str]) -> None:
    """Write a BERT of two layers and 64 dimensions with random weights, whose tokens are whole words."""
    import torch
    from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
    from tokenizers.models import WordPiece
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    pieces = [*special, *sorted(vocabulary)]
    tokenizer = Tokenizer(WordPiece({piece: row for row, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    ends = [("[CLS]", pieces.index("[CLS]")), ("[SEP]", pieces.index("[SEP]"))]
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=ends
    )
    names = ("pad_token", "unk_token", "cls_token", "sep_token", "mask_token")
    named = dict(zip(names, special, strict=True))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=64, **named).save_pretrained(folder)
    torch.manual_seed(SEED)
    config = BertConfig(
        vocab_size=len(pieces),
        hidden_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=128,
        max_position_embeddings=64,
    )
    BertModel(config, add_pooling_layer=False).save_pretrained(folder)


def main(folder: Path) -> None:
    """Write the world, unless it stands there."""
    if (folder / "complete").exists():
        return
    rng = random.Random(SEED)
    entities, answers = words(rng, 2 * ENTITIES, 3), words(rng, 60, 2)
    write_collection(folder / "nq", entities[:ENTITIES], answers, rng)
    write_collection(folder / "squad", entities[ENTITIES:], answers, rng)
    frame = " ".join(sentence for pair in FACTS.values() for sentence in pair)
    known = {word for word in frame.split() if not word.startswith("{")}
    write_backbone(folder / "backbone", known | set(entities) | set(answers))
    (folder / "complete").touch()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
