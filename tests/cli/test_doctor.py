"""``dretrieve doctor`` on the command line; the findings are tested with the job."""

from __future__ import annotations


def test_text_and_json_say_the_same(cli_here, tmp_path):
    text = cli_here("doctor", "--folder", tmp_path).out
    report = cli_here("doctor", "--folder", tmp_path, "--json").json()
    for finding in report["findings"]:
        assert finding["name"] in text
        assert finding["state"] in ("ok", "missing", "absent", "note")
    assert str(tmp_path) in next(row["found"] for row in report["findings"] if row["name"] == "disk")
