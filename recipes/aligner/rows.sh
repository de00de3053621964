# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154  # dpr/profiles.sh sets the variables
# The rows of ALIGNER's tables (Qian et al., arXiv 2211.01267). The small profiles learn from DPR's texts, from the same
# questions as TASER's; `paper` from MS MARCO, with BM25's negatives, as RocketQA's are no collection that can be prepared,
# and at AdamW's rate (the paper names none; its authors' next one 1e-3, with Adafactor).
#
#   aligner aligner-top4 aligner-p1 aligner-da    a vector for each token, trained by that alignment
#   entropy relu hard       as aligner (in `paper` as base), with a salience of that kind
#   colbert shared          ColBERT, one vector       aligner-half shared-half    on every second layer of the encoder
#   tokens-untuned          the encoder's states, by PCA        aligner-fast      aligner, by the fast index
#   base large xl xxl       the paper's, of T5 v1.1; base-top4 base-p1 base-da trained by other alignments
#
# A row's grid is searched by `adapt`: metrics/ROW.SET.SEED.json holds a run for each alignment, `adapted` by folds of 8
# and `adapted16`, and `oracle`, the best of all; that of ROW-wide alignments that compare more. A pruned row RULE-dD-qQ is
# searched in an index that keeps the share D, with the share Q of a question's tokens; `random` and `rarest` keep other
# tokens of what entropy has encoded.
HERE=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=recipes/rows.sh
source "$HERE/../rows.sh"
# shellcheck source=recipes/dpr/profiles.sh
source "$HERE/../dpr/profiles.sh"

tests=(scifact nfcorpus arguana nq squad) dim=128 lengths=(--query-max-len 64 --passage-max-len 256)
soft="da,k=1,eps=0.01 da,k=1,eps=0.02 da,k=1,eps=0.04 da,k=1,eps=0.06 da,k=1,eps=0.1" rules=(entropy relu hard)
shares=(1 0.6 0.4 0.2 0.1 0.05) asks=(1 0.3 0.1) trimmed=(scifact nfcorpus) # of pruning, and where
neighbours=20 # of the paper's 4,000 every small passage has one, and nothing could be lost
hits=101 measures="nDCG@10 RR@10 R@1 R@100" many="" # questions of a set, all where nothing is said; see sizes
longest=() # passages of `mini` and `paper` are as long as the paper's tests read them; their model's queries name it too

# sizes: what DPR's profiles do not set. After `settle`. The salience of `smoke` has 18 steps, too few to find all words that
# matter: what it drops at first has next to no gradient. A grid of all questions of ArguAna takes 10 minutes on one core,
# of SQuAD half an hour. So the grids ask `many` of a set's questions.
sizes() {
    case $PROFILE in
    smoke) many=40 dim=32 shares=(1 0.2) asks=(0.1) ;;
    mini-cpu)
        many=300
        side_by_side
        ;;
    mini) longest=(--set max_tokens=512) ;;
    esac
}

# In the place of DPR's: MS MARCO and BEIR by the authors' sizes.
settle_paper() {
    local batch=256 steps=25000
    papers_own BACKBONE
    GPUS=${GPUS:-1}
    backbone=google/t5-v1_1 words_index=(--backend lucene) rates=(3e-4) SHARDS=${SHARDS:-16} sets=(msmarco) dev_sets=()
    tests=(arguana webis-touche2020 fever climate-fever scifact nq hotpotqa fiqa nfcorpus trec-covid scidocs dbpedia-entity quora
        ${BIOASQ:+bioasq}) # a folder that its owners' licence lets no one fetch; its columns are NOT RUN without
    if [[ ${BACKBONE:-} == tiny ]]; then # a miniature of this profile: a random backbone, a hundred rows of every file
        backbone=$WORK/world/deep words_index=() batch=16 steps=2
    fi
    batch=${BATCH:-$batch}
    check_batch "$batch"
    hits=1000 measures="nDCG@10 RR@10 R@1000" neighbours=4000 shares=(0.4 0.1) asks=(0.3 0.1) trimmed=(msmarco)
    learning=(--max-steps "$steps" --batch-size $((batch / GPUS))) longest=(--set max_tokens=512)
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

# some_questions: those that the grids ask, at equal distances.
some_questions() {
    local set place some
    [[ -n $many ]] || return 0
    step "Questions"
    for set in $(sets_at aligner "${seeds[0]}"); do
        [[ $(asked_of "$set") != "$(all_of "$set")" ]] || continue
        place=$(place_of "$set") some=$WORK/text/$set.asked.tsv
        with_files "$some" sample "$some" "$place/qrels/test.tsv" "$many"
        dretrieve prepare "$place" --qrels "asked=$some" --output "$WORK/text/$set"
    done
}

# encoders: what is not trained: the encoder's states, and those of every second layer of it.
encoders() {
    [[ -z ${ONLY:-} && $PROFILE != paper ]] || return 0
    dretrieve convert "$backbone" --pooling tokens --dim "$dim" --pca "$wiki" "${lengths[@]}" --output "$models/tokens-untuned"
    [[ $PROFILE == mini ]] || return 0
    dretrieve convert "$backbone" --layers 0,2,4 --pooling mean --normalize yes --output "$models/half"
    dretrieve convert "$backbone" --layers 0,2,4 --pooling tokens --dim "$dim" --pca "$wiki" "${lengths[@]}" \
        --output "$models/tokens-half"
}

hard_negatives() {
    if [[ $PROFILE == paper ]]; then msmarco_negatives msmarco-train "$WORK/text/msmarco"; else first_negatives; fi
}

method_of() {
    case $1 in
    shared* | colbert) method=("${1%-half}" "${lengths[@]}") && return ;;
    *-top4) method=(--alignment top4) ;;
    *-p1) method=(--alignment p1) ;;
    *-da) method=(--alignment "da,k=1,eps=0.01") ;;
    entropy | relu | hard) method=(--salience "$1") ;;
    *) method=(--alignment top1) ;;
    esac
    method=(aligner "${method[@]}" --dim "$dim" "${lengths[@]}")
}
backbone_of() {
    case $backbone/$1 in
    google/*/entropy | google/*/relu | google/*/hard) echo "$backbone-base" ;;
    google/*) echo "$backbone-${1%%-*}" ;;
    */shared-half) echo "$models/half" ;;
    */*-half) echo "$models/tokens-half" ;;
    */shared) echo "$backbone" ;;
    # a new projection would not be learned in so few steps; the encoder of `smoke` is random and learns as a whole
    *) if [[ $PROFILE == mini* ]]; then echo "$models/tokens-untuned"; else echo "$backbone"; fi ;;
    esac
}
model_of() { echo "$models/$(name_of "$1" "$2")"; }
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

# all_of SET: its test questions; asked_of SET: those that the grids ask; each as DIR:split.
all_of() {
    case $PROFILE/$1 in
    paper/msmarco) echo "$(place_of "$1"):dev" ;;
    *) echo "$(place_of "$1"):test" ;;
    esac
}
asked_of() {
    case $PROFILE/$1/$many in
    mini-cpu/nq/* | mini-cpu/nfcorpus/* | */) all_of "$1" ;; # these two are quick
    *) echo "$WORK/text/$1:asked" ;;
    esac
}

# sets_at ROW SEED: what it is measured on.
sets_at() {
    case $PROFILE/$1 in
    paper/entropy | paper/relu | paper/hard) ;; # MS MARCO alone
    paper/*) echo "${tests[@]}" ;;
    mini/shared* | mini/aligner-half) echo scifact nfcorpus arguana medquad cranfield ;;
    mini/aligner) echo "${tests[@]}" medquad cranfield ;;
    */entropy) echo scifact nfcorpus arguana squad ;;
    */relu | */hard | */colbert) echo scifact nfcorpus ;;
    */aligner) if [[ $2 == "${seeds[0]}" ]]; then echo "${tests[@]}"; else echo scifact nfcorpus arguana; fi ;;
    *) echo scifact nfcorpus arguana ;;
    esac
}

# row_judged ROW SEED: the measures of its sets, in one way. row_trained ROW SEED: its model.
row_judged() {
    local set
    [[ $PROFILE != paper ]] || local metrics=$WORK/beir # the small profiles' collections are not all BEIR's
    [[ $PROFILE/$1 != smoke/shared ]] || local SHARDS=2 shown_shards=2 # so that parts are joined somewhere
    for set in $(sets_at "$1" "$2"); do judged_row "$1" "$2" "$set" "$(asked_of "$set")"; done
    [[ $1 == bm25 ]] || return 0
    for set in $([[ $PROFILE == paper ]] && echo msmarco || echo nq squad); do
        judged_row bm25 "" "$set" "$(all_of "$set")"
    done
}
row_trained() {
    local own=("${learning[@]}")
    [[ " ${own[*]} " != *" --normalize yes " || $1 == shared* || $1 == colbert ]] ||
        own=("${own[@]::${#own[@]}-2}") # the last words; an aligner's vectors have length 1, and no option says so
    local learning=("${own[@]}")
    train_row "$1" "$2"
}

# vectors_at ROW SEED SET: where its passages' vectors stand, encoded.
vectors_at() { echo "$WORK/vectors/$1.$2.$3"; }
row_encoded() {
    local set
    for set in $(sets_at "$1" "$2") $([[ $PROFILE != paper ]] || echo msmarco); do
        in_shards encode --model "$(model_of "$1" "$2")" --corpus "$(place_of "$set")" "${numbers[@]}" "${longest[@]}" \
            --output "$(vectors_at "$1" "$2" "$set")"
    done
}

# row_adapted ROW SEED: all alignments of its sets.
row_adapted() {
    local set own=()
    case $1 in
    base-da) own=(--grid "k=1,2,4,6,8 $soft") ;;
    aligner) own=(--examples 8 --examples 16) ;;
    esac
    row_encoded "$1" "$2"
    for set in $(sets_at "$1" "$2"); do
        adapted_set "$1" "$1" "$2" "$set" "${own[@]}"
        [[ $1 != base ]] || adapted_set base-wide base "$2" "$set" --grid "k=16 p=5"
        [[ $1/$2 != "aligner/${seeds[0]}" ]] ||
            adapted_set aligner-wide aligner "$2" "$set" --grid "k=1,16 p=5 $soft"
    done
}
adapted_set() { # NAME ROW SEED SET [WORD...]: by a fast index, or where none is quicker, as of a salience, over all
    local over=$WORK/index/$2.$3.$4
    if [[ $PROFILE == paper || $2 == entropy ]]; then over=$(vectors_at "$2" "$3" "$4"); else indexed "$2" "$3" "$4" "$over"; fi
    adapted_at "$1" "$2" "$3" "$4" "$over" "${@:5}"
}
adapted_at() { # NAME ROW SEED SET INDEX [WORD...]
    local asked
    asked=$(asked_of "$4")
    dretrieve adapt --index "$5" --model "$(model_of "$2" "$3")" --queries "$asked" --qrels "$asked" \
        --drop-self --output "$metrics/$1.$4.$3.json" "${numbers[@]}" "${longest[@]}" "${@:6}"
}
indexed() { # ROW SEED SET INDEX [WORD...]
    dretrieve index --embeddings "$(vectors_at "$1" "$2" "$3")" --type token --output "$4" "${@:5}"
}

# searched NAME ROW SEED SET ALIGNMENT: by one alignment, fast or, in `paper`, by neighbours; all measures of all questions.
searched() {
    local at=$WORK/index/$2.$3.$4 building=() how=(--set "alignment=$5")
    [[ $PROFILE != paper ]] || building=(--set fast=false) how+=(--set "neighbours=$neighbours")
    indexed "$2" "$3" "$4" "$at" "${building[@]}"
    found_at "$1" "$2" "$3" "$4" "$(all_of "$4")" --index "$at" "${how[@]}"
}
found_at() { # NAME ROW SEED SET QUESTIONS WORD...
    local run=$runs/$1.$3.$4.trec.zst
    dretrieve search --model "$(model_of "$2" "$3")" --queries "$5" --hits "$hits" "${numbers[@]}" "${longest[@]}" "${@:6}" \
        --output "$run"
    dretrieve evaluate --run "$run" --qrels "$5" --metrics "$measures" --drop-self --output "$metrics/$1.$4.$3.json" --format tsv
}

# pruned RULE SEED D Q [kept|adapted]: that row of the curves; adapted: by what 8 examples choose, as of a grid.
# row_pruned RULE SEED: all of its rows.
pruned() {
    local set row=$1 at how by=(--set fast=false) over=("${trimmed[@]}")
    case $1 in random | rarest) row=entropy by+=(--set "keep_by=$1") ;; esac
    [[ $PROFILE != mini* || $row != entropy ]] || over+=(squad)
    for set in "${over[@]}"; do
        at=$WORK/index/$1.$2.$set.$3 how=(--set "ask=$4" --set "neighbours=$neighbours")
        [[ ${5:-} != kept ]] || how+=(--set rescore=kept)
        indexed "$row" "$2" "$set" "$at" --set "keep=$3" "${by[@]}"
        if [[ ${5:-} == adapted ]]; then
            adapted_at "$1-d$3-q$4-adapted" "$row" "$2" "$set" "$at" "${how[@]}"
            continue
        fi
        found_at "$1-d$3-q$4${5:+-$5}" "$row" "$2" "$set" "$(asked_of "$set")" --index "$at" "${how[@]}"
    done
}
row_pruned() {
    local share
    for share in "${shares[@]}"; do
        [[ $share == 1 && $1 == ra* ]] || pruned "$1" "$2" "$share" 0.5 # with all tokens they are entropy
    done
    [[ $1 == entropy ]] || return 0
    for share in "${asks[@]}"; do pruned "$1" "$2" 0.4 "$share"; done
    [[ $PROFILE != paper ]] || return 0
    pruned "$1" "$2" 0.2 0.5 kept
    for share in 1 0.2 0.1; do
        [[ " ${shares[*]} " != *" $share "* ]] || pruned "$1" "$2" "$share" 0.5 adapted
    done
}

# pages: which token of a question met which of a passage, and which weigh (Tables 4, 5). Of ColBERT and of ALIGNER with
# salience, whose runs have told already which passages are retrieved.
pages() {
    [[ -z ${ONLY:-} && $PROFILE != paper ]] || return 0
    beside paged colbert "$runs/colbert.${seeds[0]}.scifact.trec.zst"
    beside paged entropy "$runs/entropy-d1-q0.5.${seeds[0]}.scifact.trec.zst" "${longest[@]}"
    together
}
paged() { # ROW RUN [WORD...]
    dretrieve explain --model "$(model_of "$1" "${seeds[0]}")" --corpus "$(place_of scifact)" \
        --queries "$(asked_of scifact)" --limit 300 --run "$2" --hits 3 "${@:3}" --output "$WORK/pages/$1.${seeds[0]}"
}
