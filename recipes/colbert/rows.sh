# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154  # dpr/profiles.sh sets the variables
# The rows beside ColBERT (Khattab and Zaharia, SIGIR 2020). The small profiles learn from DPR's texts, from the same
# questions as TASER's; `paper` is MS MARCO.
#
#   untuned          the mean of the encoder's states        shared   one vector a text
#   tokens-untuned   its states, by PCA to 128 numbers       colbert  a vector for each token
#   X-fast           X's vectors, searched fast: a passage may be missed
#
# In the small profiles colbert begins as tokens-untuned, without markers and without filling questions up with [MASK]:
# 32 steps are too few to learn a projection, or what these mean. Everything is in $WORK as recipes/rows.sh says.
HERE=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=recipes/rows.sh
source "$HERE/../rows.sh"
# shellcheck source=recipes/dpr/profiles.sh
source "$HERE/../dpr/profiles.sh"

tests=(scifact nfcorpus arguana nq) indexed=(tokens-untuned colbert)
hits=101 measures="nDCG@10 R@100 R@1" lengths=(--query-max-len 32 --passage-max-len 128)

# In the place of DPR's: MS MARCO by the authors' sizes; their negatives are BM25's, too. No weights are chosen, for the
# dev questions are the test.
settle_paper() {
    local batch=${BATCH:-32} steps=200000
    GPUS=${GPUS:-1}
    check_batch "$batch"
    backbone=${BACKBONE:-google-bert/bert-base-uncased} words_index=(--backend lucene) rates=(3e-6) SHARDS=${SHARDS:-16}
    sets=(msmarco) tests=(msmarco) hits=1000 measures="RR@10 R@50 R@200 R@1000" lengths=(--query-max-len 32 --passage-max-len 180)
    if [[ ${BACKBONE:-} == tiny ]]; then # a miniature of this profile: a random backbone, a hundred rows of every file
        backbone=$WORK/world/deep words_index=() steps=2
    fi
    learning=(--max-steps "$steps" --batch-size $((batch / GPUS)) --lr-scheduler-type constant --warmup-ratio 0 --max-grad-norm 2
        --weight-decay 0)
    choose_seeds 1
}
paper_text() {
    [[ ${BACKBONE:-} != tiny ]] || invent_world
    dretrieve prepare beir:msmarco "${from[@]}" --output "$wiki"
}

# encoders: what is not trained. Components are those of passages that are learned from.
encoders() {
    local dim=128
    [[ $PROFILE != paper && -z ${ONLY:-} ]] || return 0
    [[ $PROFILE != smoke ]] || dim=32
    step "Encoders that are not trained"
    dretrieve convert "$backbone" --layers 0,1,2,3,4,5 --pooling mean --normalize yes "${lengths[@]}" --output "$models/untuned"
    dretrieve convert "$backbone" --pooling tokens --dim "$dim" --pca "$wiki" "${lengths[@]}" --output "$models/tokens-untuned"
}

# hard_negatives: BM25's hits without an answer, where answers are known.
hard_negatives() {
    step "Hard negatives"
    if [[ $PROFILE == paper ]]; then msmarco_negatives msmarco "$wiki"; else first_negatives; fi
}

method_of() {
    method=("$1" "${lengths[@]}")
    [[ $PROFILE/$1 != paper/shared ]] || method+=(--pooling cls --normalize no)
}
backbone_of() { if [[ $1 == colbert && $PROFILE != paper ]]; then echo "$models/tokens-untuned"; else echo "$backbone"; fi; }
model_of() { echo "$models/$(name_of "${1%-fast}" "$2")"; }
passages_of() { echo "${1%-fast} $2"; }
first_of() { echo "$negatives/bm25.$1.jsonl"; }
dev_of() { [[ $PROFILE == paper ]] || echo "$WORK/dev:dev"; }
seeds_of() { [[ -n ${ONLY:-} ]] || echo "${seeds[0]}"; }

place_of() {
    case $PROFILE/$1 in
    smoke/nq) echo "$DATA/nq" ;;
    smoke/nfcorpus) echo "$DATA/squad" ;;
    smoke/*) echo "$DATA/elsewhere" ;;
    paper/*) echo "$wiki" ;;
    */nq) echo "$DATA/nq-qed" ;;
    *) echo "$DATA/$1" ;;
    esac
}

# row_judged ROW SEED: the measures of every test set.
row_judged() {
    local set split=test
    [[ $PROFILE != paper ]] || split=dev
    for set in "${tests[@]}"; do judged_row "$1" "$2" "$set" "$(place_of "$set"):$split"; done
}
