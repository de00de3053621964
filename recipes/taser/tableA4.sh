#!/usr/bin/env bash
# TASER's Table A4: EntityQuestions again, the mean over questions (micro), R@20 and R@100. The runs of Table 2.
#
# Needs    as table1.sh
# Takes    what table1.sh says; alone a part of that
# Call     PROFILE=smoke bash recipes/taser/tableA4.sh
# shellcheck source=recipes/taser/rows.sh
source "$(dirname "${BASH_SOURCE[0]}")/rows.sh"
recipe taser "Table A4: EntityQuestions, micro" smoke mini-cpu mini paper
settle
text

step "BM25"
first_negatives
about_entities bm25

step "The models: those of Table 1"
first_rows dpr det det-co
mined_rows dpr-mined det-mined det-co-mined

step "EntityQuestions"
about_entities dpr dpr-mined det-mined det-co-mined

report
