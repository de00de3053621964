# shellcheck shell=bash
# shellcheck disable=SC2034,SC2154  # rows.sh reads them
# Everything in which the profiles of DDR's tables differ, and which domains a collection's questions have.
#
#   smoke      an invented world and a random encoder: shows that the chain runs and learns
#   mini-cpu   MiniLM, prefixes of 32, 240 steps of 32 questions, three seeds on one general prefix
#   mini       MiniLM and its layers 0, 2, 4, prefixes of 128, all questions, the sweep; for a GPU, not run yet
#   paper      coCondenser, MS MARCO and BERRI, on a cluster
#
# README.md explains the variables DATA, MIRROR, BACKBONE, GPUS, SHARDS, QUEUE, BESIDE, POLL. BERRI (`paper`) is a folder
# with BERRI's sets as its authors' archive of source data unpacks them, SET/qa_data.json, SET/…_train_dpr.jsonl or
# SET.json; the page of facebookresearch/tart says where that lies, and it has no checksums.

# settle: set the profile's variables. After `recipe`.
settle() {
    # The released mapping knows none of these collections but SciFact and ArguAna, whose domains are its own.
    declare -gA domains=([nq]=wikipedia+qa [medquad]=medical+qa [nfcorpus]=medical+science [cranfield]=science
        [scifact]=science+fact-verification [arguana]=fact-verification [pubmedqa]=medical+science+qa)
    declare -gA share=() questions=() # of a set: what stands behind its --data; how many of its questions are used
    general_sets=(squad nq medquad) domain_sets=(nq medquad nfcorpus scifact) last=medical
    tests=(arguana cranfield pubmedqa nfcorpus scifact medquad) dev_sets=(nfcorpus medquad nq) left_out=(nfcorpus scifact)
    plain=(general dr untuned) judged=(bm25 untuned dr general) routed=(prior top2 uniform soft everything)
    lengths=(8 16 32 64 128) rates=(7e-3 2e-3) low=5e-5 depth=20
    whole=$WORK/encoders/whole said=(--pooling mean --normalize yes --query-max-len 32 --passage-max-len 128)
    learning=(--batch-size 32 --train-group-size 2) general_learning=() domain_learning=()
    settle_profile
    whole_tables
    [[ $PROFILE != paper ]] || whole=$backbone general_learning+=("${said[@]}")
    rate=${rates[0]} lengths=("${lengths[@]/#/len}")
}

settle_smoke() {
    DATA=$WORK/world backbone=$WORK/world/deep length=4 lengths=(8 16) low=2e-3 questions=([medquad]=60)
    learning+=(--max-steps 60 --save-steps 0)
    choose_seeds 1
    side_by_side
}

settle_mini() {
    backbone=minilm
    choose_seeds 1 2 3
    if [[ $PROFILE == mini ]]; then
        length=128 learning+=(--max-steps 2000) plain+=("${plain[@]/#/cut-}") routed+=("${routed[@]/#/cut-}")
        judged=(bm25 "${plain[@]}")
    else
        # A large set has as many questions as steps for them; SciFact's 809 come more often.
        length=32 lengths=() questions=([squad]=2560 [nq]=2560 [medquad]=2560) share=([scifact]=",weight=3")
        learning+=(--max-steps 240) numbers=(--precision "$(native_precision)")
        side_by_side
    fi
}

# The authors' mapping of BERRI's sets and of BEIR's. Eight modules are said, nine labels stand in it, and none is the
# fact checking that three test sets ask for: FEVER is learned from for that, captions and law are left out. Hard negatives
# are BM25's; the authors' are from facebook/contriever-msmarco.
settle_paper() {
    papers_own BACKBONE BATCH
    metrics=$WORK/published # the small profiles' sets of the same names are learned from
    backbone=Luyu/co-condenser-marco length=128 rates=(7e-3) low=5e-6 depth=10
    said=(--pooling cls --normalize no --query-max-len 32 --passage-max-len 128)
    learning=(--batch-size 32 --train-group-size 6) general_learning=(--epochs 6) domain_learning=(--epochs 5)
    general_sets=(msmarco-triplets_embeddings_600k) dev_sets=() left_out=(fever) plain=(dr general) judged=(dr general) SHARDS=${SHARDS:-16}
    tests=(trec-covid nfcorpus scidocs scifact climate-fever dbpedia-entity) BERRI=${BERRI:-berri}
    local qa=wikipedia+qa news=news+summarization
    domains=([cnn_dailymail_embeddings_100k]=$news [ccnews_title_text_corpus]=$news [agnews_embeddings_100k]=$news
        [npr_embeddings_100k]=$news [xsum_embeddings_100k]=$news [record_hard_negatives_added]=news+qa
        [eli5_question_answer_embeddings_100k]=$qa [paq_corpus]=$qa [qrecc_preprocessed]=$qa
        [squad_pairs_embeddings_100k]=$qa [searchQA_top5_snippets_embeddings_100k]=qa [wikihow_embeddings_100k]=qa
        [yahoo_answers_title_answer_embeddings_100k]=qa [sentence-compression_embeddings_10k]=summarization
        [stackexchange_duplicate_questions_title-body_title-body_embeddings_100k]=qa
        [stackexchange_duplicate_questions_title_title_embeddings_100k]=sentence-paraphrase
        [quora_duplicates_triplets_embeddings]=sentence-paraphrase [multilexsum_preprocessed]=summarization
        [medical_sim_preprocessed]=medical+summarization [pubmed_hard_negatives_added]=medical+science
        [scitldr_preprocessed]=science+summarization [fever]=fact-verification)
    mapfile -t domain_sets < <(printf '%s\n' "${!domains[@]}" | sort)
    domains+=([trec-covid]=science+qa [nfcorpus]=science+qa [scidocs]=science+summarization
        [scifact]=science+fact-verification [climate-fever]=fact-verification [dbpedia-entity]=wikipedia)
    if [[ ${BACKBONE:-} == tiny ]]; then # a miniature of this profile: a random backbone, a hundred rows of every file
        backbone=$WORK/world/deep lengths=(8 16)
        general_learning=(--max-steps 2) domain_learning=(--max-steps 2)
    fi
    choose_seeds 1
}

# text: the collections, the encoder, and in `mini` some of its layers.
text() {
    step "Text and encoders"
    local set
    [[ $PROFILE != smoke && ${BACKBONE:-} != tiny ]] || invent_world
    if [[ $PROFILE == paper ]]; then
        for set in "${general_sets[@]}" "${domain_sets[@]}"; do
            [[ $set != fever ]] || continue
            with_files "$WORK/berri/$set.jsonl" berri "$WORK/berri/$set.jsonl" "$BERRI/$set"
            dretrieve prepare "$WORK/berri/$set.jsonl" --split train --output "$WORK/text/$set"
        done
        for set in fever "${tests[@]}"; do dretrieve prepare "beir:$set" "${from[@]}" --output "$WORK/text/$set"; done
    fi
    [[ $PROFILE == paper ]] || dretrieve convert "$backbone" --layers 0,1,2,3,4,5 "${said[@]}" --output "$whole"
    [[ $PROFILE != mini ]] || dretrieve convert "$backbone" --layers 0,2,4 "${said[@]}" --output "$WORK/encoders/cut"
}

# place_of SET: where its passages and questions stand.
place_of() {
    case $PROFILE/$1 in
    smoke/nq | smoke/nfcorpus) echo "$DATA/nq" ;;
    smoke/squad | smoke/medquad | smoke/scifact) echo "$DATA/squad" ;;
    smoke/*) echo "$DATA/elsewhere" ;;
    paper/*) echo "$WORK/text/$1" ;;
    */nq) echo "$DATA/nq-qed" ;;
    *) echo "$DATA/$1" ;;
    esac
}

# seeds_of ROW: the seeds with which the profile trains it; none where it is NOT RUN.
seeds_of() {
    case $PROFILE/$1 in
    mini/cut-* | */len[0-9]*) ;;
    */cut-*) return ;;
    esac
    case $PROFILE/$1 in
    mini-cpu/top[13]) ;;
    mini-cpu/dr | mini-cpu/prior | mini-cpu/top2 | mini-cpu/uniform | mini-cpu/soft | mini-cpu/everything) echo "${seeds[@]}" ;;
    mini-cpu/* | */at*) echo "${seeds[0]}" ;; # one general prefix is what all stand on
    *) echo "${seeds[@]}" ;;
    esac
}
