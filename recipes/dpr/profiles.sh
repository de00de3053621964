# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154  # rows.sh reads them
# Everything in which the profiles of DPR's and TASER's tables differ; both are trained and tested on the same texts.
#
#   smoke      an invented world and a random encoder: shows that the chain runs and learns
#   mini-cpu   MiniLM on 37,000 real passages, 1,024 questions a training; three seeds for det and shared, one for
#              the others, the rest NOT RUN
#   mini       the same, every row: all questions of NQ, 20,000 of SQuAD's, three seeds; for a GPU, not run yet
#   paper      DPR's data, backbones, rates and schedule, on a cluster
#
# README.md explains the variables DATA, MIRROR, BACKBONE, BATCH, GPUS, SHARDS, QUEUE, BESIDE, POLL, ANSWERS, ONLY.
# shellcheck source=recipes/dpr/text.sh
source "$(dirname "${BASH_SOURCE[0]}")/text.sh"

# settle: set the profile's variables. After `recipe`.
settle() {
    declare -gA share=() # of a set, behind its --data
    sets=(nq squad) mined_sets=(nq) dev_sets=(nq squad) coco="" single="" decays=(1)
    first_depth=100 # hits of BM25 in which the first round's negatives are looked for
    drop=(--drop-answers)
    [[ ${ANSWERS:-drop} == drop ]] || drop=()
    [[ ${ANSWERS:-drop} =~ ^(drop|keep)$ ]] || refuse "ANSWERS=$ANSWERS is not known; give drop or keep"
    settle_profile
}

# A random encoder needs a higher rate, and the mean of all its tokens (smoke.py's says so). More steps would learn everything, and
# then all rows were equal.
settle_smoke() {
    DATA=$WORK/world backbone=$WORK/world/deep elsewhere=(elsewhere)
    learning=(--epochs 1 --batch-size 32 --logging-steps 3 --normalize yes)
    rates=(4e-4) dev=(--dev-queries 100 --dev-pool 300) alphas=0.00:0.60:0.05 tuned_by=top1
    choose_seeds 1
    side_by_side
}

settle_mini() {
    backbone=minilm
    # MiniLM's cosines lie below 1, BM25's scores below 60; R@20 saturates on so few passages.
    alphas=0.000:0.060:0.002 tuned_by=top1
    dev=(--dev-queries 500 --dev-pool 1000) rates=(3e-5)
    choose_seeds 1 2 3
    if [[ $PROFILE == mini ]]; then
        share=([squad]=",sample=20000") elsewhere=(scifact nfcorpus arguana medquad)
        learning=(--epochs 2 --batch-size 128) dev+=(--eval-steps 50)
    else
        # Few steps, so the higher of the paper's rates.
        share=([nq]=",sample=512" [squad]=",sample=512") elsewhere=(scifact nfcorpus) first_depth=20
        learning=(--epochs 1 --batch-size 32) numbers=(--precision "$(native_precision)") rates=(5e-5)
        dev=(--dev-queries 300 --dev-pool 600 --eval-steps 16)
        one_python
    fi
}

settle_paper() {
    local batch=128 epochs=40 warmup=1237 gpus=8 shards=16
    backbone=${BACKBONE:-google-bert/bert-base-uncased} coco=Luyu/co-condenser-wiki
    words_index=(--backend lucene) rates=(3e-5 5e-5) decays=(1 .8) first_depth="" # DPR's files bring their own
    if [[ ${BACKBONE:-} == tiny ]]; then # a miniature of this profile: a random backbone, a hundred rows of every file
        backbone=$WORK/world/deep coco=$WORK/world/deep words_index=() rates=(5e-5)
        batch=8 epochs=1 warmup=2 gpus=1 shards=2
    fi
    GPUS=${GPUS:-$gpus} SHARDS=${SHARDS:-$shards} batch=${BATCH:-$batch}
    check_batch "$batch"
    sets=(nq trivia webquestions curatedtrec squad) mined_sets=(nq trivia webquestions) dev_sets=(nq trivia)
    share=([webquestions]=",weight=4" [curatedtrec]=",weight=4") # DPR shows these two four times
    single=single- alphas=0.5:2.0:0.1 tuned_by=top20 elsewhere=(arguana dbpedia-entity fever hotpotqa)
    # Here the whole batch's gradient is cut; the authors' is the mean over their processes, cut at 2.
    learning=(--epochs "$epochs" --batch-size $((batch / GPUS)) --warmup-steps "$warmup" --positives first
        --max-grad-norm $((2 * GPUS)) --pooling cls --normalize no --pair yes
        --query-max-len 256 --passage-max-len 256)
    # The authors choose by dev loss for 30 epochs, then start anew by pooled MRR: in 40 epochs the first never
    # counts. Here pooled RR@10 is looked at from the start.
    dev=(--dev-queries 10000 --dev-pool 0)
    choose_seeds 1
}
