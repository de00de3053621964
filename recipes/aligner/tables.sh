#!/usr/bin/env bash
# ALIGNER's Tables 2 to 13 and Figures 3 to 7 (Qian et al., arXiv 2211.01267): one model's token vectors, searched by
# every alignment, by that which a few examples choose, and with fewer tokens; beside BM25, ColBERT and one vector a text.
#
# Needs    smoke: nothing; mini-cpu, mini: the collections in $DATA, 11 GB of disk; paper: a cluster
# Takes    smoke 2 min on 2 cores; mini-cpu 96 min on 2 cores, twelve of them beside tests
# Call     PROFILE=smoke bash recipes/aligner/tables.sh
# shellcheck source=recipes/aligner/rows.sh
source "$(dirname "${BASH_SOURCE[0]}")/rows.sh"
recipe aligner "Tables 2 to 13: every alignment, adaptation, fewer tokens" smoke mini-cpu mini paper
settle
sizes
text
some_questions

step "Encoders as they are, and hard negatives"
beside encoders
beside hard_negatives
together

aligned=(entropy aligner aligner-top4) plain=(shared colbert) untuned=(tokens-untuned)
case $PROFILE in
mini) aligned+=(aligner-p1 aligner-da aligner-half) plain+=(shared-half) ;;
paper) aligned=(base large xl xxl base-top4 base-p1 base-da entropy) plain=() untuned=() ;;
esac
[[ -z ${ONLY:-} ]] || untuned=()

step "Trained"
each row_trained "${plain[@]}" "${aligned[@]}" "${rules[@]:1}"

step "ALIGNER by every alignment, BM25, ColBERT, one vector, states as they are"
measured() { if [[ " ${aligned[*]} " == *" $1 "* ]]; then row_adapted "$@"; else row_judged "$@"; fi; }
each measured "${aligned[@]}" bm25 "${plain[@]}" "${untuned[@]}"

step "In domain"
if [[ -z ${ONLY:-} && $PROFILE != paper ]]; then
    for set in nq squad; do beside searched aligner-fast aligner "${seeds[0]}" "$set" top1; done # and what follows
elif [[ -z ${ONLY:-} ]]; then
    for row in base large xl xxl; do searched "$row-top1" "$row" 1 msmarco top1; done
    searched base-top4-top4 base-top4 1 msmarco top4
    searched base-p1-p1 base-p1 1 msmarco p1
    searched base-da-da base-da 1 msmarco da,k=1,eps=0.01
fi

step "Fewer tokens"
each row_encoded "${rules[@]:1}"
each row_pruned "${rules[@]}" random rarest

step "Pages"
pages

report
