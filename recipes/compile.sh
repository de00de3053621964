#!/usr/bin/env bash
# Compile the kernels once, at the installation instead of at the first search. numba keeps a kernel
# beside the code when it is first called; here the commands that call them run over the invented world of smoke.py,
# in a folder that is then removed.
#
# Needs    nothing
# Takes    a minute and a half
# Call     make install
WORK=$(mktemp -d)
# shellcheck source=recipes/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
trap 'rm -rf "$WORK"' EXIT
one_python
texts=$WORK/world/nq model=$WORK/world/deep
"$PYTHON" "$ROOT/recipes/smoke.py" "$WORK/world"
{
    dretrieve index --corpus "$texts" --type bm25 --output "$WORK/words" --quiet
    dretrieve search --index "$WORK/words" --queries "$texts:test" --hits 100 --output "$WORK/words.trec" --quiet
    dretrieve encode --model "$model" --corpus "$texts" --output "$WORK/dense" --quiet
    dretrieve search --index "$WORK/dense" --model "$model" --queries "$texts:test" --hits 100 \
        --output "$WORK/dense.trec" --quiet
    dretrieve convert "$model" --pooling tokens --dim 32 --pca "$texts" --output "$WORK/states" --quiet
    dretrieve encode --model "$WORK/states" --corpus "$texts" --output "$WORK/tokens" --quiet
    dretrieve index --embeddings "$WORK/tokens" --type token --output "$WORK/many" --quiet
    dretrieve search --index "$WORK/many" --model "$WORK/states" --queries "$texts:test" --hits 100 \
        --output "$WORK/many.trec" --quiet
    dretrieve search --index "$WORK/tokens" --model "$WORK/states" --queries "$texts:test" --hits 100 \
        --output "$WORK/exact.trec" --quiet
    dretrieve fuse-bm25 --run "$WORK/dense.trec" --bm25-run "$WORK/words.trec" --alpha 1 \
        --output "$WORK/fused.trec" --quiet
    dretrieve evaluate --run "$WORK/fused.trec" --qrels "$texts:test" --output "$WORK/fused.json" --quiet
} >/dev/null
