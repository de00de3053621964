from __future__ import annotations

import subprocess
import sys

import pytest

from dretrieve.errors import UsageError
from dretrieve.models.foreign.forms import FORMS, find


def test_every_form_has_its_module():
    assert {"dpr", "taser"} <= set(FORMS)
    for name, form in FORMS.items():
        assert find(name.upper()) is form
        assert callable(form.convert())


def test_an_unknown_form_lists_the_known():
    with pytest.raises(UsageError, match=r"--from colbert-live is unknown; there are dpr \(facebookresearch"):
        find("colbert-live")


def test_the_table_needs_no_torch():
    program = "import sys, dretrieve.models.foreign.forms; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
