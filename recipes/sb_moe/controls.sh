#!/usr/bin/env bash
# What a gate is worth: rows beside SB-MoE's that the papers do not have. One expert; one as wide as six; the plain
# mean of six, a random one, all six weighted; gates that learn; the paper's at six times the rate; other gates.
#
# Needs    as table1.sh
# Takes    what table1.sh says; alone half of that
# Call     PROFILE=smoke bash recipes/sb_moe/controls.sh
# shellcheck source=recipes/sb_moe/rows.sh
source "$(dirname "${BASH_SOURCE[0]}")/rows.sh"
recipe sb_moe "controls: is it the gate, the width or the rate?" smoke mini-cpu mini paper
settle
text

step "What the frozen encoders give, once"
vectors_of "${sets[@]}" "${sets[@]/%/-train}" "${sets[@]/%/-test}"

step "Controls"
blocks "${sets[*]}" n1 wide uniform random soft fast+all scaled straight gate1 gate3 gelu tanh

report
