# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154  # profiles.sh sets the variables
# The rows of ReAtt's tables (Jiang et al., EMNLP 2022). A row is a model: a T5 that is warmed up on answers out of BM25's
# passages, then goes through iterations, each on the passages that the one before it finds for the training questions:
#
#   untuned    the T5 that all begin with, its head that goes best with the judgements of dev questions
#   full       half of the layers see question or passage alone, alpha 8         qa       alpha 0      cross   no QA loss
#   twice      full, and an iteration more in `mini-cpu`, where full has one     alone    no in-batch passages
#   once       one iteration of as many steps as all of these
#   shallow deep   a quarter, three quarters of the layers        qN aN    N questions a step; alpha N
#   full-fast  full, searched by the compressed index
#   reatt reatt-dpr   Tables 1 and 2; reatt-dpr: one long iteration on DPR's passages     dpr colbert   learn from judgements
#   reader fid   fusion in the decoder (B = 0) on BM25's, on DPR's passages
#   reatt-nq   what adaptation begins with        adapted  after it         t5-e2e   adapted from untuned
#
# Outside `paper`, reatt and reatt-nq are full. $WORK holds models/ROW.SET.SEED.ITERATION, and by a model's name and what was
# searched vectors/, index/, runs/, read/; metrics/ROW.SET[.read].SEED.json.
HERE=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=recipes/rows.sh
source "$HERE/../rows.sh"
# shellcheck source=recipes/reatt/profiles.sh
source "$HERE/profiles.sh"

# like ROW: the row whose model it is.
like() {
    case $PROFILE/$1 in
    paper/reatt-nq) echo reatt-dpr ;;
    */full-fast | */twice) echo full ;;
    paper/*) echo "$1" ;;
    */reatt | */reatt-nq) echo full ;;
    *) echo "$1" ;;
    esac
}

# method_of ROW: set the array `method` to the options that train it; questions a step, iterations, their steps, its warm-up.
method_of() {
    method=(--alpha 8 --head-temperature "$tau") of_step=$batch rounds=$iterations long=$steps warm=warm
    local row
    row=$(like "$1")
    [[ $1 != twice ]] || rounds=$((iterations + more))
    case $row in
    reatt | reatt-dpr | reader | fid) of_step=$large_batch long=$large_steps warm=$ground ;;
    esac
    case $row in
    full | reatt | adapted | t5-e2e) ;;
    qa) method=(--alpha 0) ;;
    cross) method+=(--qa-weight 0) ;;
    alone) method+=(--no-in-batch) ;;
    once) rounds=1 long=$(((iterations + more) * steps)) ;;
    reatt-dpr) rounds=1 long=$long_steps ;;
    shallow | deep) warm=warm-$row ;;
    q[0-9]*) of_step=${row#q} ;;
    a[0-9]*) method=(--alpha "${row#a}" --head-temperature "$tau") ;;
    reader | fid) method=(--alpha 0) rounds=1 long=$((iterations * large_steps)) warm=warm-reader ;;
    *) say "no row is called $1" && exit 2 ;;
    esac
}

# model_of ROW SET SEED: its folder. head_of MODEL: set the array `head` to the choice of its head: that which won, or, where
# nothing told heads apart, that which goes best with the judgements.
model_of() {
    local row
    row=$(like "$1")
    case $row in
    untuned) echo "$models/start" ;;
    dpr | colbert) echo "$models/$row.$3" ;;
    adapted | t5-e2e) echo "$models/$row.$2.$3" ;;
    *)
        method_of "$1"
        echo "$models/$row.${2:-main}.$3.$rounds"
        ;;
    esac
}
head_of() {
    local file=$1/card.json name=${1##*/} set=main
    head=()
    case $name in
    dpr* | colbert*) return ;;
    start | qa.*)
        file=$WORK/heads/$name/manifest.json
        dretrieve explain --model "$1" --corpus "$(corpus_of "$set")" --queries "$(asked "$set" dev)" --run "$runs/bm25.$set-dev.trec" \
            --limit 300 --output "$WORK/heads/$name"
        ;;
    esac
    head=(--set head=0)
    [[ ! -e $file ]] || head=(--set "head=$(grep -oE '"head": *[0-9]+' "$file" | grep -oE '[0-9]+$')")
}

# begin T5 DATA [WORD...]: the T5 that all begin with.
begin() {
    learn reatt --alpha 0 "${lengths[@]}" --backbone "$1" --data "$2" --output "$models/start" --seed 1 --batch-size 16 \
        "${learning[@]}" "${start_learning[@]}" --max-steps "$start_steps" "${@:3}" --max-minutes "$(minutes_left)"
}

# words_found SET SPLIT...: BM25's passages for those questions.
words_found() {
    local split at
    at=$WORK/bm25/$(basename "$(corpus_of "$1")")
    dretrieve index --corpus "$(corpus_of "$1")" --type bm25 "${words_index[@]}" --output "$at"
    for split in "${@:2}"; do
        dretrieve search --index "$at" --queries "$(asked "$1" "$split")" --hits 101 --output "$runs/bm25.$1-$split.trec"
    done
}

# found MODEL SET SPLIT [fast]: the passages that it finds, in $run; every passage is compared, or the compressed index asked.
found() {
    local of at corpus
    corpus=$(corpus_of "$2")
    of=${1##*/} at=$WORK/vectors/${1##*/}.$(basename "$corpus") run=$runs/$of.$2-$3${4:+.fast}.trec
    head_of "$1"
    in_shards encode --model "$1" --corpus "$corpus" "${numbers[@]}" "${head[@]}" --output "$at"
    if [[ -n ${4:-} ]]; then
        local SHARDS=1 # it is searched whole
        dretrieve index --embeddings "$at" --type token --output "$WORK/index/${at##*/}"
        at=$WORK/index/${at##*/}
    fi
    search_shards "$run" --index "$at" --model "$1" --queries "$(asked "$2" "$3")" --hits 101 "${numbers[@]}" "${head[@]}"
}

# learn_by COUNT WORD...: so many questions a step, in equal parts, two at least a process.
learn_by() {
    local GPUS=$((GPUS < $1 / 2 ? GPUS : $1 / 2))
    while (($1 % GPUS)); do GPUS=$((GPUS - 1)); done
    learn reatt --batch-size "$(($1 / GPUS))" "${learning[@]}" "${@:2}" --max-minutes "$(minutes_left)"
}

# trained SET ROW SEED: its model. warmed SET NAME SEED: the warm-up that rows share.
trained() {
    local row set=$1 seed=$3 round at run=$runs/bm25.$1-train.trec fast=""
    row=$(like "$2")
    [[ $PROFILE != paper ]] || fast=fast # 79,000 questions
    case $row in
    untuned) return ;;
    dpr | colbert)
        judged_trained "$row" "$seed" # no && behind it, which would go on when the training was interrupted
        return
        ;;
    reatt-dpr | fid) found "$models/dpr.$seed" "$set" train ;;
    esac
    method_of "$2"
    local words=("${method[@]}") last=$rounds length=$long many=$of_step
    at=$models/$warm.$set.$seed
    for ((round = 1; round <= last; round++)); do
        ((round == 1)) || found "$at" "$set" train $fast
        learn_by "$many" "${words[@]}" --backbone "$at" --data "$(read_by "$set" train "$run")" \
            --output "$models/$row.$set.$seed.$round" --seed "$seed" --max-steps "$length"
        at=$models/$row.$set.$seed.$round
    done
}
read_by() {
    local place
    place=$(asked "$1" "$2")
    echo "name=$1,path=${place%:*},split=${place##*:},run=$3,depth=$depth${4:+,target=$4}"
}
warmed() {
    local many=$batch words=()
    case $2 in
    warm-shallow) words=(--bi-layers "$shallow") ;;
    warm-deep) words=(--bi-layers "$deep") ;;
    warm-reader) words=(--bi-layers 0) many=$large_batch ;;
    warm-large) many=$large_batch ;;
    esac
    # with another B a T5 begins anew, so with the weights alone
    learn_by "$many" --alpha 0 "${warm_learning[@]}" "${lengths[@]}" "${words[@]}" --backbone "$models/start/backbone" \
        --data "$(read_by "$1" train "$runs/bm25.$1-train.trec")" --output "$models/$2.$1.$3" --seed "$3" --max-steps "$warm_steps"
}

# judged_trained ROW SEED: DPR and ColBERT, from judged passages.
judged_trained() {
    local place data=path=$WORK/text/judged/examples.jsonl
    place=$(asked main train)
    [[ $PROFILE == paper ]] || data="path=${place%:*},split=${place##*:}"
    learn "$1" --backbone "$encoder" --data "name=judged,$data" --output "$models/$1.$2" --seed "$2" "${judged_learning[@]}" \
        --max-minutes "$(minutes_left)"
}

# grounds SET WARM-UP...: BM25's passages; begins the warm-ups with the seeds of the rows that stand on them.
grounds() {
    local seed name
    step "BM25's passages, and the warm-up"
    words_found "$1" train dev test
    for name in "${@:2}"; do
        for seed in $(seeds_of "$(row_of "$name")"); do beside warmed "$1" "$name" "$seed"; done
    done
}
row_of() { if [[ $1 == warm ]]; then echo full; elif [[ $1 == warm-large ]]; then echo reatt; else echo "${1#warm-}"; fi; }

# row_in SET ROW SEED: trained, measured: R@k, EM.
row_in() {
    local set=$1 row=$2 seed=$3 model run=$runs/bm25.$1-test.trec of=$metrics/$2.$1
    if [[ $row != bm25 ]]; then
        trained "$set" "$row" "$seed"
        model=$(model_of "$row" "$set" "$seed")
    fi
    case $row in
    reader) ;;
    fid) found "$models/dpr.$seed" "$set" test ;;
    full-fast) found "$model" "$set" test fast ;;
    bm25) ;;
    *) found "$model" "$set" test ;;
    esac
    [[ $row == reader || $row == fid ]] ||
        dretrieve evaluate --run "$run" --answers "$(asked "$set" test)" --corpus "$(corpus_of "$set")" \
            --metrics "top1 top5 top6 top10 top20 top100" --output "$of${seed:+.$seed}.json" --format tsv
    case $row in
    bm25 | dpr | colbert | full-fast) return ;;
    full | once | twice | reatt) read_out "$model" "$runs/bm25.$set-test.trec" "$set" "$of.read-bm25.$seed.json" ;;
    esac
    read_out "$model" "$run" "$set" "$of.read${seed:+.$seed}.json"
}

# read_out MODEL RUN SET OUTPUT: what it reads out of those passages, and EM.
read_out() {
    local at=$WORK/read/${1##*/}.${2##*/}
    dretrieve read --model "$1" --run "$2" --queries "$(asked "$3" test)" --corpus "$(corpus_of "$3")" --depth "$read" \
        --output "${at%.trec}.jsonl"
    dretrieve evaluate --predictions "${at%.trec}.jsonl" --answers "$(asked "$3" test)" --metrics "EM F1" --output "$4" --format tsv
}

# row_adapted ROW SEED: elsewhere: not adapted, or adapted with what a set teaches; the first set is that of Table 5.
row_adapted() {
    local set asks=("${adapted[@]}")
    [[ $1 != t5-e2e && $1 != untuned ]] || asks=(answers)
    for set in "${asks[@]}"; do adapted_to "$set" "$1" "$2"; done
}
adapted_to() {
    local set=$1 row=$2 seed=$3 model run=$runs/bm25.$1-test.trec of=$metrics/$2.$1
    if [[ $row != bm25 ]]; then
        model=$(model_of "$row" main "$seed")
        if [[ $row == adapted || $row == t5-e2e ]]; then
            model=$models/$row.$set.$seed
            adapts "$row" "$seed" "$set"
        fi
        found "$model" "$set" test
    fi
    dretrieve evaluate --run "$run" --qrels "$(asked "$set" test)" --metrics "nDCG@10 nDCG@1 nDCG@5" --drop-self \
        --output "$of${seed:+.$seed}.json" --format tsv
    [[ $set != answers || $row == bm25 || $row == dpr || $row == colbert ]] || read_out "$model" "$run" "$set" "$of.read${seed:+.$seed}.json"
}

# adapts ROW SEED SET: one iteration on BM25's passages: answers, judged passages as answers, or masked entities.
adapts() {
    local at=$models/start split=train target="" steps_there=$adapt_steps
    [[ $1 != adapted ]] || at=$(model_of reatt-nq main "$2")
    [[ $3 != msmarco ]] || steps_there=$((3 * adapt_steps))
    case $(taught "$3") in
    judgements) target=passage ;;
    neither) split=masked ;;
    esac
    method_of "$1"
    learn_by "$batch" "${method[@]}" --backbone "$at" --output "$models/$1.$3.$2" --seed "$2" --max-steps "$steps_there" \
        --data "$(read_by "$3" "$split" "$runs/bm25.$3-$split.trec" $target)"
}

# grounds_elsewhere: BM25's passages there, and the questions that are made where there are none.
grounds_elsewhere() {
    local set
    step "BM25's passages elsewhere"
    for set in "${adapted[@]}"; do
        if [[ $(taught "$set") == neither ]]; then
            dretrieve prepare "cloze:$(corpus_of "$set")" --number "$masked" --output "$WORK/masked/$set"
            words_found "$set" masked test
        else
            words_found "$set" train test
        fi
    done
    together
}
