#!/usr/bin/env bash
# DDR's Table 2 with its ablations (arXiv 2602.22547): nDCG@10 of BM25, of the encoder untuned and with every weight
# trained (DR), with a general prefix, and with prefixes of domains by six ways of routing. In the small profiles on three
# collections whose questions are learned from, and on three that nothing is learned from.
#
# Needs    smoke: nothing; mini-cpu, mini: the collections in $DATA, 8 GB of memory, 4 GB of disk; paper: a cluster, BERRI
# Takes    all tables together: smoke 2 min, mini-cpu 67 min on 2 cores, before modules.sh had rows side by side
# Call     PROFILE=smoke bash recipes/ddr/table2.sh
# shellcheck source=recipes/ddr/rows.sh
source "$(dirname "${BASH_SOURCE[0]}")/rows.sh"
recipe ddr "Table 2: domains by prior, top-k, softly; without routing; DR" smoke mini-cpu mini paper
settle
grounds "${plain[@]}"

step "Rows without domains"
each row_judged "${judged[@]}"

step "Rows with domains"
each row_with_domains "${routed[@]}"

report
