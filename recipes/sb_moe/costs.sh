#!/usr/bin/env bash
# What a block costs: parameters, of the encoder alone and with N experts behind it. The time and the memory of a
# step and of encoding are measured by `make bench`.
#
# Needs    as table1.sh
# Takes    what table1.sh says; alone a minute
# Call     PROFILE=smoke bash recipes/sb_moe/costs.sh
# shellcheck source=recipes/sb_moe/rows.sh
source "$(dirname "${BASH_SOURCE[0]}")/rows.sh"
recipe sb_moe "costs: parameters" smoke mini-cpu mini paper
settle
text

step "Models of one step"
count finetuned n1 n6 n12 wide

report
