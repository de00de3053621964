# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154  # profiles.sh sets the variables
# The rows of TASER's tables (Cheng et al., ACL 2023), trained and tested on DPR's texts. All tables of a profile
# share one work folder: what one has made is there for the others.
#
#   shared           one encoder for both sides            det        Det-R: one expert for each side
#   seq2 seq4        Seq-R: a gate on [CLS], 2 or 4        tok2 tok4  Tok-R: a gate on every token
#   seq2-all         Seq-R 2, all entries of the gate learn (Eq. 3)   dpr   two encoders
#   every2 every6    Det-R in every second or sixth layer; det is every third
#   single-X         trained on NQ alone                   X-nosquad  without SQuAD
#   X-co             from coCondenser                      X-mined    the second round
HERE=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=recipes/rows.sh
source "$HERE/../rows.sh"
# shellcheck source=recipes/dpr/profiles.sh
source "$HERE/../dpr/profiles.sh"

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

# text_elsewhere: the collections of Table 2 about other things. place_of SET: where such a collection stands.
text_elsewhere() {
    local set
    [[ $PROFILE == paper ]] || return 0
    for set in "${elsewhere[@]}"; do dretrieve prepare "beir:$set" "${from[@]}" --output "$WORK/elsewhere/$set"; done
}
place_of() { if [[ $PROFILE == paper ]]; then echo "$WORK/elsewhere/$1"; else echo "$DATA/$1"; fi; }

# elsewhere_row ROW SEED: EntityQuestions over the same passages, and collections about other things.
elsewhere_row() {
    local set
    entities_row "$1" "$2"
    for set in "${elsewhere[@]}"; do judged_row "$1" "$2" "$set" "$(place_of "$set"):test"; done
}

# entities_row ROW SEED: R@20 as the mean over relations (macro) and over questions (micro).
entities_row() {
    if [[ $1 == bm25 ]]; then bm25_runs entities-test; else search_row "$1" "$2" entities-test; fi
    answered "$runs/$(name_of "$1" "$2").entities-test.trec" "$(asked entities test)" \
        "$metrics/$1.entities${2:+.$2}.json" --by relation
}

# single_row ROW SEED: Table A1's numbers on NQ's dev and test questions: of models trained on NQ alone in
# `paper`, of those trained on all sets in the small profiles.
single_row() {
    local split
    search_row "$single$1" "$2" nq-dev nq-test
    for split in dev test; do
        answered "$runs/$single$1.$2.nq-$split.trec" "$(asked nq $split)" "$metrics/a1.$1.nq-$split.$2.json"
    done
}

# explain_row ROW SEED: which expert reads which tokens, of 1,000 passages and NQ's test questions.
explain_row() {
    [[ $2 == "${seeds[0]}" ]] || return 0 # one seed is enough to look at
    dretrieve explain --model "$models/$single$1.$2" --corpus "$wiki" --queries "$(asked nq test)" \
        --limit 1000 --output "$WORK/routing/$1.$2"
}

# time_steps: seconds of training steps of Det-R and DPR in turn, on SQuAD's texts; real weights only.
time_steps() {
    local how=(--device cpu --precision fp32 --batch 16 --rounds 12)
    [[ $PROFILE == mini* && -z ${ONLY:-} ]] || return 0
    [[ $PROFILE != mini ]] || how=(--device auto --precision bf16 --batch 64 --rounds 24)
    other "$WORK/speed.json" "$PYTHON" "$ROOT/tests/bench/step_seconds.py" "$WORK/speed.json" --texts "$DATA/squad" "${how[@]}"
}
