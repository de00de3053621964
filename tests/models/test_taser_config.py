from __future__ import annotations

import pytest

from dretrieve.errors import UsageError
from dretrieve.models.taser_config import TaserConfig


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"router": "soft"}, "--router soft: expected det or seq or tok or none"),
        ({"num_experts": 4}, "--router det has one expert .* not 4 .*draws one at random.*--num-experts 2"),
        ({"num_experts": 0}, "--num-experts 0: expected a whole number from 1 to 64"),
        ({"num_experts": 65, "router": "tok"}, "--num-experts 65: expected a whole number from 1 to 64"),
        ({"every": 0}, "--every 0: expected a whole number from 1"),
        ({"entropy_weight": -0.1}, "--entropy-weight -0.1: expected a number from 0"),
        ({"entropy_weight": float("nan")}, "--entropy-weight nan: expected a number"),
        ({"router_gradient": "some"}, "--router-gradient some: expected chosen or all"),
        ({"entropy_weight": 0.5}, "--entropy-weight is of a gate, and --router det has none"),
        ({"share_router": False, "router": "none"}, "--no-share-router is of a gate, and --router none has"),
        ({"router_gradient": "all"}, "--router-gradient is of a gate, .* or give --router seq or tok"),
        ({"layer_decay": 0.0}, "--layer-decay 0.0: expected a number above 0 to 1"),
        ({"layer_decay": 1.5}, "--layer-decay 1.5: expected a number above 0 to 1"),
        ({"temperature": -1.0}, "--temperature -1.0: expected a number from 0"),
    ],
)
def test_options_that_make_no_sense(options, message):
    with pytest.raises(UsageError, match=message):
        TaserConfig(**options)


@pytest.mark.parametrize(
    ("options", "routed", "learned"),
    [
        ({}, True, False),
        ({"router": "seq", "num_experts": 4}, True, True),
        ({"router": "tok"}, True, True),
        ({"router": "none"}, False, False),
        ({"num_experts": 1}, False, False),
        ({"router": "tok", "num_experts": 1}, False, False),
    ],
)
def test_one_expert_is_no_choice(options, routed, learned):
    config = TaserConfig(**options)
    assert (config.routed, config.learned) == (routed, learned)
