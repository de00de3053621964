#!/usr/bin/env bash
# ReAtt's Tables 4, 5 and 6 (Jiang et al., EMNLP 2022): elsewhere, before and after one iteration that learns from answers, from
# judgements, or from neither; with answers from a T5, too.
#
# Needs    as table3.sh; paper: BioASQ in $BIOASQ
# Takes    what table3.sh says
# Call     PROFILE=smoke bash recipes/reatt/table4.sh
# shellcheck source=recipes/reatt/rows.sh
source "$(dirname "${BASH_SOURCE[0]}")/rows.sh"
recipe reatt "Tables 4, 5, 6: adaptation with answers, judgements, neither" smoke mini-cpu mini paper
settle
text
grounds main "$ground"
grounds_elsewhere

step "What it begins with"
each "trained main" "${judged[@]}" reatt-nq

step "Not adapted"
each row_adapted bm25 "${judged[@]}" untuned reatt-nq

step "Adapted"
begun "adapted_to answers" t5-e2e
for set in "${adapted[@]}"; do begun "adapted_to $set" adapted; done
together

report
