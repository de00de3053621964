#!/usr/bin/env bash
# TASER's Table A2: is there an answer in the first 100 passages? The rows, models, runs and measures of Table 1.
#
# Needs    as table1.sh
# Takes    what table1.sh says; alone a part of that
# Call     PROFILE=smoke bash recipes/taser/tableA2.sh
# shellcheck source=recipes/taser/rows.sh
source "$(dirname "${BASH_SOURCE[0]}")/rows.sh"
recipe taser "Table A2: R@100 in domain" smoke mini-cpu mini paper
settle
text

step "BM25"
bm25_row
first_negatives

step "The models: those of Table 1, and with BM25"
first_rows dpr-nosquad dpr det dpr-co det-co
mined_rows dpr-mined det-mined dpr-co-mined det-co-mined
fused_rows dpr-mined-bm25 det-mined-bm25 det-co-mined-bm25

report
