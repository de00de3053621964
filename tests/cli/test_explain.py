from __future__ import annotations

import json


def test_explain_as_typed(cli_here, tiny_model, tiny_collection, tmp_path):
    from dretrieve.models.model_folder import save_model
    from dretrieve.models.taser import Taser
    from dretrieve.models.taser_config import TaserConfig

    save_model(Taser.build(TaserConfig(every=2), str(tiny_model)), tmp_path / "taser")
    line = ["explain", "--model", tmp_path / "taser", "--corpus", tiny_collection, "--device", "cpu"]
    both = [*line, "--queries", f"{tiny_collection}:dev", "--limit", "4", "--quiet"]
    shown = cli_here(*both, "--output", tmp_path / "out").out
    for said in ("4 of 6 queries and 4 of 30 passages", "queries: expert 0", "███ 100.0", "[SEP]"):
        assert said in shown
    assert "\x1b[" not in shown, "readable without colour"
    printed = json.loads(cli_here(*both, "--json").out)
    written = json.loads((tmp_path / "out" / "explain.json").read_text())
    assert printed.pop("written") == []
    assert printed == written
    assert written["explanations"]["routing"]["texts"]["query"]["counts"] == [[4, 0]]


def test_a_user_s_mistakes(cli_here, tiny_model, tiny_collection):
    line = ["explain", "--corpus", tiny_collection, "--device", "cpu"]
    refused = cli_here(*line, "--model", tiny_model, code=2).err
    assert refused.count("\n") == 1
    assert "shared has nothing to explain; methods that have: taser, sb-moe, ddr, aligner, colbert" in refused
    assert "--limit" in cli_here(*line, "--model", tiny_model, "--limit", "-3", code=2).err
