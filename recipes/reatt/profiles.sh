# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154  # rows.sh reads them
# Everything in which the profiles of ReAtt's tables differ, and where their texts are.
#
#   smoke      an invented world of 300 entities: shows that the chain runs and learns
#   mini-cpu   10,000 passages and more a part, 4,000 training and 2,000 test questions
#   mini       a T5 trained on spans of nq-qed and SQuAD, learning from SQuAD; for a GPU, not run yet
#   paper      T5-large on NQ and DPR's 21 million passages, on a cluster
#
# README.md explains DATA, MIRROR, BACKBONE, BATCH, GPUS, SHARDS, QUEUE, BESIDE. BIOASQ (`paper`) is a folder with BioASQ's
# questions, answers and judgements and its million passages as BEIR lays them out; nobody may hand it on. The invented world is world.py's.

# settle: set the profile's variables. After `recipe`.
settle() {
    lengths=() start_learning=() warm_learning=() ground=warm # what Tables 1, 2 and 4 stand on
    sets=(main) adapted=(answers judgements neither) judged=() alphas=(1 2 4 16) batches=(4 8 32 64) iterations=2 more=0
    settle_profile
    whole_tables
    large_batch=${large_batch:-$batch} large_steps=${large_steps:-$steps} long_steps=${long_steps:-$((iterations * large_steps))}
}

# What chooses a head is rate / temperature; here it must be chosen in some thirty steps.
settle_smoke() {
    DATA=$WORK/world-$PROFILE world=(--train 960 --dev 40 --test 200 --reading 240 --relations 4)
    alphas=() batches=() depth=6 read=6 batch=8 tau=1e-4 start_steps=120 warm_steps=60 steps=60 adapt_steps=20 masked=200
    # Each step is in the curve: few questions' judged passages are found, and a share of the target on them is wanted.
    learning=(--learning-rate 2e-3 --save-steps 0 --logging-steps 1)
    choose_seeds 1
    side_by_side
}

settle_mini() {
    choose_seeds 1 2 3
    if [[ $PROFILE == mini ]]; then
        judged=(dpr colbert) encoder=minilm
        judged_learning=(--max-steps 2000 --batch-size 64 --learning-rate 3e-5 --train-group-size 1)
        depth=16 read=16 batch=16 shallow=2 deep=6 tau=0.001 start_steps=30000 warm_steps=2000 steps=2000 adapt_steps=1000
        masked=20000 learning=(--learning-rate 2e-4) lengths=(--query-max-len 128 --max-len 256)
        return
    fi
    # A T5 of this size learns to choose between passages at 3e-4, hardly at 1e-3; to retrieve, at 1e-3 in half the steps. Rows
    # have one iteration, for a second one harms (`twice`): the reader cannot tell the passages of its own search apart.
    DATA=$WORK/world-$PROFILE world=() sets=(main names) alphas=(1 16) batches=(4 8 32) iterations=1 more=1
    depth=6 read=6 batch=16 shallow=1 deep=3 tau=1e-4 start_steps=2000 warm_steps=700 steps=500 adapt_steps=300 masked=1000
    learning=(--learning-rate 1e-3 --save-steps 0) warm_learning=(--learning-rate 3e-4 --lr-scheduler-type constant)
    start_learning=("${warm_learning[@]}")
    side_by_side
}

# The authors' sizes; ablations are 16 questions and 2,000 steps an iteration, adaptation 4,000, of MS MARCO 12,000.
settle_paper() {
    backbone=${BACKBONE:-google/t5-large-lm-adapt} encoder=google-bert/bert-base-uncased words_index=(--backend lucene) GPUS=${GPUS:-8}
    adapted=(answers fiqa msmarco cqadupstack trec-covid scidocs scifact) judged=(dpr colbert) SHARDS=${SHARDS:-16}
    judged_learning=(--epochs 40 --batch-size $((128 / GPUS)) --learning-rate 2e-5 --warmup-steps 1237)
    iterations=4 depth=100 read=100 batch=16 large_batch=${BATCH:-64} shallow=6 deep=18 tau=0.001 BIOASQ=${BIOASQ:-bioasq}
    ground=warm-large start_steps=1 warm_steps=3000 steps=2000 large_steps=8000 long_steps=16000 adapt_steps=4000 masked=100000
    learning=(--learning-rate 5e-5 --grad-cache 65536) lengths=(--query-max-len 128 --max-len 512)
    start_learning=(--learning-rate 1e-12) # of a published T5 nothing may change
    if [[ ${BACKBONE:-} == tiny ]]; then # a miniature of this profile: the world's T5, a hundred rows of every file
        backbone=$WORK/tiny/t5 encoder=$WORK/world/deep words_index=() depth=4 read=4 GPUS=1
        iterations=2 batch=4 large_batch=4 shallow=1 deep=3 warm_steps=2 steps=2 large_steps=2 long_steps=2 adapt_steps=2
        masked=20 judged_learning=(--max-steps 2 --batch-size 4) learning=(--learning-rate 1e-3)
    fi
    check_batch "$batch"
    check_batch "$large_batch"
    choose_seeds 1
}

# text: the collections, and the T5 that all begin with: trained to read one passage, on spans, or as published.
text() {
    step "Text, and the T5 that all begin with"
    local set at
    case $PROFILE in
    mini)
        dretrieve prepare "nq=$DATA/nq-qed" "squad=$DATA/squad" "nq-gold=$DATA/nq-gold" "distractors=$DATA/wiki-2wmh-passages" \
            --equal letters --output "$wiki"
        dretrieve prepare "spans:$wiki" --number 200000 --output "$WORK/spans"
        other "$WORK/t5" "$PYTHON" "$ROOT/recipes/reatt/world.py" "$WORK/t5" --texts "$wiki/corpus.jsonl"
        local lengths=(--query-max-len 224 --max-len 256) # the question is a text of up to 128 words
        begin "$WORK/t5" "name=spans,path=$WORK/spans,split=train,depth=0"
        ;;
    paper)
        if [[ ${BACKBONE:-} == tiny ]]; then
            other "$WORK/tiny" "$PYTHON" "$ROOT/recipes/reatt/world.py" "$WORK/tiny" --train 40 --dev 20 --test 20 --reading 30
            invent_world
        fi
        dretrieve prepare dpr:psgs_w100 "${from[@]}" --output "$wiki"
        dretrieve prepare dpr:biencoder-nq-train "${from[@]}" --output "$WORK/text/judged"
        for set in nq-train.qa biencoder-nq-dev nq-test.qa; do # of dev questions the judgements are needed
            dretrieve prepare "dpr:$set" "${from[@]}" --output "$WORK/text/$set"
            at=${set#biencoder-} at=$WORK/text/${at%.qa}
            with_files "$at" link "$wiki" "$WORK/text/$set" "$at"
        done
        with_files "$WORK/text/bioasq" link "$BIOASQ" "$BIOASQ" "$WORK/text/bioasq"
        for set in "${adapted[@]:1}"; do
            if [[ $set == cqadupstack ]]; then forums; else dretrieve prepare "beir:$set" "${from[@]}" --output "$WORK/text/$set"; fi
        done
        if [[ -d $backbone && -z $(compgen -G "$backbone/model*.safetensors") ]]; then
            dretrieve convert "$backbone" --from t5 --output "$models/t5"
            backbone=$models/t5
        fi
        begin "$backbone" "name=nothing,path=$WORK/text/nq-dev,split=dev,depth=0,sample=32" --batch-size 8
        ;;
    *)
        other "$DATA" "$PYTHON" "$ROOT/recipes/reatt/world.py" "$DATA" "${world[@]}"
        begin "$DATA/t5" "name=reading,path=$DATA/reading,split=train,depth=1"
        ;;
    esac
}

# forums: CQADupStack's twelve, which its archive holds one by one, over one corpus and as one split.
forums() {
    local forum joined=() judged=() at=$WORK/cqadupstack
    for forum in android english gaming gis mathematica physics programmers stats tex unix webmasters wordpress; do
        dretrieve prepare "beir:cqadupstack/$forum" "${from[@]}" --output "$at/$forum"
        joined+=("$forum=$at/$forum") judged+=("$at/all/qrels/$forum-test.tsv")
    done
    dretrieve prepare "${joined[@]}" --output "$at/all"
    with_files "$at/test.tsv" concatenate "$at/test.tsv" "${judged[@]}"
    dretrieve prepare "$at/all" --qrels "test=$at/test.tsv" --output "$WORK/text/cqadupstack"
}

# corpus_of SET: the passages that are searched. asked SET SPLIT: its questions, as DIR:split.
corpus_of() {
    case $PROFILE/$1 in
    paper/main) echo "$wiki" ;;
    paper/answers) echo "$WORK/text/bioasq" ;;
    paper/*) echo "$WORK/text/$1" ;;
    mini/main | mini/answers) echo "$wiki" ;;
    mini/judgements) echo "$DATA/nfcorpus" ;;
    mini/neither) echo "$DATA/scifact" ;;
    */main) echo "$DATA/facts" ;;
    */names) echo "$DATA/names" ;;
    *) echo "$DATA/elsewhere" ;;
    esac
}
asked() {
    case $PROFILE/$1/$2 in
    */masked) echo "$WORK/masked/$1:train" ;;
    paper/main/*) echo "$WORK/text/nq-$2:$2" ;;
    paper/msmarco/test) echo "$WORK/text/msmarco:dev" ;;
    mini/main/*) echo "$wiki:squad-$2" ;;
    mini/answers/*) echo "$wiki:nq-$2" ;;
    *) echo "$(corpus_of "$1"):$2" ;;
    esac
}

# taught SET: of what is learned there: answers, judgements, neither.
taught() {
    case $1 in
    fiqa | msmarco) echo judgements ;;
    cqadupstack | trec-covid | scidocs | scifact) echo neither ;;
    *) echo "$1" ;;
    esac
}

# seeds_of ROW: the seeds with which the profile trains it; none where it is NOT RUN.
seeds_of() {
    case $PROFILE/$1 in
    */a[0-9]*) [[ " ${alphas[*]} " == *" ${1#a} "* ]] || return 0 ;;
    */q[0-9]*) [[ " ${batches[*]} " == *" ${1#q} "* ]] || return 0 ;;
    smoke/full | smoke/qa | smoke/reatt | smoke/reatt-nq | smoke/full-fast | smoke/t5-e2e | smoke/adapted) ;;
    smoke/* | mini/twice | paper/twice | mini-cpu/dpr | mini-cpu/colbert | mini-cpu/reatt-dpr | mini-cpu/fid) return 0 ;;
    esac
    case $PROFILE/$1 in
    mini-cpu/full | mini-cpu/qa | mini-cpu/alone | mini-cpu/once | mini-cpu/twice | mini-cpu/reatt) echo "${seeds[@]}" ;;
    mini-cpu/deep | mini-cpu/a1) echo "${seeds[@]}" ;; # by one seed their claims were undecided
    mini-cpu/*) echo "${seeds[0]}" ;;
    *) echo "${seeds[@]}" ;;
    esac
}
