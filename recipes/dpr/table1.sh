#!/usr/bin/env bash
# The baselines of TASER's Tables 1 and A2 (Cheng et al., ACL 2023): BM25, DPR, DPR trained a second time on
# negatives that it mined itself, and that one together with BM25. Accuracy at k: does one of the first k
# passages hold an answer?
#
#   smoke      an invented world and a random encoder: shows that the chain runs and learns
#   mini-cpu   Natural Questions and SQuAD on 37,000 passages, MiniLM; 1,024 questions a training
#   mini       the same with all questions of NQ and 20,000 of SQuAD's
#   paper      DPR's own data, BERT-base and schedule, on a cluster
#
# The steps are those of TASER's recipes, which say what each profile needs (recipes/taser/profiles.sh).
#
# Needs    smoke: nothing; mini-cpu, mini: the collections in $DATA, 5 GB of memory, 3 GB of disk; paper: a cluster
# Takes    smoke 1 min and mini-cpu an hour on 2 cores, mini some minutes on a GPU, paper days
# Call     PROFILE=smoke bash recipes/dpr/table1.sh
HERE=$(dirname "${BASH_SOURCE[0]}")
# shellcheck source=recipes/lib.sh
source "$HERE/../lib.sh"
# shellcheck source=recipes/rows.sh
source "$HERE/../rows.sh"
# shellcheck source=recipes/dpr/profiles.sh
source "$HERE/profiles.sh"
# shellcheck source=recipes/dpr/text.sh
source "$HERE/text.sh"
recipe dpr "BM25, DPR, DPR mined, DPR mined + BM25" smoke mini-cpu mini paper
settle
[[ $PROFILE != smoke ]] || learning+=(--epochs 3) # two encoders learn more slowly than TASER's one
text

step "BM25: the first row, and where the first negatives come from"
bm25_row
first_negatives

step "DPR with BM25's negatives"
first_rows dpr

step "DPR with the negatives that it finds itself"
mined_rows dpr-mined

step "With BM25: one weight for all sets, chosen on dev questions"
fused_rows dpr-mined-bm25

report
