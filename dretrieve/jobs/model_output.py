"""A model's folder, for the stages that write one: its files, and whether it is what was trained."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from dretrieve.errors import DretrieveError, VerificationError
from dretrieve.models.base import Method, TokenBatch
from dretrieve.models.loading import load_model
from dretrieve.store.card import CARD
from dretrieve.tokens.tokenizer import SideTokenizer
from dretrieve.types import Record, Side

SAME = 1e-3  # of a vector's length: two engines differ by 1e-6 or so, other weights by far more
RECORDS = ("manifest.json", "provenance.json", "state.json")


def model_files(folder: Path, skipped: Collection[str] = ()) -> list[str]:
    """Return the names of what stands in a model's folder but records, hidden files and ``skipped`` parts.

    In hidden folders stands what another process writes at this time, or a killed one left.
    """
    names = (path.relative_to(folder) for path in sorted(folder.rglob("*")) if path.is_file())
    return [
        str(name)
        for name in names
        if name.parts[0] not in skipped
        and name.name not in RECORDS
        and not any(part.startswith(".") for part in name.parts)
    ]


def check_saved(
    method: Method, tokenizers: Mapping[Side, SideTokenizer], folder: Path, records: Sequence[Record]
) -> None:
    """Read the model back from its folder and compare its vectors of some texts with the method's.

    Each record is encoded as a query and as a passage. On a failure the folder loses its card, and with it
    the look of a finished model.

    Raises:
        VerificationError: what was read back is another model.
    """
    try:
        saved = load_model(str(folder))
        method.eval()
        for side, tokenizer in tokenizers.items():
            for record in records:
                ours, theirs = (of.tokenize([record]).ids for of in (tokenizer, saved.tokenizers[side]))
                if not np.array_equal(ours, theirs):
                    raise VerificationError(f"its tokenizer cuts {record.id!r} otherwise ({side} side)")
                ids = torch.from_numpy(ours.astype(np.int64)).unsqueeze(0)
                fields = dict.fromkeys(method.columns, (None,))
                batch = TokenBatch(ids, torch.ones_like(ids, dtype=torch.bool), (record.id,), fields)
                with torch.inference_mode():
                    trained, read = (of.encode_side(batch, side).vectors for of in (method, saved.encoder))
                difference = float((trained - read).norm() / trained.norm())
                if not difference <= SAME:
                    raise VerificationError(
                        f"its vector of {record.id!r} ({side} side) differs by {difference:.2g} of its length"
                    )
    except DretrieveError as error:
        (folder / CARD).unlink(missing_ok=True)
        raise VerificationError(
            f"the model in {folder} is not the trained one when it is read back: {error}; its card is taken "
            "away, the last checkpoint stays beside it"
        ) from error
