"""ReAtt as its authors' code (jzbjyb/ReAtt) saves it: the folder neulab/reatt-large-nq and its like.

The weights are a T5's under T5's names; every layer has a copy of the first one's bias table. config.json
names ``retrieval_layer`` (from 0; the layers before it see one text alone) and ``retrieval_head``.
"""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from dretrieve.errors import DataError
from dretrieve.models.foreign import t5
from dretrieve.models.model_folder import CONFIG
from dretrieve.models.plain import read_json
from dretrieve.models.reatt import Reatt
from dretrieve.models.reatt_config import ReattConfig
from dretrieve.types import SIDES


def convert(folder: Path) -> Reatt:
    """Return the `reatt` model of the folder; its head has all the weight.

    Raises:
        PreconditionError: as `t5.convert`.
        DataError: so too; a retrieval layer or head that the T5 has not.
    """
    whole, config = t5.convert(folder), read_json(folder / CONFIG)
    for name, total in (("retrieval_layer", "num_layers"), ("retrieval_head", "num_heads")):
        said, most = config.get(name), int(config.get(total, 0))
        if not (isinstance(said, int) and 0 <= said < most):
            raise DataError(f"{folder / CONFIG} says {name} {said}; it is 0 to {most - 1} ({total} {most})")
    with TemporaryDirectory() as place:
        whole.save(Path(place))
        method = Reatt.build(ReattConfig(bi_layers=config["retrieval_layer"]), place)
    method.tokenizers, method.backbone_name = dict.fromkeys(SIDES, folder), str(folder)
    with torch.no_grad():
        method.head_weights[config["retrieval_head"]] = 1.0  # over a temperature of .001
    return method
