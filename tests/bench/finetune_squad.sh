#!/usr/bin/env bash
# Does training help? `shared` and `dpr` from MiniLM on SQuAD with BM25's negatives, then `shared` once more with
# the negatives that the first `shared` finds, measured on all 10,570 test questions over all 20,958 passages,
# beside the untuned weights. Every model starts from MiniLM and sees the same questions once.
#
#   EVERY    every EVERY-th training question is used   (default 40: 2,069 questions; 1: all 82,726)
#   BATCH    questions per step                         (default 32)
#
# Needs    squad in $DATA (default ../shared/data, else $DRETRIEVE_DATA), 5 GB of memory
# Takes    three quarters of an hour on 2 quiet CPU cores; some minutes on a GPU
# Call     make finetune    or  bash tests/bench/finetune_squad.sh
# shellcheck source=recipes/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../../recipes/lib.sh"
recipe finetune-squad "training measured: MiniLM, and shared and dpr trained from it"

DATA=${DATA:-${DRETRIEVE_DATA:-$ROOT/../shared/data}}
EVERY=${EVERY:-40} BATCH=${BATCH:-32}
squad=$WORK/squad
runs=$WORK/runs

step "Text: every ${EVERY}th training question; dev, test and passages as they are"
mkdir -p "$squad/qrels"
ln -sf "$(realpath "$DATA/squad/corpus.jsonl.gz")" "$(realpath "$DATA/squad/queries.jsonl.gz")" "$squad/"
cp -f "$DATA"/squad/qrels/{dev,test}.tsv "$squad/qrels/"
awk -v every="$EVERY" 'NR == 1 || (NR - 2) % every == 0' "$DATA/squad/qrels/train.tsv" >"$squad/qrels/train.tsv"

# search_with NAME MODEL SPLIT...: the model's vectors of all passages, and its runs.
search_with() {
    dretrieve encode --model "$2" --corpus "$squad" --output "$WORK/embeddings/$1"
    for split in "${@:3}"; do
        dretrieve search --index "$WORK/embeddings/$1" --model "$2" --queries "$squad:$split" --hits 100 \
            --output "$runs/$1.$split.trec"
    done
}

# train_from NEGATIVES METHOD NAME: one pass over the questions. The products in bf16: on a CPU that has it, a third
# of the time; the weights stay fp32.
train_from() {
    dretrieve train "$2" --backbone minilm --data "$WORK/$1.jsonl" --batch-size "$BATCH" --epochs 1 \
        --learning-rate 3e-5 --train-group-size 2 --precision bf16 --dev "$squad:dev" --dev-metric RR@10 \
        --dev-queries 500 --dev-pool 2000 --eval-steps 40 --save-steps 20 --output "$WORK/models/$3"
}

# mine RUN NAME: of the best 50, those that hold no answer.
mine() {
    dretrieve mine-negatives --data "$squad:train" --run "$runs/$1.train.trec" --depth 50 --num-negatives 4 \
        --drop-answers --output "$WORK/$2.jsonl"
}

step "MiniLM as it is"
search_with minilm minilm test

step "BM25: the first negatives"
dretrieve index --corpus "$squad" --type bm25 --output "$WORK/bm25"
dretrieve search --index "$WORK/bm25" --queries "$squad:train" --hits 100 --output "$runs/bm25.train.trec"
mine bm25 negatives-bm25

step "shared and dpr, with BM25's negatives"
train_from negatives-bm25 shared shared
search_with shared "$WORK/models/shared" train test
train_from negatives-bm25 dpr dpr
search_with dpr "$WORK/models/dpr" test

step "shared, with the negatives that the first shared finds"
mine shared negatives-shared
train_from negatives-shared shared shared-mined
search_with shared-mined "$WORK/models/shared-mined" test

step "The tables: trained against untrained, then mined against not, with a test of every difference"
dretrieve evaluate --run "$runs/minilm.test.trec" --run "$runs/dpr.test.trec" --run "$runs/shared.test.trec" \
    --run "$runs/shared-mined.test.trec" --qrels "$squad:test" --metrics "R@1 RR@10 R@20" --compare
dretrieve evaluate --run "$runs/shared.test.trec" --run "$runs/shared-mined.test.trec" --qrels "$squad:test" \
    --metrics "R@1 RR@10 R@20" --compare
finish "Weights, runs and curves: $WORK"
