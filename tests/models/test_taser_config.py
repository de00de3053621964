from __future__ import annotations

import pytest

from dretrieve.errors import UsageError
from dretrieve.models.taser_config import TaserConfig


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"router": "soft"}, "--router soft is unknown; choose one of det, seq, tok, none"),
        ({"num_experts": 4}, "--router det has one expert .* not 4 .*draws one at random.*--num-experts 2"),
        ({"num_experts": 0}, "--num-experts 0 makes no sense; give 1 to 64"),
        ({"num_experts": 65, "router": "tok"}, "--num-experts 65 makes no sense; give 1 to 64"),
        ({"every": 0}, "--every 0 fits no layer; give 1"),
        ({"entropy_weight": -0.1}, "--entropy-weight -0.1 must be 0 or more"),
        ({"entropy_weight": float("nan")}, "--entropy-weight nan is no finite number"),
        ({"router_gradient": "some"}, "--router-gradient some is unknown; choose one of chosen, all"),
        ({"entropy_weight": 0.5}, "--entropy-weight is of a gate, and --router det has none"),
        ({"share_router": False, "router": "none"}, "--no-share-router is of a gate, and --router none has"),
        ({"router_gradient": "all"}, "--router-gradient is of a gate, .* or give --router seq or tok"),
        ({"layer_decay": 0.0}, "--layer-decay 0.0 must lie above 0"),
        ({"layer_decay": 1.5}, "--layer-decay 1.5 must lie above 0"),
        ({"temperature": -1.0}, "--temperature -1.0 must be above 0"),
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
