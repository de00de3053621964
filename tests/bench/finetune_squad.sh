#!/usr/bin/env bash
# Does training help? `shared` and `dpr` from MiniLM on SQuAD, one round of negatives mined by MiniLM itself,
# measured on all 10,570 test questions over all 20,958 passages, beside the untuned weights.
#
#   EVERY    every EVERY-th training question is used   (default 20: 4,137 questions; 1: all 82,726)
#   BATCH    questions per step                         (default 32)
#
# Needs    squad in $DATA (default ../shared/data, else $DRETRIEVE_DATA), 5 GB of memory
# Takes    an hour on 2 quiet CPU cores; some minutes on a GPU
# Call     make finetune    or  bash tests/bench/finetune_squad.sh
# shellcheck source=recipes/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../recipes/lib.sh"
recipe finetune-squad "training measured: MiniLM, and shared and dpr trained from it"

DATA=${DATA:-${DRETRIEVE_DATA:-$ROOT/../shared/data}}
EVERY=${EVERY:-20} BATCH=${BATCH:-32}
squad=$WORK/squad
runs=$WORK/runs

step "Text: every ${EVERY}th training question; dev, test and passages as they are"
mkdir -p "$squad/qrels"
ln -sf "$(realpath "$DATA/squad/corpus.jsonl.gz")" "$(realpath "$DATA/squad/queries.jsonl.gz")" "$squad/"
cp -f "$DATA"/squad/qrels/{dev,test}.tsv "$squad/qrels/"
awk -v every="$EVERY" 'NR == 1 || (NR - 2) % every == 0' "$DATA/squad/qrels/train.tsv" >"$squad/qrels/train.tsv"

step "MiniLM as it is: the first row, and the negatives"
dretrieve encode --model minilm --corpus "$squad" --output "$WORK/embeddings/minilm"
for split in train test; do
    dretrieve search --index "$WORK/embeddings/minilm" --model minilm --queries "$squad:$split" --hits 100 \
        --output "$runs/minilm.$split.trec"
done
dretrieve mine-negatives --data "$squad:train" --run "$runs/minilm.train.trec" --depth 50 --num-negatives 4 \
    --drop-answers --output "$WORK/hard.jsonl"

for method in shared dpr; do
    step "$method: one pass over the questions"
    dretrieve train "$method" --backbone minilm --data "$WORK/hard.jsonl" --batch-size "$BATCH" --epochs 1 \
        --learning-rate 3e-5 --train-group-size 2 --dev "$squad:dev" --dev-metric RR@10 --dev-queries 500 \
        --dev-pool 2000 --save-steps 20 --output "$WORK/models/$method"
    dretrieve encode --model "$WORK/models/$method" --corpus "$squad" --output "$WORK/embeddings/$method"
    dretrieve search --index "$WORK/embeddings/$method" --model "$WORK/models/$method" \
        --queries "$squad:test" --hits 100 --output "$runs/$method.test.trec"
done

step "The table: trained against untrained, with a test of every difference"
dretrieve evaluate --run "$runs/minilm.test.trec" --run "$runs/shared.test.trec" --run "$runs/dpr.test.trec" \
    --qrels "$squad:test" --metrics "R@1 RR@10 R@20" --compare
finish "Weights, runs and curves: $WORK"
