#!/usr/bin/env bash
# What prefixes cost: parameters, of the encoder, with a general prefix, with one for every domain, and of a module. The
# time and the memory of a step and of encoding are measured by `make bench`.
#
# Needs    as table2.sh
# Takes    what table2.sh says; alone a minute
# Call     PROFILE=smoke bash recipes/ddr/costs.sh
# shellcheck source=recipes/ddr/rows.sh
source "$(dirname "${BASH_SOURCE[0]}")/rows.sh"
recipe ddr "costs: parameters" smoke mini-cpu mini paper
settle
text

step "Models of one step"
counted

report
