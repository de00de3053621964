#!/usr/bin/env bash
# ReAtt's Table 3 (Jiang et al., EMNLP 2022): what each part is worth, R@k and EM; in `mini-cpu` the first row and that without
# iterations again where four facts of ten call the entity by another name. And ours: no QA loss, the compressed index, and in
# `mini-cpu`, whose rows have one iteration, one more: its reader cannot tell what it finds apart, so that the paper's do harm.
#
# Needs    smoke, mini-cpu: nothing, 5 GB of disk; mini: the collections in $DATA, a GPU; paper: a cluster, 1 TB for
#          the vectors; where the hub has the T5's weights pickled alone, BACKBONE=its folder, which is converted
# Takes    all tables together, alone on 2 cores without AVX-512: smoke 76 s, mini-cpu 70 min
# Call     PROFILE=smoke bash recipes/reatt/table3.sh
# shellcheck source=recipes/reatt/rows.sh
source "$(dirname "${BASH_SOURCE[0]}")/rows.sh"
# in_names COMMAND...: where the profile has the part in which entities have two names, with the first seed.
in_names() {
    [[ " ${sets[*]} " == *" names "* ]] || return 0
    local seeds=("${seeds[0]}")
    "$@"
}

recipe reatt "Table 3: without the cross-document loss, in-batch passages, iterations; B, batch, alpha" smoke mini-cpu mini paper
settle
text
grounds main warm warm-shallow warm-deep
in_names grounds names warm # `each` waits for them

step "BM25 and the T5 that all begin with"
in_names begun "row_in names" bm25 untuned
each "row_in main" bm25 untuned

step "Trained"
in_names begun "row_in names" once full
each "row_in main" full qa once alone cross

step "An iteration more, the compressed index, B, questions a step, alpha"
in_names begun "row_in names" twice
each "row_in main" twice full-fast shallow deep q4 q8 q32 q64 a1 a2 a4 a16

report
