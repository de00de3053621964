"""``python3 -m dretrieve_cli``: the command line, installed or from a checkout."""

from __future__ import annotations

import sys

from dretrieve_cli.app import main

if __name__ == "__main__":
    sys.exit(main())
