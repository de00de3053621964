#!/usr/bin/env bash
# TASER's Table A3: how many parameters a model has: counted, for one step is enough to have them. And what a
# training step takes beside DPR's (Appendix C: an epoch takes 11 minutes, DPR's 15), of Det-R and DPR with
# MiniLM in turn on the same texts (tests/bench/bench_taser.py); smoke and paper leave that out.
#
# Needs    as table1.sh
# Takes    what table1.sh says; alone a part of that
# Call     PROFILE=smoke bash recipes/taser/tableA3.sh
# shellcheck source=recipes/taser/rows.sh
source "$(dirname "${BASH_SOURCE[0]}")/rows.sh"
recipe taser "Table A3: parameters, and the time of a step" smoke mini-cpu mini paper
settle
text

step "The first round's negatives"
first_negatives

step "One step of every kind, then of Det-R and DPR in turn"
count_parameters dpr shared det seq2 seq4
time_steps

report
