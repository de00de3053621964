#!/usr/bin/env bash
# How many questions a block needs: trained on 5,000, on 20,000 and on all of SQuAD's, tested there; and SB-MoE's
# Table 3, zero-shot: the models of all questions (in `paper` of MS MARCO's) on collections that they never saw.
#
# Needs    as table1.sh
# Takes    what table1.sh says; alone a third of that
# Call     PROFILE=smoke bash recipes/sb_moe/samples.sh
# shellcheck source=recipes/sb_moe/rows.sh
source "$(dirname "${BASH_SOURCE[0]}")/rows.sh"
recipe sb_moe "Table 3: zero-shot, and how many questions are needed" smoke mini-cpu mini paper
settle
text

step "What the frozen encoders give, once"
vectors_of squad squad-train squad-test "${elsewhere[@]}" "${elsewhere[@]/%/-test}"

step "More and more questions"
blocks "${samples[*]}" finetuned n1 n6 wide

step "Zero-shot"
abroad=("${elsewhere[@]/%/-test}")
blocks "$source" untuned finetuned n1 n6+all wide

report
