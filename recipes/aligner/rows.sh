# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154  # dpr/profiles.sh sets the variables
# The rows of ALIGNER's tables (Qian et al., arXiv 2211.01267). The small profiles learn from DPR's texts, from the same
# questions as TASER's; `paper` from MS MARCO, with BM25's negatives, as RocketQA's are no collection that can be prepared.
#
#   aligner aligner-top4    a vector for each token, trained by that alignment     colbert shared   ColBERT, one vector
#   entropy relu hard       as aligner, with a salience of that kind
#   base large xl xxl       the paper's, of T5 v1.1; base-top4 base-p1 base-da trained by other alignments
#
# A row's grid is searched in one pass by `adapt`: metrics/ROW.SET.SEED.json holds a run for each alignment, `adapted` by
# folds of 8, and `oracle`, the best of all. Of ROW-wide it holds the alignments that no fold chooses among, of ROW-16 folds
# of 16. A pruned row RULE-dD-qQ is searched in an index that keeps the share D, with the share Q of a question's tokens.
HERE=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=recipes/lib.sh
source "$HERE/../lib.sh"
# shellcheck source=recipes/rows.sh
source "$HERE/../rows.sh"
# shellcheck source=recipes/dpr/profiles.sh
source "$HERE/../dpr/profiles.sh"
# shellcheck source=recipes/dpr/text.sh
source "$HERE/../dpr/text.sh"

tests=(scifact nfcorpus arguana nq squad) lengths=(--query-max-len 64 --passage-max-len 256)
wide="k=16 p=5 da,k=1,eps=0.01 da,k=1,eps=0.02 da,k=1,eps=0.04 da,k=1,eps=0.06 da,k=1,eps=0.1" rules=(entropy relu hard)
neighbours=20 # of the paper's 4,000 every small passage has one, and nothing could be lost
hits=101 measures="nDCG@10 RR@10 R@1 R@100"

# In the place of DPR's: MS MARCO and BEIR by the authors' sizes.
settle_paper() {
    local batch=${BATCH:-256} steps=25000
    GPUS=${GPUS:-1}
    check_batch "$batch"
    backbone=google/t5-v1_1 words_index=(--backend lucene) rates=(1e-3) SHARDS=${SHARDS:-16} sets=(msmarco) dev_sets=()
    tests=(arguana webis-touche2020 fever climate-fever scifact nq hotpotqa fiqa nfcorpus trec-covid scidocs dbpedia-entity quora
        ${BIOASQ:+bioasq}) # a folder that its owners' licence lets no one fetch; its columns are NOT RUN without
    if [[ -n $1 ]]; then # a miniature of this profile: a random backbone, a hundred rows of every file
        backbone=$WORK/world/deep words_index=() steps=2
    fi
    hits=1000 measures="nDCG@10 RR@10 R@1000" neighbours=4000
    learning=(--max-steps "$steps" --batch-size $((batch / GPUS)))
    choose_seeds 1
}
paper_text() {
    local set
    [[ ${BACKBONE:-} != tiny ]] || invent_world
    for set in msmarco "${tests[@]}"; do
        [[ $set != bioasq ]] || continue
        dretrieve prepare "beir:$set" "${from[@]}" --output "$WORK/text/$set"
    done
}

hard_negatives() {
    step "Hard negatives"
    if [[ $PROFILE != paper ]]; then
        first_negatives
        return
    fi
    words_run msmarco-train "$WORK/text/msmarco:train" 100 "$runs/bm25.msmarco-train.trec.zst"
    dretrieve mine-negatives --data "$WORK/text/msmarco:train" --run "$runs/bm25.msmarco-train.trec.zst" --depth 100 \
        --num-negatives 30 --output "$negatives/bm25.msmarco.jsonl"
}

method_of() {
    case $1 in
    shared | colbert) method=("$1" "${lengths[@]}") && return ;;
    *-top4) method=(--alignment top4) ;;
    *-p1) method=(--alignment p1) ;;
    *-da) method=(--alignment "da,k=1,eps=0.01") ;;
    entropy | relu | hard) method=(--salience "$1") ;;
    *) method=(--alignment top1) ;;
    esac
    method=(aligner "${method[@]}" --dim "$([[ $PROFILE == smoke ]] && echo 32 || echo 128)" "${lengths[@]}")
}
backbone_of() { if [[ $backbone == google/* ]]; then echo "$backbone-${1%%-*}"; else echo "$backbone"; fi; }
first_of() { echo "$negatives/bm25.$1.jsonl"; }
dev_of() { [[ $PROFILE == paper ]] || echo "$WORK/dev:dev"; }
seeds_of() {
    case ${ONLY:-}$PROFILE/$1 in
    bm25*) ;;
    mini-cpu/aligner) echo "${seeds[@]:0:2}" ;;
    mini/*) echo "${seeds[@]}" ;;
    *) echo "${seeds[0]}" ;;
    esac
}

place_of() {
    case $PROFILE/$1 in
    smoke/nq) echo "$DATA/nq" ;;
    smoke/nfcorpus | smoke/squad) echo "$DATA/squad" ;;
    smoke/*) echo "$DATA/elsewhere" ;;
    paper/bioasq) echo "$BIOASQ" ;;
    paper/*) echo "$WORK/text/$1" ;;
    */nq) echo "$DATA/nq-qed" ;;
    *) echo "$DATA/$1" ;;
    esac
}

# sets_at ROW SEED: what it is measured on.
sets_at() {
    case $PROFILE/$1 in
    paper/*) echo "${tests[@]}" ;;
    */relu | */hard | */colbert-*) echo scifact nfcorpus ;;
    */aligner) if [[ $2 == "${seeds[0]}" ]]; then echo "${tests[@]}"; else echo scifact nfcorpus arguana; fi ;;
    *) echo scifact nfcorpus arguana ;;
    esac
}

# row_judged ROW SEED: the measures of its sets, in one way. row_trained ROW SEED: its model.
row_judged() {
    local set
    for set in $(sets_at "$1" "$2") $([[ $1 != bm25 || $PROFILE == paper ]] || echo nq squad); do
        judged_row "$1" "$2" "$set" "$(place_of "$set"):test"
    done
    [[ $PROFILE/$1 != paper/bm25 ]] || judged_row bm25 "" msmarco "$(place_of msmarco):dev"
}
row_trained() {
    local own=("${learning[@]}")
    [[ " ${own[*]} " != *" --normalize yes " || $1 == shared || $1 == colbert ]] ||
        own=("${own[@]::${#own[@]}-2}") # the last words; an aligner's vectors have length 1, and no option says so
    local learning=("${own[@]}")
    train_row "$1" "$2"
}

# vectors_at ROW SEED SET: where its passages' vectors stand, encoded; of `mini` as long as the paper's tests read them.
vectors_at() { echo "$WORK/vectors/$1.$2.$3"; }
row_encoded() {
    local set longest=()
    [[ $PROFILE != mini && $PROFILE != paper ]] || longest=(--set max_tokens=512)
    for set in $(sets_at "$1" "$2") $([[ $PROFILE != paper ]] || echo msmarco); do
        in_shards encode --model "$(model_of "$1" "$2")" --corpus "$(place_of "$set")" "${numbers[@]}" "${longest[@]}" \
            --output "$(vectors_at "$1" "$2" "$set")"
    done
}

# row_adapted ROW SEED: all alignments of its sets.
row_adapted() {
    local set
    row_encoded "$1" "$2"
    for set in $(sets_at "$1" "$2"); do
        adapted_set "$1" "$1" "$2" "$set"
        case $1 in
        aligner | base | base-da) adapted_set "$1-wide" "$1" "$2" "$set" --grid "$wide" ;;
        esac
        [[ $1 != aligner ]] || adapted_set "$1-16" "$1" "$2" "$set" --examples 16
    done
}
adapted_set() {
    dretrieve adapt --index "$(vectors_at "$2" "$3" "$4")" --model "$(model_of "$2" "$3")" --queries "$(place_of "$4"):test" \
        --qrels "$(place_of "$4"):test" --drop-self --output "$metrics/$1.$4.$3.json" "${numbers[@]}" "${@:5}"
}

# searched ROW SEED SET SPLIT ALIGNMENT: by one alignment, all measures.
searched() {
    local run="$runs/$1-${5%%,*}.$2.$3.trec.zst" how=(--set mode=exact)
    [[ $PROFILE != paper ]] || how=(--set "neighbours=$neighbours")
    token_index "$1" "$2" "$3" ""
    dretrieve search --index "$WORK/index/$1.$2.$3" --model "$(model_of "$1" "$2")" --queries "$(place_of "$3"):$4" \
        --hits "$hits" "${numbers[@]}" --set "alignment=$5" "${how[@]}" --output "$run"
    measured "$run" "$3:$4" "$metrics/$1-${5%%,*}.$3.$2.json"
}
measured() {
    dretrieve evaluate --run "$1" --qrels "$(place_of "${2%:*}"):${2#*:}" --metrics "$measures" --drop-self --output "$3" \
        --format tsv
}
token_index() { # ROW SEED SET SHARE: all of its tokens, or that share of each passage's
    dretrieve index --embeddings "$(vectors_at "$1" "$2" "$3")" --type token ${4:+--set "keep=$4"} \
        --output "$WORK/index/$1.$2.$3${4:+.$4}"
}

# pruned RULE SEED D Q [kept]: that row of the curves.
pruned() {
    local set name=$1-d$3-q$4${5:+-$5} run
    for set in scifact nfcorpus; do
        run=$runs/$name.$2.$set.trec.zst
        token_index "$1" "$2" "$set" "$3"
        dretrieve search --index "$WORK/index/$1.$2.$set.$3" --model "$(model_of "$1" "$2")" "${numbers[@]}" \
            --queries "$(place_of "$set"):test" --hits "$hits" --set "ask=$4" --set "neighbours=$neighbours" \
            ${5:+--set "rescore=$5"} --output "$run"
        measured "$run" "$set:test" "$metrics/$name.$set.$2.json"
    done
}
row_pruned() {
    local share
    for share in 1 0.6 0.4 0.2 0.1 0.05; do pruned "$1" "$2" "$share" 0.5; done
    [[ $1 == entropy ]] || return 0
    for share in 1 0.3 0.1; do pruned "$1" "$2" 0.4 "$share"; done
    pruned "$1" "$2" 0.2 0.5 kept
}
