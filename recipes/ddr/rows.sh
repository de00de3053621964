# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154  # profiles.sh sets the variables
# The rows of DDR's tables (arXiv 2602.22547). A row is a model, trained with the routing that it is tested with:
#
#   untuned     the encoder alone                  dr    every weight trained, one encoder for both sides
#   general     a general prefix on the frozen encoder; on it stand, with a prefix for every domain,
#   prior       a query reads the prefixes of its domains, weighted by the router     at7e-3  the same, at that rate
#   topK soft   of all domains those K that the router weighs most, or all, weighted by it
#   uniform     of a query's domains, equally weighted   everything  of all, equally weighted
#   without-SET as prior, trained without that set
#   first later as prior, trained without the domain $last, and that added later: nothing else learns
#   removed returned   prior without the module of $last, and with that again, from its file
#
# lenN-ROW is a row with prefixes of that length, cut-ROW one on some of the encoder's layers. Everything is in $WORK as
# recipes/rows.sh says, but models on one general prefix share its passages' vectors (vectors/general.SEED.SET), and
# the folders of models with domains name their rate.
HERE=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=recipes/rows.sh
source "$HERE/../rows.sh"
# shellcheck source=recipes/ddr/profiles.sh
source "$HERE/profiles.sh"

# base_of ROW: its encoder and length, as its name says them, with a dash. has_domains ROW: is it more than its prefix?
base_of() { [[ $1 =~ ^(cut-)?(len[0-9]+-)? ]] && echo "${BASH_REMATCH[0]}"; }
has_domains() { [[ ! $1 =~ ^(.*-)?(untuned|dr|general)$ ]]; }

# passages_of ROW SEED: the row and the seed that give its passages' vectors.
passages_of() {
    local row=$1 seed=$2 known
    if has_domains "$1"; then
        row=$(base_of "$1")general
        known=$(seeds_of "$row")
        [[ " $known " == *" $seed "* ]] || seed=${known%% *}
    fi
    echo "$row $seed"
}

# model_of ROW SEED: its folder. backbone_of ROW SEED: what it is trained from.
model_of() {
    case $1 in
    *untuned) backbone_of "$1" ;;
    at*) echo "$models/prior.${1#at}.$2" ;;
    *) if has_domains "$1"; then echo "$models/$1.$rate.$2"; else echo "$models/$1.$2"; fi ;;
    esac
}
backbone_of() {
    local row seed
    case $1 in
    later) model_of first "$2" && return ;;
    cut-untuned | cut-dr | cut-general) echo "$WORK/encoders/cut" && return ;;
    esac
    has_domains "$1" || { echo "$whole" && return; }
    read -r row seed <<<"$(passages_of "$1" "$2")"
    model_of "$row" "$seed"
}

# sets_of ROW: what it learns from.
sets_of() {
    local set
    case $1 in
    *general) echo "${general_sets[@]}" ;;
    *dr) printf '%s\n' "${general_sets[@]}" "${domain_sets[@]}" | sort -u ;;
    *)
        for set in "${domain_sets[@]}"; do
            case $1/+${domains[$set]}+ in
            "without-$set"/* | first/*"+$last+"*) ;;
            later/*"+$last+"* | [!l]* | len*) echo "$set" ;;
            esac
        done
        ;;
    esac
}

# known_to ROW: the domains that its model has, a line each; joined puts a + between them.
known_to() {
    local set kept=("${domain_sets[@]}") gone=""
    [[ $1 != without-* && $1 != first ]] || mapfile -t kept < <(sets_of "$1")
    [[ $1 != removed ]] || gone=$last
    for set in "${kept[@]}"; do echo "${domains[$set]//+/$'\n'}"; done | sort -u | grep -vx "$gone"
}
joined() { paste -sd+ -; }

# method_of ROW: set the array `method` to the words that train it.
method_of() {
    local base kind own=$rate learned words=()
    base=$(base_of "$1")
    kind=${1#"$base"} learned=$(known_to "$1" | joined)
    case $kind in
    dr) method=(shared --learning-rate "$low" "${general_learning[@]}") && return ;;
    general)
        own=${base//[!0-9]/}
        method=(ddr --prefix-length "${own:-$length}" "${general_learning[@]}") && return
        ;;
    top[1-9]*) words=(--routing topk --top-k "${kind#top}") ;;
    soft | uniform) words=(--routing "$kind") ;;
    everything) words=(--routing uniform) ;; # and its data say no domains
    at*) own=${kind#at} ;;
    later) learned=$last ;;
    prior | without-* | first) ;;
    *) say "no row is called $1" && exit 2 ;;
    esac
    method=(ddr --train-domains "$learned" "${words[@]}" --learning-rate "$own" "${domain_learning[@]}")
}

# data_of ROW SEED: set the array `data` to its sets; with domains the passages are given.
data_of() {
    local set words at
    data=() at=$(passages_of "$1" "$2")
    for set in $(sets_of "$1"); do
        words="name=$set,path=$negatives/$set.jsonl${share[$set]:-}"
        if has_domains "$1"; then
            words+=",passage_vectors=$WORK/vectors/${at/ /.}.$set"
            [[ $1 == *everything ]] || words+=",domains=${domains[$set]}"
        fi
        data+=(--data "$words")
    done
}

# row_trained ROW SEED: its model.
row_trained() {
    [[ $1 != *untuned ]] || return 0
    method_of "$1"
    data_of "$1" "$2"
    learn "${method[@]}" --backbone "$(backbone_of "$1" "$2")" "${data[@]}" --output "$(model_of "$1" "$2")" \
        --seed "$2" "${learning[@]}" "${numbers[@]}" --max-minutes "$(minutes_left)"
}

# row_encoded ROW SEED: the vectors of all passages that it, or what stands on it, searches or learns from.
row_encoded() {
    local set more=()
    [[ $1 != *general ]] || more=("${domain_sets[@]}")
    for set in $(printf '%s\n' "${tests[@]}" "${more[@]}" | sort -u); do
        encode_row "$1" "$2" "$(place_of "$set")" "$WORK/vectors/$(name_of "$1" "$2").$set"
    done
}

# row_judged ROW SEED [SPLIT]: its run and measures of every test set, or of the dev sets.
row_judged() {
    local set names choice asked=("${tests[@]}")
    [[ ${3:-test} == test ]] || asked=("${dev_sets[@]}")
    for set in "${asked[@]}"; do
        choice=()
        if [[ $1 =~ (prior|uniform|first|later|removed|returned)$|^at|^without- ]]; then
            names=$(known_to "$1" | grep -xF "${domains[$set]//+/$'\n'}" | joined || true)
            choice=(--set "${names:+domains=}${names:-routing=none}")
        fi
        judged_row "$1" "$2" "$set${3:+-$3}" "$(place_of "$set"):${3:-test}" "${choice[@]}"
    done
}

# row_with_domains ROW SEED: trained on its general prefix, and measured.
row_with_domains() {
    row_trained "$1" "$2"
    row_judged "$1" "$2"
}

# hard_negatives: of every set passages near its questions that do not answer them, by BM25.
hard_negatives() {
    local set
    step "Hard negatives"
    for set in $(sets_of dr); do beside mined_set "$set"; done
    together
}
mined_set() {
    local place split=train
    place=$(place_of "$1")
    if [[ -n ${questions[$1]:-} ]]; then
        with_files "$WORK/text/$1.tsv" sample "$WORK/text/$1.tsv" "$place/qrels/train.tsv" "${questions[$1]}"
        dretrieve prepare "$place" --qrels "sample=$WORK/text/$1.tsv" --output "$WORK/text/$1"
        place=$WORK/text/$1 split=sample
    fi
    words_run "$1" "$place:$split" "$depth" "$runs/mined.$1.trec.zst"
    dretrieve mine-negatives --data "$place:$split" --run "$runs/mined.$1.trec.zst" --depth "$depth" \
        --num-negatives 8 --output "$negatives/$1.jsonl"
}

# grounds ROW...: these, which have no domains, and all that domains stand on; then the rate of domains' prefixes.
grounds() {
    text
    hard_negatives
    step "What has no domains, and its passages' vectors"
    each row_grounded "$@"
    choose_rate
}
row_grounded() {
    row_trained "$1" "$2"
    row_encoded "$1" "$2"
}

# choose_rate: of several rates that which is best on the dev sets, with the first seed and prior domains.
choose_rate() {
    local own found=() files
    ((${#rates[@]} > 1)) || return 0
    step "The rate of domains' prefixes"
    for own in "${rates[@]}"; do beside row_tried "at$own" "${seeds[0]}"; done
    together
    for own in "${rates[@]}"; do
        files=$(printf "$metrics/at$own.%s-dev.${seeds[0]}.json," "${dev_sets[@]}")
        found+=("$models/prior.$own.${seeds[0]}=${files%,}")
    done
    with_files "$models/rate" best "$models/rate" "${found[@]}"
    [[ ! -e $models/rate ]] || rate=$(readlink "$models/rate")
    rate=${rate#prior.} rate=${rate%."${seeds[0]}"}
}
row_tried() {
    row_trained "$1" "$2"
    row_judged "$1" "$2" dev
}

# row_comes_and_goes removed SEED: the module of $last is taken out of prior's model as a file, and put in again.
row_comes_and_goes() {
    local model file=$models/$last.$rate.$2.safetensors
    model=$(model_of prior "$2")
    dretrieve modules list "$model"
    dretrieve modules export "$model" "$last" --output "$file"
    dretrieve modules remove "$model" "$last" --output "$(model_of removed "$2")"
    dretrieve modules add "$(model_of removed "$2")" "$file" --output "$(model_of returned "$2")"
}

# counted: models of one step, whose parameters are those of any; and a module of such a one.
counted() {
    local row backbone set=${domain_sets[0]}
    for row in dr general prior; do
        method_of "$row"
        backbone=$whole
        [[ $row != prior ]] || backbone=$WORK/counted/general
        dretrieve train "${method[@]}" --backbone "$backbone" --output "$WORK/counted/$row" --max-steps 1 --seed 1 \
            --batch-size 2 --train-group-size 1 \
            --data "name=$set,path=$(place_of "$set"),split=train,sample=32$([[ $row != prior ]] || echo ",domains=${domains[$set]}")"
    done
    dretrieve modules export "$WORK/counted/prior" "$last" --output "$WORK/counted/module.safetensors"
}
