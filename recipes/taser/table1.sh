#!/usr/bin/env bash
# TASER's Tables 1 and A2 (Cheng et al., ACL 2023): in domain, is there an answer in the first 20 passages, in the
# first 100? BM25, DPR, DPR and TASER (Det-R) in their second round, and both with BM25.
#
# The second round learns from negatives that the first round's model finds: NQ's (in `paper` also TriviaQA's
# and WebQuestions'); the other sets keep BM25's. Fusion takes one alpha for all sets.
#
# Needs    smoke: nothing; mini-cpu, mini: the collections in $DATA, 5 GB of memory, 4 GB of disk; paper: a cluster (../README.md says how much)
# Takes    all tables together: smoke 1.5 min and mini-cpu 2 h 20 min on 2 cores
# Call     PROFILE=smoke bash recipes/taser/table1.sh
# shellcheck source=recipes/taser/rows.sh
source "$(dirname "${BASH_SOURCE[0]}")/rows.sh"
recipe taser "Tables 1 and A2: R@20 and R@100 in domain, and with BM25" smoke mini-cpu mini paper
settle
text

step "BM25: the first row, and the first round's negatives"
bm25_row
first_negatives

step "The backbone as it is"
[[ $PROFILE == paper || -n ${ONLY:-} ]] || measure_row untuned ""

step "First round: DPR and TASER on BM25's negatives"
each first_row dpr-nosquad dpr det dpr-co det-co

step "Second round: on the negatives that they find"
each mined_row dpr-mined det-mined dpr-co-mined det-co-mined

step "With BM25"
each fused_row dpr-mined-bm25 det-mined-bm25 det-co-mined-bm25

report
