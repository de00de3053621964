#!/usr/bin/env bash
# SB-MoE's Tables 1 and 2 (Sokli et al., arXiv 2412.11864 and 2510.15683): in domain, nDCG@10 and R@100 of the encoder
# alone and with N experts behind it, of which the best is used (TOP-1) or all are (ALL); and the N best on dev.
#
# Needs    smoke: nothing; mini-cpu, mini: the collections in $DATA, 6 GB of memory, 4 GB of disk; paper: a cluster
# Takes    all tables together: smoke 2 min, mini-cpu 47 min on 2 cores
# Call     PROFILE=smoke bash recipes/sb_moe/table1.sh
# shellcheck source=recipes/sb_moe/rows.sh
source "$(dirname "${BASH_SOURCE[0]}")/rows.sh"
recipe sb_moe "Tables 1 and 2: N experts behind an encoder, in domain" smoke mini-cpu mini paper
settle
text

step "What the frozen encoders give, once"
vectors_of "${sets[@]}" "${sets[@]/%/-train}" "${sets[@]/%/-test}" "${dev_sets[@]/%/-dev}"

step "The encoder alone, and N experts behind it"
blocks "${sets[*]}" untuned finetuned n3+all n6+all"$more" n9+all n12+all n2+all n4+all n8+all
blocks "${sets[*]}" best

step "An encoder that learns, too, beside its frozen twin"
blocks "$joint_set" joint-finetuned joint-n6 frozen-n6

report
