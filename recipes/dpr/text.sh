# shellcheck shell=bash
# shellcheck disable=SC2034,SC2153,SC2154  # profiles.sh sets the variables
# The texts of DPR's and TASER's tables, and which of them a row learns from: of a row `single-…` NQ alone, of
# `…-nosquad` all but SQuAD, of `…-co` from coCondenser.

# text: passages in $wiki, the questions of every set, and the joined dev questions that choose weights.
text() {
    step "Text"
    case $PROFILE in
    paper) paper_text ;;
    smoke)
        invent_world
        questions nq squad entities
        ;;
    *) questions nq-qed squad entityquestions "nq-gold=$DATA/nq-gold" "distractors=$DATA/wiki-2wmh-passages" --equal letters ;;
    esac
}

# questions NQ SQUAD ENTITIES WORD...: those folders of $DATA over one corpus. Of EntityQuestions those stay
# whose entity is the title of a passage here that holds an answer.
questions() {
    dretrieve prepare "nq=$DATA/$1" "squad=$DATA/$2" "entities=$DATA/$3" --entities entities "${@:4}" --output "$wiki"
    join_dev "$wiki"
}

# DPR's own files: 21,015,324 passages, each set's training file with its BM25 negatives, questions with answers.
paper_text() {
    [[ ${BACKBONE:-} != tiny ]] || invent_world
    dretrieve prepare dpr:psgs_w100 "${from[@]}" --output "$wiki"
    dretrieve prepare entityquestions:test "${from[@]}" --output "$WORK/entityquestions"
    local set key joined=()
    for set in "${sets[@]}"; do
        key=${set/squad/squad1}
        dretrieve prepare "dpr:biencoder-$key-train" "${from[@]}" --output "$WORK/sets/$set-train"
        dretrieve prepare "dpr:$key-test.qa" "${from[@]}" --output "$WORK/questions/$set-test"
    done
    for set in "${dev_sets[@]}"; do
        dretrieve prepare "dpr:biencoder-$set-dev" "${from[@]}" --output "$WORK/sets/$set-dev"
        dretrieve prepare "dpr:$set-dev.qa" "${from[@]}" --output "$WORK/questions/$set-dev"
        joined+=("$set=$WORK/sets/$set-dev")
    done
    # A dev file's own passages, its positives and negatives, are the pool in which weights are compared.
    dretrieve prepare "${joined[@]}" --output "$WORK/dev-sets"
    join_dev "$WORK/dev-sets"
    for set in "${mined_sets[@]}"; do
        with_files "$WORK/mining/$set" link "$wiki" "$WORK/sets/$set-train" "$WORK/mining/$set"
    done
}

# join_dev COLLECTION: one split `dev` out of the dev sets' own, in $WORK/dev.
join_dev() {
    local files=("${dev_sets[@]/#/$1/qrels/}")
    with_files "$WORK/dev.tsv" concatenate "$WORK/dev.tsv" "${files[@]/%/-dev.tsv}"
    dretrieve prepare "$1" --qrels "dev=$WORK/dev.tsv" --output "$WORK/dev"
}

# asked SET SPLIT: where those questions stand, with their answers.
asked() {
    case $PROFILE/$1/$2 in
    paper/entities/*) echo "$WORK/entityquestions:test" ;;
    paper/*/train) echo "$WORK/sets/$1-train:train" ;;
    paper/*) echo "$WORK/questions/$1-$2:$2" ;;
    */entities/*) echo "$wiki:entities" ;;
    *) echo "$wiki:$1-$2" ;;
    esac
}

# mined_from SET: the collection that holds its training questions and all passages.
mined_from() {
    if [[ $PROFILE == paper ]]; then echo "$WORK/mining/$1:train"; else asked "$1" train; fi
}

# first_of SET: its examples of the first round.
first_of() {
    if [[ $PROFILE == paper ]]; then echo "$WORK/sets/$1-train/examples.jsonl"; else echo "$negatives/bm25.$1.jsonl"; fi
}

sets_of() {
    local set
    for set in "${sets[@]}"; do
        [[ $1 != single-* || $set == nq ]] || continue
        [[ $1 != *-nosquad* || $set != squad* ]] || continue
        echo "$set"
    done
}

# data_of ROW SEED: the second round of one set learns from both rounds' negatives; of several, from the second's
# alone, and the sets that are not mined keep BM25's.
data_of() {
    local set
    data=()
    for set in $(sets_of "$1"); do
        if [[ $1 == *-mined && " ${mined_sets[*]} " == *" $set "* ]]; then
            data+=(--data "name=$set,path=$negatives/${1%-mined}.$2.$set.jsonl${share[$set]:-}")
            [[ $1 != single-* ]] || data+=(--data "name=$set-first,path=$(first_of "$set")${share[$set]:-}")
        else
            data+=(--data "name=$set,path=$(first_of "$set")${share[$set]:-}")
        fi
    done
}

# dev_of ROW: the dev questions that choose its weights: those of all dev sets together, or NQ's.
dev_of() { if [[ $1 == single-* ]]; then echo "$WORK/sets/nq-dev:dev"; else echo "$WORK/dev:dev"; fi; }
tests_of() { if [[ $1 == single-* ]]; then echo nq-test; else echo "${sets[@]/%/-test}"; fi; }
backbone_of() { if [[ $1 == *-co* ]]; then echo "$coco"; else echo "$backbone"; fi; }

# seeds_of ROW: the seeds with which the profile trains that row; none where it is NOT RUN.
seeds_of() {
    [[ -z ${ONLY:-} ]] || return 0
    case $PROFILE/${1#single-} in
    */*-co*) [[ -z $coco ]] || echo "${seeds[@]}" ;;
    mini-cpu/det | mini-cpu/shared) echo "${seeds[@]}" ;;
    mini-cpu/seq2 | mini-cpu/dpr | mini-cpu/every[26] | mini-cpu/*-mined) echo "${seeds[0]}" ;;
    mini-cpu/*) ;;
    *) echo "${seeds[@]}" ;;
    esac
}
