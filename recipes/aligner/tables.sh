#!/usr/bin/env bash
# ALIGNER's Tables 2, 3, 6 to 13 and Figures 3 to 7 (Qian et al., arXiv 2211.01267): one model's token vectors, searched by
# every alignment, by that which a few examples choose, and with fewer tokens; beside BM25, ColBERT and one vector a text.
#
# Needs    smoke: nothing; mini-cpu, mini: the collections in $DATA; paper: a cluster
# Takes    smoke 2 min on 2 cores with another program beside it; mini-cpu not measured yet
# Call     PROFILE=smoke bash recipes/aligner/tables.sh
# shellcheck source=recipes/aligner/rows.sh
source "$(dirname "${BASH_SOURCE[0]}")/rows.sh"
recipe aligner "Tables 2, 3, 6 to 13: every alignment, adaptation, fewer tokens" smoke mini-cpu mini paper
settle
text
hard_negatives

aligned=(aligner aligner-top4 entropy) plain=(shared colbert)
[[ $PROFILE != paper ]] || aligned=(base large xl xxl base-top4 base-p1 base-da) plain=() rules=()

step "BM25, ColBERT and one vector"
each row_judged bm25
each row_trained "${plain[@]}"
each row_judged "${plain[@]}"

step "ALIGNER by every alignment"
each row_trained "${aligned[@]}"
each row_adapted "${aligned[@]}"

step "In domain"
if [[ -z ${ONLY:-} && $PROFILE != paper ]]; then
    for set in nq squad; do searched aligner "${seeds[0]}" "$set" test top1; done
elif [[ -z ${ONLY:-} ]]; then
    for row in base large xl xxl; do searched "$row" 1 msmarco dev top1; done
    searched base-top4 1 msmarco dev top4
    searched base-p1 1 msmarco dev p1
    searched base-da 1 msmarco dev da,k=1,eps=0.01
fi

step "Fewer tokens"
each row_trained "${rules[@]:1}"
each row_encoded "${rules[@]:1}"
each row_pruned "${rules[@]}"

report
