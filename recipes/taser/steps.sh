# shellcheck shell=bash
# The steps of TASER's tables (Cheng et al., ACL 2023), each once and under a name; a table's script says which
# of them it needs. All tables of a profile share one work folder: what one has made is there for the others.
#
# A row is a model, and its name says how it is trained:
#
#   shared           one encoder for both sides            det        Det-R: one expert for each side
#   seq2 seq4        Seq-R: a gate on [CLS], 2 or 4        tok2 tok4  Tok-R: a gate on every token
#   seq2-all         Seq-R 2, all entries of the gate learn (Eq. 3)   dpr   two encoders
#   every2 every6    Det-R in every second or sixth layer; det is every third
#   single-X         trained on NQ alone                   X-nosquad  without SQuAD
#   X-co             from coCondenser                      X-mined    the second round: from the backbone again,
#                                                                     on the negatives that X has found
# shellcheck source=recipes/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"
# shellcheck source=recipes/taser/profiles.sh
source "$(dirname "${BASH_SOURCE[0]}")/profiles.sh"
# shellcheck source=recipes/taser/text.sh
source "$(dirname "${BASH_SOURCE[0]}")/text.sh"
# shellcheck source=recipes/taser/models.sh
source "$(dirname "${BASH_SOURCE[0]}")/models.sh"

# --- BM25: a row, the first negatives, and one half of every hybrid

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
    local tests=("${sets[@]/%/-test}") devs=("${dev_sets[@]/%/-dev}")
    bm25_runs "${tests[@]}" "${devs[@]}"
    measure bm25 "" "${tests[@]}"
}

# first_negatives: the negatives of the first round, BM25's hits without an answer. DPR's files bring their own.
first_negatives() {
    local set
    [[ $PROFILE != paper ]] || return 0
    for set in "${sets[@]}"; do
        bm25_runs "$set-train"
        dretrieve mine-negatives --data "$(asked "$set" train)" --run "$runs/bm25.$set-train.trec" \
            --drop-answers --depth "$first_depth" --num-negatives 8 --output "$negatives/bm25.$set.jsonl"
    done
}

# --- the rows

# each FUNCTION ROW...: FUNCTION ROW SEED for each of its seeds (of a row that nothing trains, none); as many at
# once as the profile lets.
each() {
    local row seed
    for row in "${@:2}"; do
        if [[ $row == bm25 || $row == untuned ]]; then
            beside "$1" "$row" ""
        else
            for seed in $(seeds_of "${row%-bm25}"); do beside "$1" "$row" "$seed"; done
        fi
    done
    together
}

# first_rows ROW...: each for each of its seeds: train, encode, search, measure.
first_rows() { each first_row "$@"; }
first_row() {
    train_row "$1" "$2"
    measure_in_domain "$1" "$2"
}

# mined_rows ROW-mined...: the second round of rows whose first one stands.
mined_rows() { each mined_row "$@"; }
mined_row() {
    local set base=${1%-mined}
    for set in "${mined_sets[@]}"; do
        [[ $1 != single-* || $set == nq ]] || continue
        search_row "$base" "$2" "$set-train"
        dretrieve mine-negatives --data "$(mined_from "$set")" --run "$runs/$base.$2.$set-train.trec" \
            "${drop[@]}" --depth 100 --num-negatives 30 --output "$negatives/$base.$2.$set.jsonl"
    done
    first_row "$1" "$2"
}

# mined_from SET: the collection that holds its training questions and all passages.
mined_from() {
    if [[ $PROFILE == paper ]]; then echo "$WORK/mining/$1:train"; else asked "$1" train; fi
}

# fused_rows ROW-bm25...: with BM25 by one alpha for all sets, chosen on the joined dev sets (K' = 100, a hit
# that one list lacks gets that list's lowest score).
fused_rows() { each fused_row "$@"; }
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

# --- measures

# measure_in_domain ROW SEED: all test sets (of a row trained on NQ alone: NQ's), searched and measured.
measure_in_domain() {
    local names=("${sets[@]/%/-test}")
    [[ $1 != single-* ]] || names=(nq-test)
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

# out_of_domain ROW...: EntityQuestions over the same passages, and collections about other things.
out_of_domain() { each elsewhere_row "$@"; }
elsewhere_row() {
    about_entities "$1" "$2"
    about_other_things "$1" "$2"
}

# about_entities ROW SEED: R@20 as the mean over relations (macro) and over questions (micro).
about_entities() {
    if [[ $1 == bm25 ]]; then bm25_runs entities-test; else search_row "$1" "$2" entities-test; fi
    answered "$runs/$(name_of "$1" "$2").entities-test.trec" "$(asked entities test)" \
        "$metrics/$1.entities${2:+.$2}.json" --by relation
}

# about_other_things ROW SEED: BEIR's sets, nDCG@10; a hit that is the query itself is dropped.
about_other_things() {
    local set place of
    of=$(name_of "$1" "$2")
    for set in "${elsewhere[@]}"; do
        place=$(place_of "$set")
        if [[ $1 == bm25 ]]; then
            dretrieve index --corpus "$place" --type bm25 "${words_index[@]}" --output "$WORK/bm25-$set"
            dretrieve search --index "$WORK/bm25-$set" --queries "$place:test" --hits 101 \
                --output "$runs/$of.$set.trec"
        else
            encode_row "$1" "$2" "$place" "$WORK/vectors/$of.$set"
            search_shards "$runs/$of.$set.trec" --index "$WORK/vectors/$of.$set" \
                --model "$(model_of "$1" "$2")" --queries "$place:test" --hits 101 "${numbers[@]}"
        fi
        dretrieve evaluate --run "$runs/$of.$set.trec" --qrels "$place:test" --metrics "nDCG@10 R@100" \
            --drop-self --output "$metrics/$1.$set${2:+.$2}.json" --format tsv
    done
}

# single_set ROW...: Table A1's numbers on NQ's dev and test questions: of models trained on NQ alone in
# `paper`, of those trained on all sets in the small profiles.
single_set() { each single_row "$@"; }
single_row() {
    local split
    search_row "$single$1" "$2" nq-dev nq-test
    for split in dev test; do
        answered "$runs/$single$1.$2.nq-$split.trec" "$(asked nq $split)" "$metrics/a1.$1.nq-$split.$2.json"
    done
}

# explain_rows ROW...: which expert reads which tokens, of 1,000 passages and NQ's test questions.
explain_rows() { each explain_row "$@"; }
explain_row() {
    [[ $2 == "${seeds[0]}" ]] || return 0 # one seed is enough to look at
    dretrieve explain --model "$models/$single$1.$2" --corpus "$wiki" --queries "$(asked nq test)" \
        --limit 1000 --output "$WORK/routing/$1.$2"
}

# count_parameters ROW...: of a model that was trained for one step; more would not change it.
count_parameters() {
    local row
    [[ -z ${ONLY:-} ]] || return 0
    for row in "$@"; do beside count_row "$row"; done
    together
}
count_row() {
    local first=$negatives/bm25.nq.jsonl
    [[ $PROFILE != paper ]] || first=$WORK/sets/nq-train/examples.jsonl
    method_of "$1"
    dretrieve train "${method[@]}" --backbone "$backbone" --data "name=nq,path=$first,sample=32" \
        --batch-size 2 --train-group-size 1 --max-steps 1 --seed 1 --output "$WORK/counted/$1"
}

# time_steps: seconds of training steps of Det-R and DPR in turn, on SQuAD's texts; real weights only.
time_steps() {
    local how=(--device cpu --precision fp32 --batch 16 --rounds 12)
    [[ $PROFILE == mini* && -z ${ONLY:-} ]] || return 0
    [[ $PROFILE != mini ]] || how=(--device auto --precision bf16 --batch 64 --rounds 24)
    other "$WORK/speed.json" env "PYTHONPATH=$ROOT:$ROOT/cli" "${PYTHON:-python3}" "$ROOT/recipes/taser/speed.py" \
        "$WORK/speed.json" --texts "$DATA/squad" "${how[@]}"
}

# report [PAPER]: all its tables of the profile with what stands there by now; REPORT=later leaves it to the caller.
report() {
    if [[ ${REPORT:-} == later ]]; then
        finish
        return
    fi
    step "The tables"
    dretrieve report "$ROOT/recipes/${1:-taser}" --profile "$PROFILE" --work "$WORK" --output "$WORK/report"
    finish "The same with plots: $WORK/report/report.html"
}
