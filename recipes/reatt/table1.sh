#!/usr/bin/env bash
# ReAtt's Tables 1 and 2 (Jiang et al., EMNLP 2022): retrieval and reading beside BM25, DPR and ColBERT that learn from judged
# passages, and beside fusion in the decoder on BM25's and DPR's passages.
#
# Needs    as table3.sh
# Takes    what table3.sh says; outside `paper` its first row is these tables', and DPR and ColBERT are mini's and paper's
# Call     PROFILE=smoke bash recipes/reatt/table1.sh
# shellcheck source=recipes/reatt/rows.sh
source "$(dirname "${BASH_SOURCE[0]}")/rows.sh"
recipe reatt "Tables 1 and 2: retrieval, reading" smoke mini-cpu mini paper
settle
text
grounds main "$ground" warm-reader

step "BM25, and what learns from judged passages"
each "row_in main" bm25 dpr colbert

step "ReAtt on BM25's and on DPR's passages, and fusion in the decoder"
[[ $PROFILE != smoke ]] || begun "trained main" qa # Table 3's; a core would be idle
each "row_in main" reatt reatt-dpr reader fid

report
