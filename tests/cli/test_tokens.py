from __future__ import annotations

import json


def test_tokens_as_typed(cli_here, tiny_model):
    shown = cli_here("tokens", "moon tide", "--model", tiny_model, "--side", "query")
    assert "[CLS] moon tide [SEP]" in shown.out
    found = json.loads(cli_here("tokens", "moon", "--title", "ebb", "-m", tiny_model, "--json").out)
    assert found["pieces"] == ["[CLS]", "ebb", "moon", "[SEP]"]
