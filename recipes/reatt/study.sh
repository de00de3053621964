#!/usr/bin/env bash
# ReAtt's section 2.3: what the heads of a T5 that nothing trained for retrieval know of it: their correlation with the
# judgement over BM25's first 100 passages, and R@10 of the best one.
#
# Needs    as table3.sh
# Takes    what table3.sh says; alone a minute
# Call     PROFILE=smoke bash recipes/reatt/study.sh
# shellcheck source=recipes/reatt/rows.sh
source "$(dirname "${BASH_SOURCE[0]}")/rows.sh"
recipe reatt "section 2.3: the heads of a T5 that nothing trained for retrieval" smoke mini-cpu mini paper
settle
text
grounds main

step "Its heads"
each "row_in main" bm25 untuned

report
