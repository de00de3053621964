"""What other tools call things: flags and commands that people paste, and what to write here instead.

Spellings with the same meaning are aliases on the command itself; this table explains those whose meaning
differs or that need no flag here. Sources: Tevatron (v1, v2), Pyserini, DPR, sentence-transformers, ColBERT.
"""

from __future__ import annotations

_SHARD = "write --shard I/N (I from 0), or --shard array/N inside a job array"
_MODEL_HAS_IT = "the model's card holds it, so that it cannot differ between passages and queries"
_TEMPLATE = "in train and convert: --query-template 'query: {text}', --passage-template; the card has them"
_UNCUT = "vectors are stored whole, none is cut to its first numbers"
_BATCH = "batches are cut by tokens, so that padding is not computed and memory stays bounded"

FLAG_RENAMES: dict[str, str] = {
    "--encode-is-qry": "write encode --queries DIR:split instead of --corpus DIR",
    "--encode-is-query": "write encode --queries DIR:split instead of --corpus DIR",
    "--encode-in-path": "write --corpus DIR or --queries DIR:split",
    "--encoded-save-path": "write --output DIR",
    "--encode-output-path": "write --output DIR",
    "--encode-num-shard": _SHARD,
    "--encode-shard-index": _SHARD,
    "--dataset-number-of-shards": _SHARD,
    "--dataset-shard-index": _SHARD,
    "--shard-num": _SHARD,
    "--shard-id": _SHARD,
    "--num-shards": _SHARD,
    "--dataset-name": "write --corpus, --queries or --data DIR[:split]; prepare hf:NAME makes the folder",
    "--dataset-path": "write --corpus, --queries or --data with DIR[:split]",
    "--dataset-split": "the split follows the folder: DIR:split",
    "--corpus-name": "write --corpus DIR, in train --data DIR:split; prepare hf:NAME makes the folder",
    "--corpus-path": "write --corpus DIR, in train --data DIR:split",
    "--train-dir": "write --data DIR:train",
    "--train-yaml": "write --data once for each set, or put them into --config FILE",
    "--do-train": "write the command train",
    "--do-encode": "write the command encode",
    "--q-max-len": "train and convert take --query-max-len; the model's card keeps it",
    "--p-max-len": "train and convert take --passage-max-len; the model's card keeps it",
    "--query-max-len": "train and convert take it; the model's card keeps it",
    "--passage-max-len": "train and convert take it; the model's card keeps it",
    "--pooling": _MODEL_HAS_IT,
    "--normalize": _MODEL_HAS_IT,
    "--l2-norm": _MODEL_HAS_IT,
    "--append-eos-token": "the tokenizer's own file says what ends a text (post_processor of tokenizer.json)",
    "--padding-side": "padding stands right, where it moves no vector",
    "--query-prefix": _TEMPLATE,
    "--passage-prefix": _TEMPLATE,
    "--dim": _UNCUT,
    "--truncate-dim": _UNCUT,
    "--lora-name-or-path": "write --model DIR, the adapters' folder, which names its base",
    "--query-reps": "write --query-embeddings EMB",
    "--passage-reps": "write --index IDX (an index or an embeddings folder)",
    "--encoded-queries": "write --query-embeddings EMB",
    "--save-ranking-to": "write --output RUN",
    "--save-text": "runs are text; --output-format chooses the form",
    "--shard-search": "write --shard I/N and join with merge",
    "--encoder-class": _MODEL_HAS_IT,
    "--tokenizer-name": _MODEL_HAS_IT,
    "--topics-format": "the form is known from the file",
    "--batch-size": _BATCH,
    "--per-device-eval-batch-size": _BATCH,
    "--fp16": "write --precision fp16, in train bf16",
    "--bf16": "write --precision bf16",
    "--untie-encoder": "two encoders are the method dpr: train dpr",
    "--negatives-x-device": "negatives are always shared between the processes of torchrun",
    "--grad-cache": "write --grad-cache 8192, the tokens of a piece",
    "--gc-q-chunk-size": "the gradient cache cuts by tokens, not by texts: --grad-cache 8192",
    "--gc-p-chunk-size": "the gradient cache cuts by tokens, not by texts: --grad-cache 8192",
    "--train-n-passages": "write --train-group-size; it counts the positive too",
    "--train-group-size": "write --num-negatives: without the positive, so one less",
    "--scale": "it multiplies and --temperature divides: scale 20 is --temperature 0.05",
    "--gradient-accumulation-steps": "accumulated steps would see fewer negatives; use the gradient cache",
    "--overwrite-output-dir": "write --force",
    "--weight-on-dense": "alpha weighs BM25 here: score = dense + alpha * BM25",
    "--rrf.k": "write --rrf-k",
    "--encoder": "write --model",
    "--bm25": "the index says it: index --type bm25 --k1 0.9 --b 0.4, then search",
    "--remove-query": "write evaluate --drop-self",
    "--hnsw": "write --type hnsw",
    "--pq": "write --type ivfpq",
    "--collection": "write --corpus DIR",
    "--topk": 'write --metrics "top5 top20 top100" with --answers DIR:split',
    "--regex": "the collection knows it; of a file prepare FILE --regex --output DIR says it",
}

COMMAND_RENAMES: dict[str, str] = {
    "retrieve": "write search.",
    "eval": "write evaluate.",
    "fuse": "write fuse-bm25.",
    "hybrid": "write fuse-bm25.",
    "bm25": "write index --type bm25, then search.",
    "mine": "write mine-negatives.",
    "download": "write prepare beir:NAME, dpr:NAME or hf:NAME.",
    "rerank": "reranking is not part of this toolkit; fuse-bm25 joins two runs.",
    "slurm": "write array.",
    "version": "write --version.",
}

# What stands behind no option: how the files of a command are named.
POSITIONAL: dict[str, str] = {
    "evaluate": "files are named by --qrels QRELS and --run RUN, --run once for each run",
    "search": "files are named by --index IDX and --queries DIR:split",
    "encode": "files are named by --model M and --corpus DIR or --queries DIR:split",
    "index": "files are named by --embeddings EMB or --corpus DIR",
    "fuse-bm25": "files are named by --run DENSE and --bm25-run BM25",
    "mine-negatives": "files are named by --data DIR:split and --run RUN",
}
