"""Whether a result of other options is replaced or refused: the one switch that recipes set.

By hand a finished output of other options is refused, so that no command destroys what another one made.
A recipe owns its whole work folder: there the same path with other options is a step that went stale, and
must be made again. `recipes/lib.sh` therefore exports ``DRETRIEVE_STALE=replace``. Unlike ``--force`` it
leaves a result of the same options alone, so a finished step stays "up to date".
"""

from __future__ import annotations

import os

from dretrieve.errors import UsageError

VARIABLE = "DRETRIEVE_STALE"


def replaces_stale() -> bool:
    """Return whether ``DRETRIEVE_STALE`` says ``replace``; unset, empty or ``refuse`` say no.

    Raises:
        UsageError: it says anything else.
    """
    value = os.environ.get(VARIABLE, "")
    if value not in ("", "refuse", "replace"):
        raise UsageError(f"{VARIABLE}={value!r} is neither 'refuse' nor 'replace'; correct or unset it")
    return value == "replace"
