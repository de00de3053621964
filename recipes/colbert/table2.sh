#!/usr/bin/env bash
# ColBERT's Table 2 (Khattab and Zaharia, SIGIR 2020): end-to-end retrieval, beside BM25 and one vector a text that learns
# from the same questions; in the small profiles on four collections, with states that nothing has trained.
#
# Needs    smoke: nothing; mini-cpu: the collections in $DATA, 4 GB of disk; paper: a cluster, 160 GB for the vectors
# Takes    smoke a minute, mini-cpu 22 min on 2 cores
# Call     PROFILE=smoke bash recipes/colbert/table2.sh
# shellcheck source=recipes/colbert/rows.sh
source "$(dirname "${BASH_SOURCE[0]}")/rows.sh"
recipe colbert "Table 2: BM25, one vector, a vector for each token" smoke mini-cpu paper
settle
text
encoders
hard_negatives

step "Training"
each train_row shared colbert

step "BM25, and what is not trained"
each row_judged bm25
[[ $PROFILE == paper || -n ${ONLY:-} ]] || each row_judged untuned tokens-untuned

step "One vector, and a vector for each token"
each row_judged shared colbert colbert-fast

report
