# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154  # profiles.sh sets the variables
# The rows of SB-MoE's tables (Sokli et al., arXiv 2412.11864 and 2510.15683). A row is a block behind an encoder:
#
#   untuned   the encoder alone            finetuned  the encoder alone, trained
#   n1 … n12  so many experts, the paper's gate       best  of n3, n6, n9, n12 the best on dev
#   wide      one expert as wide as six    fast       as n6, at six times the rate
#   uniform random soft scaled straight    six experts, with that gate
#   gate1 gate3 gelu tanh                  as n6: so many layers in the gate, that activation
#   joint-X   for 100 steps beside a frozen encoder, of one that learns; frozen-X the same of the frozen one
#
# Behind a `+` stands how many experts of the same model are activated: n6+all is the rows n6 (TOP-1) and n6-all.
# Everything is in $WORK: vectors/ENCODER.SET (a frozen encoder's), models/ENCODER.ROW.SET.SEED, made/… (that model's
# vectors; behind a frozen encoder they go when their measures stand), runs/ and metrics/ENCODER.ROW.COLUMN.SEED; of
# `untuned` without the seed.
HERE=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=recipes/rows.sh
source "$HERE/../rows.sh"
# shellcheck source=recipes/sb_moe/profiles.sh
source "$HERE/profiles.sh"

tuned=(n3 n6 n9 n12) # of which dev chooses
abroad=()            # SET-SPLIT that models are measured on besides their own set's

# method_of ENCODER ROW: set the array `method` to the words that train it.
method_of() {
    local kind=${2#joint-} experts=6 rate=$high share=.01 words=()
    kind=${kind#frozen-}
    case $kind in
    finetuned) method=(shared --learning-rate "$low") && return ;;
    n[1-9]*) experts=${kind#n} ;;
    wide) experts=1 words=(--expert-hidden $((3 * dims[$1]))) ;;
    fast) rate=$six_times share=.0016667 ;; # the encoder's rate stays
    uniform | random | soft | scaled | straight) words=(--gate "$kind") ;;
    gate[13]) words=(--gate-layers "${kind#gate}") ;;
    gelu | tanh) words=(--activation "$kind") ;;
    *) say "no row is called $2" && exit 2 ;;
    esac
    ! is_frozen "$2" || share=0
    method=(sb-moe --num-experts "$experts" "${words[@]}" --encoder-scale "$share" --learning-rate "$rate")
}

is_frozen() { [[ -n $frozen && $1 != joint-* ]]; }

# vectors_of SET...: what the frozen encoders give for its passages; of SET-SPLIT for its questions.
vectors_of() {
    local set encoder
    [[ -n $frozen ]] || return 0
    for set in "$@"; do
        for encoder in "${encoders[@]}"; do beside encode_frozen "$encoder" "$set"; done
    done
    together
}
encode_frozen() {
    local texts=(--corpus "$(place_of "$2")")
    [[ $2 != *-* ]] || texts=(--queries "$(asked "$2")")
    dretrieve encode --model "$(backbone_of "$1")" "${texts[@]}" "${numbers[@]}" --output "$vectors/$1.$2"
}

# blocks "SET..." ROW[+CHOICE...]...: train and measure these rows on each set, with each encoder and seed.
blocks() {
    local set row encoder seed
    for set in $1; do
        for row in "${@:2}"; do
            for encoder in "${encoders[@]}"; do
                for seed in $(seeds_of "$encoder" "${row%%+*}" "$set"); do
                    beside block "$encoder" "$row" "$set" "${seed#none}"
                done
            done
        done
    done
    together
}
block() {
    local encoder=$1 set=$3 seed=$4 row choices choice tested model behind=()
    IFS=+ read -ra choices <<<"$2"
    row=${choices[0]} choices[0]=""
    model=$models/$encoder.$row.$set.$seed
    case $row in
    untuned) model=$(backbone_of "$encoder") ;;
    best) best_on_dev ;;
    *) train_block ;;
    esac
    for choice in "${choices[@]}"; do
        for tested in $(tests_of "$set") "${abroad[@]}"; do measured "$tested" "$choice"; done
    done
    if [[ " ${tuned[*]} " == *" $row "* && " ${dev_sets[*]} " == *" $set "* ]]; then measured "$set-dev"; fi
    spent "${behind[@]}"
}

# train_block: $row behind $encoder on $set, whose name may end with how many of its questions.
train_block() {
    local base=${set%%-*} words own
    read -ra own <<<"${lengths[$encoder]}"
    own=("${learning[@]}" "${own[@]}")
    words="name=$base,path=$(place_of "$base-train"),split=train${sample[$set]:-}"
    if is_frozen "$row"; then
        words+=",query_vectors=$vectors/$encoder.$base-train,passage_vectors=$vectors/$encoder.$base"
    else
        own+=("${numbers[@]}")
    fi
    method_of "$encoder" "$row"
    [[ $row != joint-* && $row != frozen-* ]] || own+=(--max-steps 100)
    learn "${method[@]}" --backbone "$(backbone_of "$encoder")" --data "$words" --output "$model" --seed "$seed" \
        "${own[@]}" --max-minutes "$(minutes_left)"
}

# best_on_dev: lead $model to the one of `tuned` that was best with this seed.
best_on_dev() {
    local name found=()
    for name in "${tuned[@]}"; do
        name=$encoder.$name
        found+=("$models/$name.$set.$seed=$metrics/$name.$set-dev.$seed.json")
    done
    with_files "$model" best "$model" "${found[@]}"
}

# measured SET-SPLIT [CHOICE]: the vectors of $row's $model for these texts, their run, and its measures.
measured() {
    local choice=() measures="nDCG@10 R@100" hits=101 name=$encoder.$row${2:+-$2} passages questions of corpus
    [[ $1 != squad-test ]] || measures=nDCG@10 hits=11 # a million hits a row otherwise, and no table shows R@100
    corpus=$(corpus_of "${1%-*}")
    case ${2:-} in
    all) choice=(--set activated=0) ;;
    k[1-9]*) choice=(--set "activated=${2#k}") ;;
    esac
    of=$name.$set${seed:+.$seed} name+=.$(column_of "$1")${seed:+.$seed}
    passages=$made/$of.$corpus questions=$made/$of.$1
    if ! is_frozen "$row"; then
        in_shards encode --model "$model" --corpus "$(place_of "$corpus")" "${numbers[@]}" "${choice[@]}" --output "$passages"
        dretrieve encode --model "$model" --queries "$(asked "$1")" "${numbers[@]}" "${choice[@]}" --output "$questions"
    elif [[ $row == untuned ]]; then
        passages=$vectors/$encoder.$corpus questions=$vectors/$encoder.$1
    else
        behind+=("$passages" "$questions")
        wanted "$runs/$name.trec.zst" "$passages" "$questions"
        dretrieve encode --model "$model" --embeddings "$vectors/$encoder.$corpus" "${choice[@]}" --output "$passages"
        dretrieve encode --model "$model" --embeddings "$vectors/$encoder.$1" "${choice[@]}" --output "$questions"
    fi
    search_shards "$runs/$name.trec.zst" --index "$passages" --query-embeddings "$questions" --hits "$hits"
    dretrieve evaluate --run "$runs/$name.trec.zst" --qrels "$(asked "$1")" --metrics "$measures" --drop-self \
        --output "$metrics/$name.json" --format tsv
}

# column_of SET-SPLIT: what the tables call what $row, trained on $set, is measured on.
column_of() {
    local tested=${1%-test}
    if [[ $row != untuned && " ${abroad[*]} " == *" $1 "* ]]; then
        echo "$set-$tested"
    elif [[ $row != untuned && $set == "$tested"-* ]]; then
        echo "$set"
    else
        echo "$tested"
    fi
}

# count ROW...: parameters of models that were trained for one step; more would not change them.
count() {
    local row encoder
    for row in "$@"; do
        for encoder in "${encoders[@]}"; do beside count_row "$encoder" "$row"; done
    done
    together
}
count_row() {
    method_of "$1" "$2"
    dretrieve train "${method[@]}" --backbone "$(backbone_of "$1")" --data \
        "name=nq,path=$(place_of nq-train),split=train,sample=32" --batch-size 2 --train-group-size 1 \
        --max-steps 1 --seed 1 --output "$WORK/counted/$1.$2"
}
