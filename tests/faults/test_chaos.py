"""A short pass of chaos.py over all stages; `python tests/faults/chaos.py --kills 1000` is the long one."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.mark.slow
def test_every_stage_survives_kills_and_errors_at_its_system_calls(root: Path) -> None:
    if shutil.which("cc") is None:
        pytest.skip("no C compiler for the library that counts system calls")
    words = ["--kills", "60", "--errors", "60", "--seed", "3"]
    done = subprocess.run(
        [sys.executable, root / "tests" / "faults" / "chaos.py", *words],
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    last = re.fullmatch(r"kills (\d+)  errors (\d+)  (.*)  in \d+ s", done.stdout.splitlines()[-1])
    assert last is not None
    assert int(last[1]) >= 60
    assert int(last[2]) == 60
    assert last[3] == "changed bytes 0  false successes 0  left behind 0  wrong ends 0"
