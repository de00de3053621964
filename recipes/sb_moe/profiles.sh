# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154  # rows.sh reads them
# Everything in which the profiles of SB-MoE's tables differ.
#
#   smoke      an invented world and a random encoder: shows that the chain runs and learns
#   mini-cpu   MiniLM and its layers 0, 2, 4, frozen: vectors once, 400 steps a block, three seeds (SQuAD two)
#   mini       the same encoders, tuned jointly at the authors' two rates, every row; for a GPU, not run yet
#   paper      the authors' encoders, sets and epochs, on a cluster
#
# README.md explains the variables DATA, MIRROR, BACKBONE, GPUS, SHARDS, QUEUE, BESIDE, POLL. DL20 is a folder with
# queries.tsv and qrels.txt of TREC DL 2020, which BEIR lacks (`paper`; its column is NOT RUN without).

# settle: set the profile's variables. After `recipe`.
settle() {
    vectors=$WORK/vectors made=$WORK/made encoders=(larger small) frozen="" more=+k2+k3
    sets=(medquad nq scifact nfcorpus) dev_sets=(medquad nq nfcorpus) samples=(squad-all squad-20000 squad-5000)
    elsewhere=(medquad scifact nfcorpus) source=squad-all joint_set=scifact
    declare -gA lengths hub sample=([squad-5000]=",sample=5000" [squad-20000]=",sample=20000") dims=([larger]=384 [small]=384)
    high=1e-4 six_times=6e-4 low=1e-6 # the authors' rates, of the block and of the encoder
    learning=(--train-group-size 1 --batch-size 64 --lr-scheduler-type constant --warmup-ratio 0 --max-grad-norm 0
        --weight-decay .01)
    settle_profile
    whole_tables
}

# One thread each, and two rows at once: the vectors are given, so that a row computes for seconds.
settle_smoke() {
    DATA=$WORK/world backbone=$WORK/world/deep frozen=yes
    sets=(nq) dev_sets=(nq) elsewhere=(elsewhere) joint_set=nq dims=([larger]=64 [small]=64)
    sample=([squad-5000]=",sample=80" [squad-20000]=",sample=160")
    high=2e-3 six_times=1e-2 low=1e-4 lengths=([larger]="--max-steps 60" [small]="--max-steps 60") # a random encoder
    said=(--pooling mean --normalize yes) learning+=(--save-steps 0)
    choose_seeds 1
    side_by_side
}

settle_mini() {
    backbone=minilm
    said=(--query-max-len 128 --passage-max-len 128) learning+=(--temperature .05)
    lengths=([larger]="--max-steps 2000" [small]="--max-steps 2000")
    choose_seeds 1 2 3
    if [[ $PROFILE == mini-cpu ]]; then
        frozen=yes more="" lengths=([larger]="--max-steps 400" [small]="--max-steps 400")
        numbers=(--precision "$(native_precision)") learning+=(--save-steps 0 --logging-steps 100)
        side_by_side
    fi
}

settle_paper() {
    local longest=512
    papers_own BACKBONE BATCH
    encoders=(tinybert bert-small bert-base contriever) more="" dev_sets=() samples=() source=msmarco joint_set=""
    sets=(msmarco nq hotpotqa politics computers) SHARDS=${SHARDS:-16}
    elsewhere=(trec-covid nfcorpus nq hotpotqa fiqa arguana webis-touche2020 quora dbpedia-entity scidocs fever
        climate-fever scifact)
    hub=([tinybert]=huawei-noah/TinyBERT_General_4L_312D [contriever]=facebook/contriever
        [bert-small]=google/bert_uncased_L-4_H-512_A-8 [bert-base]=google-bert/bert-base-uncased)
    lengths=([tinybert]="--epochs 30 --temperature 1" [contriever]="--epochs 20 --temperature .05"
        [bert-small]="--epochs 20 --temperature 1" [bert-base]="--epochs 20 --temperature 1")
    dims=([tinybert]=312 [bert-small]=512 [bert-base]=768 [contriever]=768)
    if [[ ${BACKBONE:-} == tiny ]]; then # a miniature of this profile: a random backbone, a hundred rows of every file
        local encoder
        for encoder in "${encoders[@]}"; do hub[$encoder]=$WORK/world/deep lengths[$encoder]="--max-steps 2"; done
        longest=64
    fi
    learning+=(--pooling mean --normalize no --query-max-len "$longest" --passage-max-len "$longest")
    choose_seeds 1
}

# text: the collections, and in the small profiles the two encoders: a whole one, and every second of its layers.
text() {
    step "Text and encoders"
    [[ $PROFILE != smoke && ${BACKBONE:-} != tiny ]] || invent_world
    if [[ $PROFILE == paper ]]; then
        paper_text
        return
    fi
    dretrieve convert "$backbone" --layers 0,1,2,3,4,5 "${said[@]}" --output "$WORK/encoders/larger"
    dretrieve convert "$backbone" --layers 0,2,4 "${said[@]}" --output "$WORK/encoders/small"
}

paper_text() {
    local set
    for set in msmarco nq-train "${elsewhere[@]}"; do
        dretrieve prepare "beir:$set" "${from[@]}" --output "$WORK/text/$set"
    done
    dretrieve prepare mdb:political_science "${from[@]}" --output "$WORK/text/politics"
    dretrieve prepare mdb:computer_science "${from[@]}" --output "$WORK/text/computers"
    [[ -z ${DL20:-} ]] ||
        dretrieve prepare --queries "$DL20/queries.tsv" --qrels "test=$DL20/qrels.txt" --output "$WORK/text/dl20"
}

# place_of SET: where its passages and questions stand; of SET-train what is learned from (NQ has two in `paper`).
place_of() {
    case $PROFILE/$1 in
    paper/nq-train | paper/dl20) echo "$WORK/text/$1" ;;
    paper/*) echo "$WORK/text/$(corpus_of "${1%-train}")" ;;
    mini*/nq | mini*/nq-train) echo "$DATA/nq-qed" ;;
    *) echo "$DATA/${1%-train}" ;;
    esac
}

# asked SET-SPLIT: its questions. corpus_of SET: what they are searched in. tests_of SET: what its models answer.
asked() { if [[ $PROFILE/$1 == paper/msmarco-test ]]; then echo "$WORK/text/msmarco:dev"; else echo "$(place_of "${1%-*}"):${1##*-}"; fi; }
corpus_of() { echo "${1/#dl[12][09]/msmarco}"; }
tests_of() { echo "${1%%-*}-test$([[ $1 != msmarco ]] || echo " dl19-test ${DL20:+dl20-test}")"; }
backbone_of() { if [[ $PROFILE == paper ]]; then echo "${hub[$1]}"; else echo "$WORK/encoders/$1"; fi; }

# seeds_of ENCODER ROW SET: the seeds with which the profile trains that row; none where it is NOT RUN.
seeds_of() {
    case $PROFILE/$1/$2 in
    paper/*/finetuned | paper/*/n6 | paper/tinybert/n[39] | paper/tinybert/n12) echo "${seeds[@]}" ;;
    paper/*) ;;
    */untuned) echo none ;;
    */larger/joint-* | */larger/frozen-* | mini/*/joint-* | mini/*/frozen-*) ;;
    */joint-* | */frozen-*) echo "${seeds[0]}" ;; # an encoder learns for seven minutes
    */best) [[ " ${dev_sets[*]} " != *" $3 "* ]] || echo "${seeds[@]}" ;;
    smoke/*/finetuned) ;; # the encoder is frozen
    mini-cpu/*/finetuned | mini-cpu/*/n[248] | mini-cpu/*/straight | mini-cpu/larger/scaled | mini-cpu/larger/fast) ;;
    mini-cpu/*/gate* | mini-cpu/*/gelu | mini-cpu/*/tanh) ;;
    mini-cpu/*) if [[ $3 == *-* ]]; then echo "${seeds[@]:0:2}"; else echo "${seeds[@]}"; fi ;;
    *) echo "${seeds[@]}" ;;
    esac
}
