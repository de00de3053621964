"""Some layers of a model as a model of its own, for --backbone and sentence-transformers.

    python recipes/cut.py MODEL OUTPUT --layers 0,2,4

is ``dretrieve convert MODEL --layers 0,2,4 --output OUTPUT``, with all of its options.
"""

from __future__ import annotations

import sys

from dretrieve_cli.app import main

if __name__ == "__main__":
    sys.exit(main(["convert", *sys.argv[1:2], "--output", *sys.argv[2:]]))
