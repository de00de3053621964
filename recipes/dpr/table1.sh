#!/usr/bin/env bash
# The baselines of TASER's Tables 1 and A2 (Cheng et al., ACL 2023): BM25, DPR, DPR trained a second time on
# negatives that it mined itself, and that one together with BM25. Accuracy at k: does one of the first k
# passages hold an answer?
#
#   smoke      an invented world and a random encoder: shows that the chain runs and learns
#   mini-cpu   Natural Questions and SQuAD on their own paragraphs, MiniLM; 20,000 questions, one seed
#   mini       the same with all questions
#
# Needs    smoke: nothing; the others: the collections in $DATA, 4 GB of memory, 2 GB of disk
# Takes    smoke 2 min, mini-cpu some hours on 2 cores, mini some minutes on a GPU
# Call     PROFILE=smoke bash recipes/dpr/table1.sh
# shellcheck source=recipes/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
recipe dpr "BM25, DPR, DPR mined, DPR mined + BM25" smoke mini-cpu mini

runs=$WORK/runs
case $PROFILE in
smoke)
    step "An invented world"
    other "$WORK/world" "${PYTHON:-python3}" "$ROOT/recipes/smoke.py" "$WORK/world"
    DATA=$WORK/world backbone=$WORK/world/backbone
    declare -A folder=([nq]=nq [squad]=squad)
    # A random encoder must first learn what a word is: a higher rate, and the mean of all its tokens.
    learning=(--epochs 8 --learning-rate 2e-3 --batch-size 32 --pooling mean --normalize yes)
    sample="" alphas=0.0:1.0:0.05
    ;;
mini-cpu | mini)
    DATA=${DATA:-${DRETRIEVE_DATA:-$ROOT/../shared/data}} backbone=minilm
    declare -A folder=([nq]=nq-qed [squad]=squad)
    learning=(--epochs 1 --learning-rate 3e-5 --batch-size 64)
    sample="" alphas=0.000:0.060:0.002  # MiniLM's cosines lie below 1, BM25's scores below 60
    [[ $PROFILE == mini ]] || sample=,sample=10000
    ;;
esac
sets=(nq squad)

step "BM25: the first row, and where the first negatives come from"
for name in "${sets[@]}"; do
    data=$DATA/${folder[$name]}
    dretrieve index --corpus "$data" --type bm25 --output "$WORK/bm25/$name"
    for split in train dev test; do
        dretrieve search --index "$WORK/bm25/$name" --queries "$data:$split" --hits 100 \
            --output "$runs/bm25.$name.$split.trec"
    done
    # A passage that holds an answer is no negative, judged or not.
    dretrieve mine-negatives --data "$data:train" --run "$runs/bm25.$name.train.trec" --drop-answers \
        --depth 100 --num-negatives 8 --output "$WORK/negatives/bm25.$name.jsonl"
done

# train_dpr NAME NEGATIVES: one model for both sets, a batch from one set at a time, chosen on SQuAD's dev set.
train_dpr() {
    local words=()
    for name in "${sets[@]}"; do
        words+=(--data "name=$name,path=$WORK/negatives/$2.$name.jsonl,corpus=$DATA/${folder[$name]}$sample")
    done
    dretrieve train dpr --backbone "$backbone" "${words[@]}" --output "$WORK/models/$1" \
        --train-group-size 2 --seed 1 "${learning[@]}" \
        --dev "$DATA/${folder[squad]}:dev" --dev-metric RR@10 --dev-queries 500 --dev-pool 2000
}

# search_with NAME SPLIT...: the model's vectors of all passages, and its runs.
search_with() {
    local model=$1 name split
    for name in "${sets[@]}"; do
        dretrieve encode --model "$WORK/models/$model" --corpus "$DATA/${folder[$name]}" \
            --output "$WORK/vectors/$model.$name"
        for split in "${@:2}"; do
            dretrieve search --index "$WORK/vectors/$model.$name" --model "$WORK/models/$model" --hits 100 \
                --queries "$DATA/${folder[$name]}:$split" --output "$runs/$model.$name.$split.trec"
        done
    done
}

step "DPR with BM25's negatives"
train_dpr dpr bm25
search_with dpr train test

step "DPR with the negatives that it finds itself"
# From the start again, as DPR's second round does: not from the first model's weights.
for name in "${sets[@]}"; do
    dretrieve mine-negatives --data "$DATA/${folder[$name]}:train" --run "$runs/dpr.$name.train.trec" \
        --drop-answers --depth 100 --num-negatives 8 --output "$WORK/negatives/dpr.$name.jsonl"
done
train_dpr mined dpr
search_with mined dev test

step "With BM25: one weight for both sets, chosen on their dev questions"
dev=()
for name in "${sets[@]}"; do
    dev+=(--answers "$DATA/${folder[$name]}:dev" --dev-run "$runs/mined.$name.dev.trec"
        --dev-bm25-run "$runs/bm25.$name.dev.trec")
done
for name in "${sets[@]}"; do
    dretrieve fuse-bm25 --run "$runs/mined.$name.test.trec" --bm25-run "$runs/bm25.$name.test.trec" \
        --tune "$alphas" "${dev[@]}" --missing min --depth 100 --hits 100 --output "$runs/hybrid.$name.test.trec"
done

step "Measures"
for name in "${sets[@]}"; do
    for row in bm25 dpr mined hybrid; do
        dretrieve evaluate --run "$runs/$row.$name.test.trec" --answers "$DATA/${folder[$name]}:test" \
            --metrics "top1 top5 top20 top100" --output "$WORK/metrics/$row.$name.json" --format tsv
    done
done

step "The table"
dretrieve report "$ROOT/recipes/dpr" --profile "$PROFILE" --work "$WORK" --output "$WORK/report"

finish "The same with plots: $WORK/report/report.html"
