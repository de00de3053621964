#!/usr/bin/env bash
# TASER's T, the blocks from one specialised to the next: every second, third or sixth ("not sensitive").
#
# Needs    as table1.sh
# Takes    what table1.sh says; alone a part of that
# Call     PROFILE=smoke bash recipes/taser/sweep_every.sh
# shellcheck source=recipes/taser/rows.sh
source "$(dirname "${BASH_SOURCE[0]}")/rows.sh"
recipe taser "T: experts in every 2nd, 3rd, 6th layer" smoke mini-cpu mini paper
settle
text

step "The first round's negatives"
first_negatives

step "Det-R with experts in every second, third, sixth layer"
first_rows every2 det every6

report
