"""ReAtt's invented world: what BM25 finds in it, what stands in it, the same bytes, a T5 that loads."""

from __future__ import annotations

import hashlib
import json
from argparse import Namespace
from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from dretrieve.bm25.backends import build_words, open_words, plan_words
from dretrieve.text.collection import Collection

SIZES = {"train": 4000, "dev": 300, "test": 2000, "reading": 2000}
SMOKE = {"train": 40, "dev": 20, "test": 24, "reading": 30}
NAMES = ("facts", "names", "elsewhere", "reading")


@pytest.fixture(scope="module")
def made(script, tmp_path_factory):
    """``made(sizes, seed)``: the folder of such a world, by default without the T5; ``over`` another."""
    world = script("recipes/reatt/world.py")

    def make(
        sizes: dict[str, int],
        seed: int = 7,
        *,
        t5: bool = False,
        relations: int = 5,
        over: Path | None = None,
    ) -> Path:
        folder = over or tmp_path_factory.mktemp("world")
        with pytest.MonkeyPatch.context() as patch:
            if not t5:
                patch.setattr(world, "write_t5", lambda *given: None)
            world.main(Namespace(folder=folder, seed=seed, relations=relations, **sizes))
        return folder

    return make


@pytest.fixture(scope="module")
def mini(made):
    """The world of the profile mini-cpu."""
    return made(SIZES)


def rows(file: Path) -> list[dict]:
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


@pytest.mark.parametrize(("part", "depths"), [("facts", (6,)), ("names", (6, 8))])
def test_bm25_finds_some_passages_and_never_most_of_them_first(mini, tmp_path, part, depths):
    """Share of test questions whose passage is the first hit, and among the close ones."""
    collection = Collection.open(f"{mini / part}:test")
    texts, queries = collection.corpus(), collection.queries().queries
    build_words(plan_words(texts, tmp_path / "bm25", {}), texts)
    run = open_words(tmp_path / "bm25").search(
        [query.id for query in queries], [query.text for query in queries], max(depths)
    )
    found = [[name for name, _ in run.hits(row)] for row in range(len(queries))]
    own = [query.id.removeprefix("q-") for query in queries]
    assert sum(hits[0] == name for hits, name in zip(found, own, strict=True)) <= 0.5 * len(own)
    for depth in depths:
        among = sum(name in hits[:depth] for hits, name in zip(found, own, strict=True))
        assert 0.55 <= among / len(own) <= 0.75


@pytest.mark.parametrize("part", ["facts", "names"])
def test_sizes_are_those_of_the_profile(mini, part):
    collection = Collection.open(mini / part)
    assert len(collection.corpus()) >= 10_000
    counts = {split: len(collection.queries(split)) for split in collection.splits}
    assert counts == {split: SIZES[split] for split in ("train", "dev", "test")}


def test_the_judged_passage_alone_answers_a_question_about_its_entity(mini):
    for name in NAMES:
        passages = {row["_id"]: row["text"] for row in rows(mini / name / "corpus.jsonl")}
        for query in rows(mini / name / "queries.jsonl"):
            key, answer = query["_id"].removeprefix("q-"), query["answers"][0]
            assert answer in passages[key]
            assert len(answer.split()) == 2
            trap = passages.get(f"{key}-trap", "")
            assert not trap or (query["text"] in trap and answer not in trap)


def test_facts_share_the_entity_alone_with_their_question(mini):
    passages = {row["_id"]: row["text"] for row in rows(mini / "facts/corpus.jsonl")}
    for query in rows(mini / "facts/queries.jsonl"):
        shared = {*query["text"].split()} & {*passages[query["_id"].removeprefix("q-")].split()}
        assert shared == {*query["text"].split()[2:]}


def test_four_of_ten_facts_in_names_have_another_name_by_one_rule(mini):
    passages = {row["_id"]: row["text"].split() for row in rows(mini / "names/corpus.jsonl")}
    twins: dict[str, set[str]] = {}
    called = Counter()
    for query in rows(mini / "names/queries.jsonl"):
        words, text = query["text"].split()[2:], passages[query["_id"].removeprefix("q-")]
        lost = [word for word in words if word not in text]
        called[len(lost)] += 1
        for word in lost:
            place = text.index(words[1 - words.index(word)]) + (1 if word == words[1] else -1)
            twins.setdefault(word, set()).add(text[place])
    assert 0.38 <= called[1] / called.total() <= 0.42
    assert set(called) == {0, 1}
    assert {len(found) for found in twins.values()} == {1}


def test_a_passage_to_read_tells_of_another_entity_that_shares_a_word(mini):
    queries = rows(mini / "reading/queries.jsonl")
    names = {tuple(query["text"].split()[2:]) for query in queries}
    passages = {row["_id"]: row["text"] for row in rows(mini / "reading/corpus.jsonl")}
    for query in queries:
        own = tuple(query["text"].split()[2:])
        facts = [fact.split() for fact in passages[query["_id"].removeprefix("q-")].split(" . ")]
        told = [pair for fact in facts for pair in pairwise(fact) if pair in names]
        assert (len(facts), len(told), told.count(own)) == (3, 3, 2)
        (other,) = {*told} - {own}
        assert len({*own} & {*other}) == 1


def test_no_entity_is_in_two_collections_or_splits(mini):
    seen: Counter[str] = Counter()
    for name in NAMES:
        collection = Collection.open(mini / name)
        for split in collection.splits:
            seen.update({" ".join(query.text.split()[2:]) for query in collection.queries(split).queries})
    assert set(seen.values()) == {1}


@pytest.mark.parametrize(("relations", "each"), [(4, 4), (5, 5), (7, 5)])
def test_entities_have_each_relation_or_five_of_them(made, relations, each):
    queries = rows(made(SMOKE, relations=relations) / "facts/queries.jsonl")
    assert len({query["text"].split()[1] for query in queries}) == relations
    assert set(Counter(" ".join(query["text"].split()[2:]) for query in queries).values()) == {each}


def digests(folder: Path) -> dict[str, str]:
    """Return the hash of every file that was written but the text stores."""
    files = (file for file in folder.rglob("*") if file.is_file() and ".dretrieve" not in file.parts)
    return {str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_the_same_options_give_the_same_bytes_and_another_seed_others(made):
    one, folder = digests(made(SMOKE, t5=True)), made(SMOKE, t5=True)
    assert one == digests(folder)
    other = digests(made(SMOKE, seed=8, t5=True, over=folder))
    assert {name for name in one if one[name] == other.get(name)} == {
        f"t5/{name}" for name in ("config.json", "generation_config.json", "tokenizer_config.json")
    }


def test_the_t5_knows_every_word_and_writes_an_answer_as_it_stands(made):
    from transformers import AutoTokenizer, T5ForConditionalGeneration

    folder = made(SMOKE, t5=True)
    tokenizer = AutoTokenizer.from_pretrained(folder / "t5")
    model = T5ForConditionalGeneration.from_pretrained(folder / "t5")
    sizes = model.config
    assert (sizes.num_layers, sizes.num_decoder_layers, sizes.d_model) == (4, 2, 128)
    assert (sizes.num_heads, sizes.d_kv, sizes.vocab_size) == (4, 32, len(tokenizer))
    assert not model.lm_head.weight.equal(model.shared.weight)
    texts = [f"title: {row['title']} context: {row['text']}" for row in rows(folder / "names/corpus.jsonl")]
    texts += [f"question: {row['text']} <extra_id_0>" for row in rows(folder / "elsewhere/queries.jsonl")]
    ids = tokenizer(texts)["input_ids"]
    assert all(tokenizer.unk_token_id not in row and row[-1] == tokenizer.eos_token_id for row in ids)
    answer = rows(folder / "facts/queries.jsonl")[0]["answers"][0]
    assert tokenizer.decode(tokenizer(answer)["input_ids"], skip_special_tokens=True) == answer
    assert tokenizer.convert_tokens_to_ids("<extra_id_0>") == ids[-1][-2]


def test_the_t5_of_real_texts_writes_them_as_they_stand(script, made, tmp_path):
    from transformers import AutoTokenizer, T5ForConditionalGeneration

    world = script("recipes/reatt/world.py")
    corpus = made(SMOKE) / "facts" / "corpus.jsonl"
    world.write_t5(tmp_path / "t5", world.unigram_tokenizer(corpus), world.SMALL, 7)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "t5")
    assert len(tokenizer) == T5ForConditionalGeneration.from_pretrained(tmp_path / "t5").config.vocab_size
    text = rows(corpus)[0]["text"]
    ids = tokenizer(f"{text} <extra_id_0>")["input_ids"]
    assert tokenizer.unk_token_id not in ids
    assert ids[-2:] == [tokenizer.convert_tokens_to_ids("<extra_id_0>"), tokenizer.eos_token_id]
    assert tokenizer.decode(tokenizer(text)["input_ids"], skip_special_tokens=True) == text
