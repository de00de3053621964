#!/usr/bin/env bash
# TASER's Table A1: the variants of routing, R@20 on NQ's dev and test questions. In `paper` every row is trained
# on NQ alone, as the authors did; in the small profiles on NQ and SQuAD, as the rows of Table 1 are.
# seq2-all is ours: Eq. 3 lets all entries of a gate learn, which needs the experts that were not chosen too.
# Then its T, the blocks from one specialised to the next ("not sensitive"), trained on all sets.
#
# Needs    as table1.sh
# Takes    what table1.sh says; alone a part of that
# Call     PROFILE=smoke bash recipes/taser/tableA1.sh
# shellcheck source=recipes/taser/rows.sh
source "$(dirname "${BASH_SOURCE[0]}")/rows.sh"
recipe taser "Table A1: variants of routing; T: experts in every 2nd, 3rd, 6th layer" smoke mini-cpu mini paper
settle
text

step "BM25: the first round's negatives"
first_negatives

step "First round: every variant"
each first_row "${single}dpr" "${single}shared" "${single}det" "${single}seq2" "${single}seq2-all" \
    "${single}seq4" "${single}tok2" "${single}tok4"

step "Second round: DPR and Det-R"
each mined_row "${single}dpr-mined" "${single}det-mined"

step "Measures, and which expert reads what"
each single_row dpr shared det seq2 seq2-all seq4 tok2 tok4 dpr-mined det-mined
each explain_row det seq2 seq2-all seq4 tok2 tok4

step "Det-R with experts in every second, third, sixth layer"
each first_row every2 det every6

report
