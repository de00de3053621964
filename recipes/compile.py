"""Compile the kernels once, at the installation instead of at the first search.

    python recipes/compile.py

numba compiles a kernel when it is first called and keeps it beside the code: half a minute in all. Here the
commands that call them run over the invented world of smoke.py, in a folder that is then removed. A kernel
whose code has changed since is compiled anew at its next call.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from pathlib import Path

import smoke

from dretrieve_cli.app import main


def commands(folder: Path) -> list[list[str]]:
    """Return the commands from text to measures whose kernels are all that such a chain calls."""
    texts, model = f"{folder}/world/nq", f"{folder}/world/deep"
    words, dense, fused = f"{folder}/words", f"{folder}/dense", f"{folder}/fused"
    asked = ["--queries", f"{texts}:test", "--hits", "100"]
    both = ["--run", f"{dense}.trec", "--bm25-run", f"{words}.trec"]
    return [
        ["index", "--corpus", texts, "--type", "bm25", "--output", words],
        ["search", "--index", words, *asked, "--output", f"{words}.trec"],
        ["encode", "--model", model, "--corpus", texts, "--output", dense],
        ["search", "--index", dense, "--model", model, *asked, "--output", f"{dense}.trec"],
        ["fuse-bm25", *both, "--alpha", "1", "--output", f"{fused}.trec"],
        ["evaluate", "--run", f"{fused}.trec", "--qrels", f"{texts}:test", "--output", f"{fused}.json"],
    ]


def compile_all() -> int:
    """Run them; return the exit code of the first that fails, else 0."""
    with tempfile.TemporaryDirectory() as name, open(os.devnull, "w") as nowhere:
        smoke.main(Path(name) / "world")
        with contextlib.redirect_stdout(nowhere):
            for words in commands(Path(name)):
                if code := main([*words, "--quiet"]):
                    return code
    return 0


if __name__ == "__main__":
    sys.exit(compile_all())
