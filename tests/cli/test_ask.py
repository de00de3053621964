from __future__ import annotations


def test_a_user_s_mistakes(cli_here, tiny_model, tmp_path):
    line = ["ask", "who keeps bees", "--model", tiny_model, "--index", tmp_path / "nowhere"]
    assert "shared cannot read; methods that can: reatt" in cli_here(*line, code=2).err
    assert "--depth" in cli_here(*line, "--depth", "0", code=2).err
    assert "QUESTION" in cli_here("ask", "--model", "m", "--index", "i", code=2).err.upper()
