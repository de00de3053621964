# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154  # a paper's profiles.sh and rows.sh set and read the variables
# The words of a paper's rows. A row is a model, and its name says how it is trained; `untuned` is the backbone,
# `bm25` counts words, X-mined is X's second round, X-bm25 is X with BM25. What a name means says the paper:
#
#   method_of ROW   the array `method`: the words behind `dretrieve train`      backbone_of ROW
#   sets_of ROW     the sets that it learns from; of those `mined_sets` are mined
#   data_of ROW SEED     the array `data`: those sets as --data words           dev_of ROW
#   seeds_of ROW    the seeds with which the profile trains it; none where it is NOT RUN
#   asked SET SPLIT      where those questions stand, as DIR:split              mined_from SET
#   tests_of ROW    its test questions, as SET-SPLIT                            first_of SET: its first examples
#
# Everything stands in $WORK: models/ROW.SEED, vectors/ROW.SEED, runs/ROW.SEED.SET-SPLIT.trec,
# metrics/ROW.SET-SPLIT.SEED.json, negatives/ROW.SEED.SET.jsonl; of rows that nothing trains without the seed.
# shellcheck source=recipes/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# each "FUNCTION [WORD...]" ROW...: FUNCTION [WORD...] ROW SEED for each of its seeds; as many at once as the profile lets.
# begun: the same, and what comes next does not wait for it, but for the next `each` or `together`.
each() {
    begun "$@"
    together
}
begun() {
    local row seed what
    read -ra what <<<"$1"
    for row in "${@:2}"; do
        if [[ $row == bm25 || $row == *untuned ]]; then
            beside "${what[@]}" "$row" ""
        else
            for seed in $(seeds_of "${row%-bm25}"); do beside "${what[@]}" "$row" "$seed"; done
        fi
    done
}

# bm25_runs SET-SPLIT...: BM25's runs of those questions.
bm25_runs() {
    local name
    dretrieve index --corpus "$wiki" --type bm25 "${words_index[@]}" --output "$WORK/bm25"
    for name in "$@"; do
        dretrieve search --index "$WORK/bm25" --queries "$(asked "${name%-*}" "${name##*-}")" --hits 100 \
            --output "$runs/bm25.$name.trec"
    done
}

# bm25_row: all test sets, and the dev sets that fusion is tuned on.
bm25_row() {
    bm25_runs "${sets[@]/%/-test}" "${dev_sets[@]/%/-dev}"
    measure bm25 "" "${sets[@]/%/-test}"
}

# first_negatives: the negatives of the first round, BM25's hits without an answer; some data bring their own.
first_negatives() {
    local set
    [[ -n $first_depth ]] || return 0
    for set in "${sets[@]}"; do
        bm25_runs "$set-train"
        dretrieve mine-negatives --data "$(asked "$set" train)" --run "$runs/bm25.$set-train.trec" \
            --drop-answers --depth "$first_depth" --num-negatives 8 --output "$negatives/bm25.$set.jsonl"
    done
}

# first_row ROW SEED: train, encode, search, measure.
first_row() {
    train_row "$1" "$2"
    measure_row "$1" "$2"
}

# mined_row ROW-mined SEED: the second round: from the backbone again, on the negatives that ROW has found.
mined_row() {
    local set base=${1%-mined}
    for set in $(sets_of "$base"); do
        [[ " ${mined_sets[*]} " == *" $set "* ]] || continue
        search_row "$base" "$2" "$set-train"
        dretrieve mine-negatives --data "$(mined_from "$set")" --run "$runs/$base.$2.$set-train.trec" \
            "${drop[@]}" --depth 100 --num-negatives 30 --output "$negatives/$base.$2.$set.jsonl"
    done
    first_row "$1" "$2"
}

# fused_row ROW-bm25 SEED: with BM25 by one alpha for all sets, chosen on the joined dev sets (K' = 100, a hit
# that one list lacks gets that list's lowest score).
fused_row() {
    local set base=${1%-bm25} tuning=(--tune "$alphas" --metric "$tuned_by" --corpus "$wiki")
    bm25_runs "${dev_sets[@]/%/-dev}" # bm25_row has made them
    search_row "$base" "$2" "${dev_sets[@]/%/-dev}"
    for set in "${dev_sets[@]}"; do
        tuning+=(--answers "$(asked "$set" dev)" --dev-run "$runs/$base.$2.$set-dev.trec"
            --dev-bm25-run "$runs/bm25.$set-dev.trec")
    done
    for set in "${sets[@]}"; do
        dretrieve fuse-bm25 --run "$runs/$base.$2.$set-test.trec" --bm25-run "$runs/bm25.$set-test.trec" \
            "${tuning[@]}" --missing min --depth 100 --hits 100 --output "$runs/$1.$2.$set-test.trec"
        measure "$1" "$2" "$set-test"
    done
}

# train_row ROW SEED: its model; of several rates (and layer decays) the one that is best on dev.
train_row() {
    local rate decay name found=() words choices=$((${#rates[@]} * ${#decays[@]})) chosen_by=()
    method_of "$1"
    data_of "$1" "$2"
    [[ -z $(dev_of "$1") ]] || chosen_by=(--dev "$(dev_of "$1")" --dev-metric RR@10 "${dev[@]}")
    for rate in "${rates[@]}"; do
        for decay in "${decays[@]}"; do
            [[ $decay == 1 || ${method[0]} != dpr ]] || continue # which has none
            name=$1.$2 words=("${method[@]}")
            [[ $decay == 1 ]] || words+=(--layer-decay "$decay")
            ((choices == 1)) || name+=.$rate.$decay
            found+=("$models/$name")
            learn "${words[@]}" --backbone "$(backbone_of "$1")" "${data[@]}" --output "$models/$name" --seed "$2" \
                --learning-rate "$rate" --train-group-size 2 "${learning[@]}" "${numbers[@]}" \
                "${chosen_by[@]}" --max-minutes "$(minutes_left)"
        done
    done
    ((choices == 1)) || with_files "$models/$1.$2" best "$models/$1.$2" "${found[@]}"
}

# learn WORD...: `dretrieve train`, by torchrun where there are several GPUs.
learn() {
    if ((GPUS > 1)) && [[ -z ${DRETRIEVE:-}${DRY_RUN:-} ]]; then
        local dretrieve_words=("$PYTHON" -m torch.distributed.run --standalone
            --nproc-per-node "$GPUS" -m dretrieve_cli)
    fi
    dretrieve train "$@"
}

# count_parameters ROW...: of a model that was trained for one step; more would not change it.
count_parameters() {
    local row
    [[ -z ${ONLY:-} ]] || return 0
    for row in "$@"; do beside count_row "$row"; done
    together
}
count_row() {
    method_of "$1"
    dretrieve train "${method[@]}" --backbone "$backbone" --data "name=nq,path=$(first_of nq),sample=32" \
        --batch-size 2 --train-group-size 1 --max-steps 1 --seed 1 --output "$WORK/counted/$1"
}

# name_of ROW SEED: what its files are called. model_of ROW SEED: its folder.
name_of() { echo "$1${2:+.$2}"; }
model_of() { if [[ $1 == untuned ]]; then echo "$backbone"; else echo "$models/$1.$2"; fi; }

# encode_row ROW SEED CORPUS OUTPUT: the passages' vectors.
encode_row() {
    in_shards encode --model "$(model_of "$1" "$2")" --corpus "$3" "${numbers[@]}" --output "$4"
}

# search_row ROW SEED SET-SPLIT...: the row's runs of those questions.
search_row() {
    local name of
    of=$(name_of "$1" "$2")
    encode_row "$1" "$2" "$wiki" "$WORK/vectors/$of"
    for name in "${@:3}"; do
        search_shards "$runs/$of.$name.trec" --index "$WORK/vectors/$of" --model "$(model_of "$1" "$2")" \
            --queries "$(asked "${name%-*}" "${name##*-}")" --hits 100 "${numbers[@]}"
    done
}

# measure_row ROW SEED: all test sets of what it learns from, or those of all, searched and measured.
measure_row() {
    local found names
    found=$(tests_of "$1") # by itself, so that its failure ends the recipe
    read -ra names <<<"$found"
    search_row "$1" "$2" "${names[@]}"
    measure "$1" "$2" "${names[@]}"
}

# measure ROW SEED SET-SPLIT...: is there an answer in the first k passages (R@k), and where small collections
# are judged, the rank of the passage that a question was made from (MRR@10).
measure() {
    local name set of
    of=$(name_of "$1" "$2")
    for name in "${@:3}"; do
        set=$(asked "${name%-*}" "${name##*-}")
        answered "$runs/$of.$name.trec" "$set" "$metrics/$1.$name${2:+.$2}.json"
        [[ $PROFILE == paper ]] ||
            dretrieve evaluate --run "$runs/$of.$name.trec" --qrels "$set" --metrics RR@10 \
                --output "$metrics/$1.$name.judged${2:+.$2}.json" --format tsv
    done
}

# answered RUN QUESTIONS OUTPUT [OPTION...]: R@1, 5, 20, 100 by answers (for CuratedTREC by its regexes).
answered() {
    dretrieve evaluate --run "$1" --answers "$2" --corpus "$wiki" --metrics "top1 top5 top20 top100" \
        --output "$3" --format tsv "${@:4}"
}

# passages_of ROW SEED: the row and the seed whose vectors its passages have.
passages_of() { echo "$1 $2"; }

# judged_row ROW SEED NAME DIR:SPLIT [CHOICE...]: a collection with judgements, nDCG@10 (or $measures of $hits); a hit that
# is the query itself is dropped. A split is told in NAME by a dash. Of rows in the array `indexed`, which have a vector for
# each token, the token index is asked: of X exactly, of X-fast as it searches when nothing is said.
judged_row() {
    local of row seed at index mode=()
    of=$(name_of "$1" "$2").$3
    if [[ $1 == bm25 ]]; then
        words_run "$3" "$4" "${hits:-101}" "$runs/$of.trec.zst"
    else
        read -r row seed <<<"$(passages_of "$1" "$2")"
        at=$WORK/vectors/$(name_of "$row" "$seed").${3%-dev}
        encode_row "$row" "$seed" "${4%:*}" "$at"
        if [[ " ${indexed[*]:-} " == *" ${1%-fast} "* ]]; then
            index=$WORK/index/$(name_of "$row" "$seed").${3%-dev}
            dretrieve index --embeddings "$at" --type token --output "$index"
            at=$index
            if [[ $1 == *-fast ]]; then local SHARDS=1; else mode=(--set mode=exact); fi # fast, it is searched whole
        fi
        search_shards "$runs/$of.trec.zst" --index "$at" --model "$(model_of "$1" "$2")" --queries "$4" \
            --hits "${hits:-101}" "${numbers[@]}" "${mode[@]}" "${@:5}"
    fi
    dretrieve evaluate --run "$runs/$of.trec.zst" --qrels "$4" --metrics "${measures:-nDCG@10 R@100}" --drop-self \
        --output "$metrics/$1.$3${2:+.$2}.json" --format tsv
}

# words_run NAME DIR:SPLIT HITS RUN: what BM25 finds in that collection.
words_run() {
    dretrieve index --corpus "${2%:*}" --type bm25 "${words_index[@]}" --output "$WORK/bm25-$1"
    dretrieve search --index "$WORK/bm25-$1" --queries "$2" --hits "$3" --output "$4"
}

# msmarco_negatives NAME DIR: BM25's hits for MS MARCO's training questions that are not judged to answer them.
msmarco_negatives() {
    local run=$runs/bm25.msmarco-train.trec.zst
    words_run "$1" "$2:train" 100 "$run"
    dretrieve mine-negatives --data "$2:train" --run "$run" --depth 100 --num-negatives 30 --output "$negatives/bm25.msmarco.jsonl"
}

# side_by_side: two rows of one thread each at once, for models that compute for seconds; two threads of one would wait
# for each other longer than that.
side_by_side() {
    export OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1
    [[ -n ${DRETRIEVE:-}${DRY_RUN:-} ]] || at_once=2
    one_python
}

# settle_profile: places, and what a profile sets, by the paper's settle_smoke, settle_mini and settle_paper.
settle_profile() {
    local name
    for name in BATCH BESIDE GPUS SHARDS POLL; do
        [[ ${!name:-1} =~ ^[1-9][0-9]*$ ]] || refuse "$name=${!name} is no whole number above 0"
    done
    [[ ${ONLY:-bm25} == bm25 ]] || refuse "ONLY=$ONLY is not known; ONLY=bm25 makes everything that needs no model"
    [[ -z ${README:-} || -n ${PLAN:-} ]] || grep -qsF "<!-- report $recipe_name -->" "$README" ||
        refuse "README=$README lacks the line <!-- report $recipe_name -->; recipes/$recipe_name/README.md has it"
    [[ ${QUEUE:-slurm} == slurm ]] || refuse "QUEUE=$QUEUE is not known; QUEUE=slurm makes job arrays"
    for name in BACKBONE BATCH MIRROR; do
        [[ $PROFILE == paper || -z ${!name:-} ]] ||
            refuse "$name=${!name}: only PROFILE=paper asks for that, not $PROFILE"
    done
    wiki=$WORK/wiki runs=$WORK/runs models=$WORK/models negatives=$WORK/negatives metrics=$WORK/metrics
    numbers=() words_index=() from=()
    [[ -z ${MIRROR:-} ]] || from=(--mirror "$MIRROR")
    [[ -z ${MIRROR:-} || ${BACKBONE:-} != tiny ]] || from+=(--unchecked) # a miniature's files are not the published ones
    case $PROFILE in
    mini*)
        DATA=${DATA:-${DRETRIEVE_DATA:-$ROOT/../shared/data}}
        [[ $PROFILE != mini || -n ${DRETRIEVE:-}${DRY_RUN:-} ]] || at_once=${BESIDE:-1}
        settle_mini
        ;;
    *) "settle_$PROFILE" ;;
    esac
    GPUS=${GPUS:-1} SHARDS=${SHARDS:-1} # one process and one part where nothing else is said
    [[ -z ${DRY_RUN:-} || -n ${PLAN:-} ]] || shown_shards=1 # a plan to be read shows the first
    [[ -z ${PLAN:-} ]] || QUEUE=
}

# whole_tables: refuse ONLY, where a recipe makes nothing without a model that is worth a call.
whole_tables() { [[ -z ${ONLY:-} ]] || refuse "ONLY=$ONLY: this paper's recipes make whole tables; leave it out"; }

# papers_own NAME...: refuse those variables, as `paper` follows the authors in them; BACKBONE=tiny is its miniature.
papers_own() {
    local name
    for name in "$@"; do
        [[ -z ${!name:-} || $name=${!name} == BACKBONE=tiny ]] ||
            refuse "$name=${!name}: this recipe's paper profile takes the authors' own"
    done
}

# invent_world: the collections and the encoder of `smoke`.
invent_world() { other "$WORK/world" "$PYTHON" "$ROOT/recipes/smoke.py" "$WORK/world"; }

shown_shards=SHARDS # arithmetic reads the number that stands in SHARDS by then

# in_shards COMMAND...: one after the other, or as a job array that is waited for.
in_shards() {
    local shard
    if ((SHARDS == 1)); then
        dretrieve "$@"
    elif [[ ${QUEUE:-} == slurm ]]; then
        job_array "$@"
    else
        for ((shard = 0; shard < shown_shards; shard++)); do dretrieve "$@" --shard "$shard/$SHARDS"; done
    fi
}

# search_shards RUN WORD...: the same for a search, whose parts are merged.
search_shards() {
    local shard parts=()
    if ((SHARDS == 1)); then
        dretrieve search "${@:2}" --output "$1"
        return
    fi
    for ((shard = 0; shard < shown_shards; shard++)); do
        parts+=("$(printf '%s.shard-%05d-of-%05d' "$1" "$shard" "$SHARDS")")
        [[ ${QUEUE:-} == slurm ]] || dretrieve search "${@:2}" --shard "$shard/$SHARDS" --output "${parts[shard]}"
    done
    [[ ${QUEUE:-} != slurm ]] || job_array search "${@:2}" --output "$1.{shard}"
    dretrieve merge "${parts[@]}" --output "$1"
}

# job_array COMMAND...: submit the shards that are missing and wait for them, three times at most. Started again
# it finds what is queued or finished.
job_array() {
    local state tries=0
    if [[ -n ${DRY_RUN:-} ]]; then
        dretrieve array "$@" --shards "$SHARDS" --submit
        return
    fi
    while true; do
        state=$(dretrieve array "$@" --shards "$SHARDS" --json | tr -d ' \n')
        if [[ $state == *'"queued":['[0-9]* ]]; then
            in_time
            sleep "${POLL:-60}"
        elif [[ $state == *'"missing":[]'* ]]; then
            return
        elif ((tries++ == 3)); then
            say "some of $SHARDS tasks failed three times; their logs are beside the output, in the folder .array"
            exit 1
        else
            in_time
            dretrieve array "$@" --shards "$SHARDS" --requeue
        fi
    done
}

# with_files MADE WORD...: what is done with files besides dretrieve's commands.
with_files() { other "$1" "$PYTHON" "$ROOT/recipes/files.py" "${@:2}"; }

# native_precision: bf16 where this CPU multiplies it, else fp32.
native_precision() {
    "$PYTHON" -c 'from dretrieve.encoding.numerics import resolve_precision; print(resolve_precision("auto", "cpu"))'
}

# report: the paper's tables of the profile with what stands there by now, in the file README too where one is named;
# REPORT=later leaves it to another call.
report() {
    if [[ ${REPORT:-} == later ]]; then
        finish
        return
    fi
    step "The tables"
    dretrieve report "$ROOT/recipes/$recipe_name" --profile "$PROFILE" --work "$WORK" --output "$WORK/report" \
        ${README:+--readme "$README"}
    finish "The same with plots: $WORK/report/report.html"
}

# check_batch COUNT: refuse questions that cannot be dealt to the processes.
check_batch() {
    (($1 % GPUS == 0)) ||
        refuse "BATCH=$1 cannot be dealt to GPUS=$GPUS processes in equal parts; give a multiple of $GPUS"
}
