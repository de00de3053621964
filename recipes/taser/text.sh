# shellcheck shell=bash
# shellcheck disable=SC2154  # profiles.sh sets the variables
# The texts of TASER's tables: passages in $wiki, the questions of every set, the dev questions that choose
# weights, and what Table 2 asks besides. Sourced by steps.sh.

# text: passages in $wiki, the questions of every set, and the joined dev questions that choose weights.
text() {
    step "Text"
    case $PROFILE in
    paper) paper_text ;;
    *)
        local more=()
        [[ $PROFILE != smoke ]] || invent_world
        declare -A folder=([nq]=nq-qed [squad]=squad [entities]=entityquestions)
        [[ $PROFILE != smoke ]] || folder=([nq]=nq [squad]=squad [entities]=entities)
        [[ $PROFILE == smoke ]] ||
            more=("nq-gold=$DATA/nq-gold" "distractors=$DATA/wiki-2wmh-passages" --equal letters)
        # Of EntityQuestions those stay whose entity is the title of a passage here that holds an answer.
        dretrieve prepare "nq=$DATA/${folder[nq]}" "squad=$DATA/${folder[squad]}" \
            "entities=$DATA/${folder[entities]}" --entities entities "${more[@]}" --output "$wiki"
        join_dev "$wiki" "$wiki"
        ;;
    esac
}

invent_world() {
    other "$WORK/world" "${PYTHON:-python3}" "$ROOT/recipes/smoke.py" "$WORK/world"
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
    join_dev "$WORK/dev-sets" "$WORK/dev-sets"
    for set in "${mined_sets[@]}"; do
        with_files "$WORK/mining/$set" link "$wiki" "$WORK/sets/$set-train" "$WORK/mining/$set"
    done
}

# text_elsewhere: the collections of Table 2 about other things.
text_elsewhere() {
    local set
    [[ $PROFILE == paper ]] || return 0
    for set in "${elsewhere[@]}"; do
        dretrieve prepare "beir:$set" "${from[@]}" --output "$WORK/elsewhere/$set"
    done
}

# place_of SET: where such a collection stands.
place_of() {
    if [[ $PROFILE == paper ]]; then echo "$WORK/elsewhere/$1"; else echo "$DATA/$1"; fi
}

# join_dev COLLECTION PASSAGES: one split `dev` out of the dev sets' own, in $WORK/dev.
join_dev() {
    local files=() set
    for set in "${dev_sets[@]}"; do files+=("$1/qrels/$set-dev.tsv"); done
    with_files "$WORK/dev.tsv" concatenate "$WORK/dev.tsv" "${files[@]}"
    dretrieve prepare "$2" --qrels "dev=$WORK/dev.tsv" --output "$WORK/dev"
}

# with_files MADE WORD...: what is done with files besides dretrieve's commands.
with_files() {
    other "$1" "${PYTHON:-python3}" "$ROOT/recipes/taser/files.py" "${@:2}"
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
