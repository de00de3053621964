#!/usr/bin/env bash
# Modules that come and go over one index of passages: a set left out, a domain added later, one taken out as a file
# and put in again.
#
# Needs    as table2.sh
# Takes    what table2.sh says; alone half of that
# Call     PROFILE=smoke bash recipes/ddr/modules.sh
# shellcheck source=recipes/ddr/rows.sh
source "$(dirname "${BASH_SOURCE[0]}")/rows.sh"
recipe ddr "modules: a set left out, a domain added later, one taken out and put in" smoke mini-cpu mini paper
settle
grounds general

# What is added later needs what was trained without it, so these two follow one another beside the rest.
row_left_out() {
    [[ $1 != later ]] || row_with_domains first "$2"
    row_with_domains "$@"
}

step "A domain less, then added later; a set left out"
each row_with_domains prior
each row_left_out later "${left_out[@]/#/without-}"

step "One taken out, and put in again from its file"
each row_comes_and_goes removed
each row_judged removed returned

report
