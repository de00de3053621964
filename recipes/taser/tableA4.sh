#!/usr/bin/env bash
# TASER's Table A4: EntityQuestions again, the mean over questions (micro), R@20 and R@100. The runs are
# Table 2's.
#
# Needs    as table1.sh
# Takes    what table1.sh says; alone a part of that
# Call     PROFILE=smoke bash recipes/taser/tableA4.sh
# shellcheck source=recipes/taser/steps.sh
source "$(dirname "${BASH_SOURCE[0]}")/steps.sh"
recipe taser "Table A4: EntityQuestions, micro" smoke mini-cpu mini paper
settle
text

step "BM25"
first_negatives
about_entities bm25 ""

step "The models: those of Table 1"
first_rows dpr det det-co
mined_rows dpr-mined det-mined det-co-mined

step "EntityQuestions"
for row in dpr dpr-mined det-mined det-co-mined; do
    for seed in $(seeds_of "$row"); do about_entities "$row" "$seed"; done
done

report
