#!/usr/bin/env bash
# DDR's two numbers: how long prefixes are, and how many domains the router chooses (k; all is soft routing).
#
# Needs    as table2.sh
# Takes    what table2.sh says; mini-cpu has its own length alone, and k of 2 and all
# Call     PROFILE=smoke bash recipes/ddr/sweeps.sh
# shellcheck source=recipes/ddr/rows.sh
source "$(dirname "${BASH_SOURCE[0]}")/rows.sh"
recipe ddr "sweeps: the length of prefixes, and k of top-k" smoke mini-cpu mini paper
settle
grounds general "${lengths[@]/%/-general}"

step "k"
each row_with_domains top1 top2 top3 soft

step "Length"
each row_with_domains prior "${lengths[@]/%/-prior}"

report
