#!/usr/bin/env bash
# Quickstart: from Python's own documentation to a table, on this computer, without a network.
#
# Documents are the docstrings of the standard library; a question is the first line of one, and the passage
# that it was taken from is the answer to find. Four systems are compared on questions that none has seen:
#
#   BM25      counts words
#   MiniLM    compares vectors; real weights, as they are published
#   tuned     the same encoder after some minutes of training on other questions of this kind
#   both      the tuned encoder and BM25 together, their balance chosen on a third set of questions
#
# Needs    2 CPU cores, 5 GB of memory, 300 MB of disk
# Takes    under 8 minutes the first time, some seconds when run again
# Call     make demo        or  bash recipes/quickstart.sh
# shellcheck source=recipes/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
recipe quickstart "four ways to search Python's documentation, compared"

docs=$WORK/pydocs
runs=$WORK/runs

step "Text: passages, questions and the right answers"
# The split into train, dev and test is by hash of the name: the same on every computer.
dretrieve prepare pydocs --output "$docs"

step "BM25: search by words"
dretrieve index --corpus "$docs" --type bm25 --output "$WORK/bm25-index"
for split in dev test; do
    dretrieve search --index "$WORK/bm25-index" --queries "$docs:$split" --output "$runs/bm25.$split.trec"
done

step "MiniLM as it is: search by meaning"
# The vectors of all passages are made once; a question becomes a vector when it is searched with.
dretrieve encode --model minilm --corpus "$docs" --output "$WORK/minilm-passages"
dretrieve search --index "$WORK/minilm-passages" --model minilm --queries "$docs:test" \
    --output "$runs/minilm.test.trec" --show 3

step "Training: the same encoder learns from 1,400 other questions"
# The answers to the other questions of a batch are what a question must be told apart from.
# One pass is enough to see it learn. Before and after, the dev questions are searched in 1,000 passages.
dretrieve train shared --backbone minilm --data "$docs:train" --output "$WORK/tuned-model" \
    --epochs 1 --learning-rate 5e-5 --train-group-size 1 \
    --dev "$docs:dev" --dev-metric nDCG@10 --dev-pool 1000

step "The tuned encoder: search again"
dretrieve encode --model "$WORK/tuned-model" --corpus "$docs" --output "$WORK/tuned-passages"
for split in dev test; do
    dretrieve search --index "$WORK/tuned-passages" --model "$WORK/tuned-model" --queries "$docs:$split" \
        --output "$runs/tuned.$split.trec"
done

step "Fusion: words and meaning together"
# Score = cosine + alpha * BM25. Cosines lie below 1 and BM25 scores below 50, hence so small an alpha. It is
# chosen on the dev questions, never on those that the table is made of.
dretrieve fuse-bm25 --run "$runs/tuned.test.trec" --bm25-run "$runs/bm25.test.trec" \
    --dev-run "$runs/tuned.dev.trec" --dev-bm25-run "$runs/bm25.dev.trec" --qrels "$docs:dev" \
    --tune 0.000:0.020:0.001 --depth 1000 --hits 1000 --output "$runs/both.test.trec"

step "Measures: how good are these lists of passages?"
# The numbers in full, every question's, go to measures.json.
dretrieve evaluate --run "$runs/bm25.test.trec" --run "$runs/minilm.test.trec" \
    --run "$runs/tuned.test.trec" --run "$runs/both.test.trec" \
    --qrels "$docs:test" --metrics "nDCG@10 RR@10 R@1 R@5 R@10 R@20 R@100" \
    --output "$WORK/measures.json" >/dev/null

step "The table"
dretrieve report --title "Four ways to search Python's documentation" --output "$WORK/report" \
    --row "BM25=$WORK/measures.json#bm25.test" \
    --row "MiniLM as it is=$WORK/measures.json#minilm.test" \
    --row "MiniLM tuned=$WORK/measures.json#tuned.test" \
    --row "MiniLM tuned + BM25=$WORK/measures.json#both.test"

finish "The same with plots: $WORK/report/report.html" \
    "The same for your own text: dretrieve prepare FILE --output DIR, then go on from step 2."
