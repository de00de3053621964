# shellcheck shell=bash
# shellcheck disable=SC2154  # profiles.sh sets the variables
# From the words of a row to its model, its vectors and its runs. Sourced by steps.sh.

# --- training

# method_of ROW: set the array `method` to the words that train it.
method_of() {
    local kind=${1#single-}
    kind=${kind%-mined} kind=${kind%-co} kind=${kind%-nosquad}
    case $kind in
    shared) method=(taser --router none) ;; # the same code as the others, without experts
    det) method=(taser --router det) ;;
    seq[24]) method=(taser --router seq --num-experts "${kind#seq}") ;;
    tok[24]) method=(taser --router tok --num-experts "${kind#tok}") ;;
    seq2-all) method=(taser --router seq --router-gradient all) ;;
    every[26]) method=(taser --router det --every "${kind#every}") ;;
    dpr) method=(dpr) ;;
    *) say "no row is called $1" && exit 2 ;;
    esac
}

# data_of ROW SEED: set the array `data` to the sets that it is trained on.
data_of() {
    local set first second
    data=()
    for set in "${sets[@]}"; do
        [[ $1 != single-* || $set == nq ]] || continue
        [[ $1 != *-nosquad* || $set != squad* ]] || continue
        first=$negatives/bm25.$set.jsonl second=$negatives/${1%-mined}.$2.$set.jsonl
        [[ $PROFILE != paper ]] || first=$WORK/sets/$set-train/examples.jsonl
        # The second round of one set learns from both rounds' negatives; of several, from the second's alone,
        # and the sets that are not mined keep BM25's.
        if [[ $1 == *-mined && " ${mined_sets[*]} " == *" $set "* ]]; then
            data+=(--data "name=$set,path=$second${share[$set]:-}")
            [[ $1 != single-* ]] || data+=(--data "name=$set-first,path=$first${share[$set]:-}")
        else
            data+=(--data "name=$set,path=$first${share[$set]:-}")
        fi
    done
}

# dev_of ROW: the dev questions that choose its weights: those of all dev sets together; of a row trained on NQ
# alone NQ's.
dev_of() {
    if [[ $1 == single-* ]]; then echo "$WORK/sets/nq-dev:dev"; else echo "$WORK/dev:dev"; fi
}

# train_row ROW SEED: its model, $models/ROW.SEED; of several rates the one that is best on dev.
train_row() {
    local rate decay name backbone=$backbone found=() words choices=$((${#rates[@]} * ${#decays[@]}))
    [[ $1 != *-co* ]] || backbone=$coco
    method_of "$1"
    data_of "$1" "$2"
    for rate in "${rates[@]}"; do
        for decay in "${decays[@]}"; do
            [[ $decay == 1 || ${method[0]} == taser ]] || continue
            name=$1.$2 words=("${method[@]}")
            [[ $decay == 1 ]] || words+=(--layer-decay "$decay")
            ((choices == 1)) || name+=.$rate.$decay
            found+=("$models/$name")
            learn "${words[@]}" --backbone "$backbone" "${data[@]}" --output "$models/$name" --seed "$2" \
                --learning-rate "$rate" --train-group-size 2 "${learning[@]}" "${numbers[@]}" \
                --dev "$(dev_of "$1")" --dev-metric RR@10 "${dev[@]}" --max-minutes "$(minutes_left)"
        done
    done
    ((choices == 1)) || with_files "$models/$1.$2" best "$models/$1.$2" "${found[@]}"
}

# learn WORD...: `dretrieve train`, by torchrun where there are several GPUs.
learn() {
    if ((GPUS > 1)) && [[ -z ${DRETRIEVE:-}${DRY_RUN:-} ]]; then
        # shellcheck disable=SC2034  # lib.sh's dretrieve calls these
        local dretrieve_words=("${PYTHON:-python3}" -m torch.distributed.run --standalone
            --nproc-per-node "$GPUS" -m dretrieve_cli)
    fi
    dretrieve train "$@"
}

# --- search

# model_of ROW SEED: its folder; `untuned` is the backbone itself.
model_of() {
    if [[ $1 == untuned ]]; then echo "$backbone"; else echo "$models/$1.$2"; fi
}

# name_of ROW SEED: what its files are called; rows that nothing trains have no seed.
name_of() {
    echo "$1${2:+.$2}"
}

# encode_row ROW SEED CORPUS OUTPUT: the passages' vectors.
encode_row() {
    in_shards encode --model "$(model_of "$1" "$2")" --corpus "$3" "${numbers[@]}" --output "$4"
}

# search_row ROW SEED SET-SPLIT...: the row's runs of those questions.
search_row() {
    local name file
    encode_row "$1" "$2" "$wiki" "$WORK/vectors/$(name_of "$1" "$2")"
    for name in "${@:3}"; do
        file=$runs/$(name_of "$1" "$2").$name.trec
        search_shards "$file" --index "$WORK/vectors/$(name_of "$1" "$2")" --model "$(model_of "$1" "$2")" \
            --queries "$(asked "${name%-*}" "${name##*-}")" --hits 100 "${numbers[@]}"
    done
}

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
