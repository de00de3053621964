#!/usr/bin/env bash
# TASER's Tables 2 and A4: out of domain. EntityQuestions over the same passages (R@20, the mean over relations; in
# A4 R@20 and R@100, the mean over questions), and collections about other things (nDCG@10), by models that were
# trained on neither.
#
# Needs    as table1.sh
# Takes    what table1.sh says; alone a part of that
# Call     PROFILE=smoke bash recipes/taser/table2.sh
# shellcheck source=recipes/taser/rows.sh
source "$(dirname "${BASH_SOURCE[0]}")/rows.sh"
recipe taser "Tables 2 and A4: EntityQuestions and BEIR" smoke mini-cpu mini paper
settle
text
text_elsewhere

step "BM25"
first_negatives
each elsewhere_row bm25

step "The models: those of Table 1"
each first_row dpr det det-co
each mined_row dpr-mined det-mined det-co-mined

step "Out of domain"
[[ $PROFILE == paper || -n ${ONLY:-} ]] || each elsewhere_row untuned
if [[ $PROFILE == mini-cpu ]]; then each entities_row dpr; else each elsewhere_row dpr; fi
each elsewhere_row dpr-mined det-mined det-co-mined

report
