# shellcheck shell=bash
# Everything in which the profiles of TASER's tables differ. Sourced by steps.sh, whose functions read it.
#
#   smoke      an invented world and a random encoder: shows that the chain runs and learns
#   mini-cpu   MiniLM on 37,000 real passages, 1,024 questions a training; three seeds for det and shared, one for
#              the others, the rest NOT RUN. Measured on 2 cores: 2 h 20 min; 13 times 37,000 passages (5.7 min
#              each, 74), 12 trainings of 32 steps and three looks at dev (3.6 min each, 43), text, BM25, mining,
#              measures, SciFact and NFCorpus (25)
#   mini       the same, every row: all questions of NQ, 20,000 of SQuAD's, three seeds; for a GPU
#   paper      the paper's data, backbones, rates and schedule, on a cluster
#
# Variables besides lib.sh's
#   DATA       where the collections stand            (mini; default ../shared/data, else $DRETRIEVE_DATA)
#   MIRROR     base address of all downloads          (paper; default: the published addresses)
#   BACKBONE   what is trained; tiny: a random one    (paper; default google-bert/bert-base-uncased)
#   BATCH      questions a step over all processes    (paper; default 128)
#   GPUS       processes of a training, by torchrun   (paper; default 8)
#   SHARDS     parts in which the corpus is encoded and searched   (paper; default 16)
#   QUEUE      slurm: those parts are a job array     (default: one after the other)
#   BESIDE     rows at work side by side on one GPU   (mini; default 1)
#   POLL       seconds from one look at it to the next   (default 60)
#   ANSWERS    keep: mined negatives may hold an answer; the paper does not say   (default drop)
#   ONLY       bm25: no models; text, BM25's runs and negatives, for a machine without a GPU, beforehand

# settle: set the profile's variables. After `recipe`.
# shellcheck disable=SC2034  # steps.sh reads them
settle() {
    wiki=$WORK/wiki runs=$WORK/runs models=$WORK/models negatives=$WORK/negatives metrics=$WORK/metrics
    local tiny=
    [[ ${BACKBONE:-} != tiny ]] || tiny=yes
    declare -gA share=() # of a set, behind its --data
    sets=(nq squad) mined_sets=(nq) dev_sets=(nq squad) coco="" single="" decays=(1) numbers=() words_index=()
    first_depth=100 # hits of BM25 in which the first round's negatives are looked for
    from=() drop=(--drop-answers)
    [[ -z ${MIRROR:-} ]] || from=(--mirror "$MIRROR")
    [[ -z ${MIRROR:-} || -z $tiny ]] || from+=(--unchecked) # a miniature's files are not the published ones
    [[ ${ANSWERS:-drop} == drop ]] || drop=()
    check_words
    case $PROFILE in
    smoke) settle_smoke ;;
    mini-cpu | mini) settle_mini ;;
    paper) settle_paper "$tiny" ;;
    esac
    GPUS=${GPUS:-1} SHARDS=${SHARDS:-1}
    shown_shards=$SHARDS
    [[ -z ${DRY_RUN:-} || -n ${PLAN:-} ]] || shown_shards=1 # a plan to be read shows the first
    [[ -z ${PLAN:-} ]] || QUEUE=
}

# check_words: refuse what a variable cannot mean, before anything is done.
check_words() {
    local name
    [[ ${ONLY:-bm25} == bm25 ]] || refuse "ONLY=$ONLY is not known; ONLY=bm25 makes everything that needs no model"
    [[ ${ANSWERS:-drop} =~ ^(drop|keep)$ ]] || refuse "ANSWERS=$ANSWERS is not known; give drop or keep"
    [[ ${QUEUE:-slurm} == slurm ]] || refuse "QUEUE=$QUEUE is not known; QUEUE=slurm makes job arrays"
    for name in BATCH BESIDE GPUS SHARDS POLL; do
        [[ ${!name:-1} =~ ^[1-9][0-9]*$ ]] || refuse "$name=${!name} is no whole number above 0"
    done
    [[ $PROFILE == paper ]] && return
    for name in BACKBONE BATCH MIRROR; do
        [[ -z ${!name:-} ]] || refuse "$name=${!name}: only PROFILE=paper asks for that, not $PROFILE"
    done
}

# A random encoder needs a higher rate, and the mean of all its tokens. More steps would learn everything, and
# then all rows were equal.
settle_smoke() {
    DATA=$WORK/world backbone=$WORK/world/deep elsewhere=(elsewhere)
    learning=(--epochs 1 --batch-size 32 --logging-steps 3 --pooling mean --normalize yes)
    rates=(4e-4) dev=(--dev-queries 100 --dev-pool 300) alphas=0.00:0.60:0.05 tuned_by=top1
    choose_seeds 1
    # Two threads wait for each other longer than so small a model computes: one each, and two rows at once.
    export OMP_NUM_THREADS=1 NUMBA_NUM_THREADS=1
    [[ -n ${DRETRIEVE:-}${DRY_RUN:-} ]] || at_once=2
    one_python
}

# one_python: a Python that has loaded everything answers the commands of a small profile, which compute for
# seconds, or for a tenth of one; see warm.py.
one_python() {
    [[ -z ${DRETRIEVE:-}${DRY_RUN:-} ]] || return 0
    dretrieve_words=("${PYTHON:-python3}" -SE "$ROOT/recipes/warm.py")
    (dretrieve --version >/dev/null 2>&1 &) # it loads beside the first step
}

# shellcheck disable=SC2154  # lib.sh sets the recipe's name
settle_mini() {
    DATA=${DATA:-${DRETRIEVE_DATA:-$ROOT/../shared/data}} backbone=minilm
    # MiniLM's cosines lie below 1, BM25's scores below 60; R@20 saturates on so few passages.
    alphas=0.000:0.060:0.002 tuned_by=top1
    dev=(--dev-queries 500 --dev-pool 1000) rates=(3e-5)
    choose_seeds 1 2 3
    if [[ $PROFILE == mini ]]; then
        share=([squad]=",sample=20000") elsewhere=(scifact nfcorpus arguana medquad)
        learning=(--epochs 2 --batch-size 128) dev+=(--eval-steps 50)
        [[ -n ${DRETRIEVE:-}${DRY_RUN:-} ]] || at_once=${BESIDE:-1}
    else
        # Few steps, so the higher of the paper's rates.
        share=([nq]=",sample=512" [squad]=",sample=512") elsewhere=(scifact nfcorpus) first_depth=20
        learning=(--epochs 1 --batch-size 32) numbers=(--precision bf16) rates=(5e-5)
        dev=(--dev-queries 300 --dev-pool 600 --eval-steps 16)
        [[ $recipe_name != dpr ]] || choose_seeds 1 # all that its rows have here, see seeds_of
        one_python
    fi
    [[ $recipe_name == dpr || -z ${DRY_RUN:-} ]] || small_sizes
}

settle_paper() {
    local batch=128 epochs=40 warmup=1237 gpus=8 shards=16
    backbone=${BACKBONE:-google-bert/bert-base-uncased} coco=Luyu/co-condenser-wiki
    words_index=(--backend lucene) rates=(3e-5 5e-5) decays=(1 .8)
    if [[ -n $1 ]]; then # a miniature of this profile: a random backbone, a hundred rows of every file
        backbone=$WORK/world/deep coco=$WORK/world/deep words_index=() rates=(5e-5)
        batch=8 epochs=1 warmup=2 gpus=1 shards=2
    fi
    GPUS=${GPUS:-$gpus} SHARDS=${SHARDS:-$shards} batch=${BATCH:-$batch}
    ((batch % GPUS == 0)) ||
        refuse "BATCH=$batch cannot be dealt to GPUS=$GPUS processes in equal parts; give a multiple of $GPUS"
    sets=(nq trivia webquestions curatedtrec squad) mined_sets=(nq trivia webquestions) dev_sets=(nq trivia)
    share=([webquestions]=",weight=4" [curatedtrec]=",weight=4") # DPR shows these two four times
    single=single- alphas=0.5:2.0:0.1 tuned_by=top20 elsewhere=(arguana dbpedia-entity fever hotpotqa)
    # Here the whole batch's gradient is cut; the authors' is the mean over their processes, cut at 2.
    learning=(--epochs "$epochs" --batch-size $((batch / GPUS)) --warmup-steps "$warmup" --positives first
        --max-grad-norm $((2 * GPUS)) --pooling cls --normalize no --pair yes
        --query-max-len 256 --passage-max-len 256)
    # The authors choose by dev loss for 30 epochs, then start anew by pooled MRR: in 40 epochs the first never
    # counts. Here pooled RR@10 is looked at from the start.
    dev=(--dev-queries 10000 --dev-pool 0)
    choose_seeds 1
    [[ -n $1 ]] || paper_sizes
}

# What a small profile takes: measured for mini-cpu.
small_sizes() {
    say "sizes, for 37,055 passages and MiniLM (23 million parameters):"
    case $PROFILE in
    mini-cpu)
        say "  disk    4 GB; memory 5 GB"
        say "  time    2 h 20 min on 2 cores for all tables together: 12 trainings of 3.6 minutes, 13 encodings of"
        say "          5.7 minutes, BM25, mining and measures 25 minutes"
        ;;
    mini)
        say "  disk    not measured: more than the 4 GB of mini-cpu; memory 5 GB"
        say "  time    not run yet; by arithmetic an hour or two on one GPU for all tables together: 39 trainings"
        say "          (13 rows, three seeds) of two passes over up to 26,592 questions, and as many encodings"
        ;;
    esac
}

# What the profile `paper` is about to take; sizes by arithmetic, hours by the paper's own.
paper_sizes() {
    say "sizes, for 21,015,324 passages of 100 words and BERT-base (110 million parameters):"
    say "  disk    downloads 6 GB, text 14 GB, BM25's index 13 GB; vectors 32 GB a row (768 x 2 bytes), of which"
    say "          Table 1 has 9, A1 10 more, the sweep 2 more, and Table 2's BEIR sets 24 GB for each of 4 rows:"
    say "          330 GB for Table 1 alone, 0.8 TB for all tables, as long as nothing is deleted in between"
    say "  memory  a search 2 GB for each of $SHARDS shards and 128 questions; a training 1.8 GB of weights,"
    say "          gradients and moments a GPU (DPR 3.5 GB) and about 8 GB of activations at 16 questions"
    say "  time    a training 7.5 h on the paper's 16 V100 (40 passes of 11 minutes), here GPUS=$GPUS; four trainings"
    say "          for a row of TASER (two rates, with and without layer decay), two for DPR; encoding about 4"
    say "          GPU-hours a row, in $SHARDS shards at once"
    [[ -z ${DRY_RUN:-} ]] || say "  of the shards only the first stands in this plan"
}

# shellcheck disable=SC2154  # choose_seeds fills the seeds
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
