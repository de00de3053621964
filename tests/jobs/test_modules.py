"""`modules`: a domain taken out and put back is the model of before; what does not fit is refused."""

from __future__ import annotations

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from dretrieve.encoding.pipeline import encode_records
from dretrieve.errors import DataError, PreconditionError, UsageError, VerificationError
from dretrieve.jobs.inspect import InspectConfig
from dretrieve.jobs.inspect import run as inspect
from dretrieve.jobs.modules import ModulesConfig, run
from dretrieve.models.ddr import Ddr, module_file
from dretrieve.models.ddr_config import DdrConfig
from dretrieve.models.encoder_method import INNER
from dretrieve.models.loading import load_model
from dretrieve.models.model_folder import save_model
from dretrieve.store.card import ModelCard
from dretrieve.types import Record
from tests.common import bytes_of

RECORDS = [Record(str(row), "", text) for row, text in enumerate(["bees hive", "moon", "lava ocean rook"])]
PLAIN = {"pooling": "mean", "normalize": "no"}


def saved(folder, backbone, seed=1, **options):
    """Save a model whose new parts are not near zero."""
    generator = torch.Generator().manual_seed(seed)
    method = Ddr.build(DdrConfig(**PLAIN, **options), str(backbone))
    trained = method.parameter_groups(*method.phases())
    with torch.no_grad():
        for part in (part for group in trained for part in group.parameters):
            part.copy_(torch.randn(part.shape, generator=generator))
    save_model(method, folder)
    return folder


@pytest.fixture
def general(tiny_model, tmp_path):
    return saved(tmp_path / "G", tiny_model, prefix_length=5)


@pytest.fixture
def model(general, tmp_path):
    """A model with three domains."""
    return saved(tmp_path / "D", general, train_domains="medical+qa+science")


def modules(action, model, *of, **more):
    return run(ModulesConfig(action=action, model=str(model), of=tuple(map(str, of)), **more))


def queries(model, **settings):
    return encode_records(load_model(str(model), settings=settings), "query", RECORDS, "float32").values


def test_out_and_back_is_the_model_of_before(cli_here, model, tmp_path):
    """As typed; query vectors of every routing, files and fingerprints."""
    file, less, again = (tmp_path / name for name in ("m", "D1", "D2"))
    cli_here("modules", "export", model, "medical", "--output", file)
    said = cli_here("modules", "remove", model, "medical", "--output", less).out
    assert said.strip() == f"{less}: written; medical removed; it has qa, science"
    added = cli_here("modules", "add", less, file, "--output", again, "--json").json()
    assert (added["state"], added["domains"]) == ("written", ["medical", "qa", "science"])
    before, without, after = (ModelCard.load(folder) for folder in (model, less, again))
    for card in (without, after):
        assert card.fingerprint("passage") == before.fingerprint("passage")
    assert without.fingerprint("query") != before.fingerprint("query") == after.fingerprint("query")
    assert set(without.query.parts) == {"general.safetensors", module_file("qa"), module_file("science")}
    for settings in ({"domains": "medical"}, {"domains": "medical+qa"}, {"routing": "soft"}):
        assert queries(model, **settings).tobytes() == queries(again, **settings).tobytes()
    assert queries(model, domains="qa").tobytes() == queries(less, domains="qa").tobytes()
    assert queries(model, domains="medical").tobytes() != queries(model, domains="qa").tobytes()
    assert bytes_of(again) == bytes_of(model) | {"manifest.json": (again / "manifest.json").read_bytes()}
    weights = "backbone/model.safetensors"
    assert (again / weights).samefile(model / weights)
    assert not (again / module_file("qa")).samefile(model / module_file("qa"))


def test_made_once_and_verified(model, tmp_path):
    for action in ("remove", "export"):
        given = (action, model, "qa")
        output = tmp_path / action
        assert modules(*given, output=output, dry_run=True).state == "to do"
        assert not output.exists()
        assert modules(*given, output=output).state in ("written", "exported")
        assert modules(*given, output=output).state == "up to date"
        assert modules(*given, output=output, dry_run=True).state == "up to date"
        with pytest.raises(PreconditionError, match="of other options .*--force"):
            modules(action, model, "medical", output=output)
        assert modules(action, model, "medical", output=output, force=True).state in ("written", "exported")
        assert inspect(InspectConfig(path=str(output), verify=True)).problems == ()
    assert set(load_model(str(tmp_path / "remove")).encoder.names) == {"qa", "science"}
    strange = tmp_path / "thesis"
    strange.mkdir()
    (strange / "thesis.txt").write_text("mine")
    for dry_run in (True, False):
        with pytest.raises(PreconditionError, match="holds thesis.txt and was not made by modules"):
            modules("remove", model, "qa", output=strange, dry_run=dry_run)


def test_what_a_process_beside_writes_is_not_copied(model, tmp_path):
    theirs = model / INNER / ".files.tmp-00000000-1-1-00a1" / "model.safetensors"
    theirs.parent.mkdir()
    theirs.write_bytes(b"half")
    modules("remove", model, "medical", output=tmp_path / "less")
    assert list(tmp_path.rglob(".files*")) == [theirs.parent]


def test_the_last_goes_and_the_first_comes(general, model, tmp_path):
    """Without domains the model is its general prefix, and takes domains as that does."""
    one = saved(tmp_path / "one", general, train_domains="qa", router="layer")
    bare = modules("remove", one, "qa", output=tmp_path / "bare")
    assert "it has no domain; the default of routing is now none" in bare.render()
    assert queries(tmp_path / "bare").tobytes() == queries(general).tobytes()
    assert ModelCard.load(tmp_path / "bare").fingerprint("query") == ModelCard.load(general).fingerprint(
        "query"
    )
    for start in (general, tmp_path / "bare"):
        more = tmp_path / f"{start.name}-more"
        modules("add", start, one / module_file("qa"), output=more)
        card = ModelCard.load(more)
        assert card.inference == {"routing": "prior", "domains": "", "top_k": 2, "router": "layer"}
        assert queries(more, domains="qa").tobytes() == queries(one, domains="qa").tobytes()
    with pytest.raises(VerificationError, match="its router is input, here layer"):
        modules("add", one, model / module_file("medical"), output=tmp_path / "x")
    files = (one / module_file("qa"), model / module_file("medical"))
    with pytest.raises(VerificationError, match="its router is input, here layer"):
        modules("add", general, *files, output=tmp_path / "x")


def test_defaults_that_name_what_goes_are_said(general, tmp_path):
    start = saved(tmp_path / "two", general, train_domains="medical+qa", routing="topk", domains="qa")
    found = modules("remove", start, "qa", output=tmp_path / "less")
    assert found.render().endswith("the default of domains is now none; the default of top_k is now 1")
    assert found.as_json()["defaults"] == {"domains": "", "top_k": 1}
    assert load_model(str(tmp_path / "less")).encoder.names == ("medical",)
    with pytest.raises(UsageError, match="no domain 'qa'; it has medical"):
        load_model(str(tmp_path / "less"), settings={"routing": "prior", "domains": "qa"})


def test_list(cli_here, model, general, tiny_model, tmp_path):
    other = saved(
        tmp_path / "other", saved(tmp_path / "G2", tiny_model, 7, prefix_length=5), train_domains="law"
    )
    found = cli_here("modules", "list", model, other / module_file("law"), "--json").json()["domains"]
    assert [of["domain"] for of in found] == ["medical", "qa", "science", "law"]
    file = model / module_file("medical")
    numbers = sum(of.numel() for of in load_file(file).values())
    assert found[0] == {
        "domain": "medical",
        "file": str(file),
        "length": 5,
        "parameters": numbers,
        "bytes": file.stat().st_size,
        "data": [],
        "misfit": "",
    }
    assert numbers == 2 * 2 * 5 * 32 + 33
    assert found[3]["misfit"].startswith("it was trained on another general prefix (")
    shown = cli_here("modules", "list", model).out
    assert f"{numbers:,}" in shown
    assert "yes" in shown
    assert cli_here("modules", "list", general, "--json").json()["domains"] == []
    assert "would list" in cli_here("modules", "list", model, "--dry-run").out


def test_modules_of_other_models_are_refused(model, general, tiny_model, tmp_path):
    def refused(words, **options):
        backbone = options.pop("backbone", tiny_model)
        start = saved(tmp_path / "start", backbone, options.pop("seed", 1), **options)
        other = saved(tmp_path / "other", start, train_domains="law")
        with pytest.raises(
            VerificationError, match=f"\\(domain law\\) does not fit .*{words}.*; train it on"
        ):
            modules("add", model, other / module_file("law"), output=tmp_path / "x")
        assert not (tmp_path / "x").exists()

    weights = load_file(tiny_model / "model.safetensors")
    moved = tmp_path / "moved"
    shutil.copytree(tiny_model, moved)
    save_file(
        {name: of + 0.01 for name, of in weights.items()}, moved / "model.safetensors", {"format": "pt"}
    )
    refused("trained on another encoder", backbone=moved, prefix_length=5)
    refused("trained on another general prefix", seed=7, prefix_length=5)
    refused("its prefix_length is 6, here 5", prefix_length=6)
    refused("its prefix_positions is shifted, here zero", prefix_length=5, prefix_positions="shifted",
            query_max_len=32, passage_max_len=32)  # fmt: skip


def test_what_is_no_module_is_refused(model, general, tiny_model, tmp_path):
    file, output = tmp_path / "m.safetensors", tmp_path / "x"
    modules("export", model, "qa", output=file)
    with pytest.raises(UsageError, match=r"is the domain qa, which .*D is or has already"):
        modules("add", model, file, output=output)
    less = tmp_path / "less"
    modules("remove", model, "qa", output=less)
    with pytest.raises(UsageError, match=r"is the domain qa, which .*m.safetensors is or has already"):
        modules("add", less, file, file, output=output)
    with pytest.raises(UsageError, match="has no domain 'sport'; it has medical, qa, science"):
        modules("remove", model, "sport", output=output)
    with pytest.raises(UsageError, match="has no domain 'qa'; it has none"):
        modules("export", general, "qa", output=output)
    with pytest.raises(PreconditionError, match="is no file; give a file of `dretrieve modules export`"):
        modules("add", less, tmp_path / "none", output=output)
    (tmp_path / "notes").write_text("no module")
    with pytest.raises(DataError, match="no domain's module: it cannot be read as one"):
        modules("add", less, tmp_path / "notes", output=output)
    for text in ("", "[1]", json.dumps({"domain": "../../law"})):
        save_file({"a": torch.zeros(1)}, tmp_path / "notes", {"card": text} if text else None)
        with pytest.raises(DataError, match="no domain's module: it names no domain"):
            modules("add", less, tmp_path / "notes", output=output)
    tensors, card = load_file(file), {"card": json.dumps(card_of(file))}
    save_file({**tensors, "domains.qa.router": torch.zeros(3)}, tmp_path / "notes", card)
    with pytest.raises(DataError, match=r"another shape .*domains.qa.router: 3 in the file, 33 there"):
        modules("add", less, tmp_path / "notes", output=output)
    (entry,) = modules("list", less, tmp_path / "notes").domains[-1:]
    assert "domains.qa.router: 3 in the file, 33 there" in entry["misfit"]
    for changed, sentence in (
        (file, r"m\.safetensors does not have the checksum"),
        (model / module_file("qa"), r"qa\.safetensors is not the file that .*card\.json describes"),
    ):
        content = bytearray(changed.read_bytes())
        content[-1] ^= 64
        changed.write_bytes(content)
        with pytest.raises(VerificationError, match=sentence):
            modules("add", less, changed, output=output)
    with pytest.raises(
        PreconditionError, match="is a model of shared; domains' modules are of a finished ddr"
    ):
        modules("list", tiny_model)
    assert not output.exists()


def card_of(file):
    from dretrieve.models.ddr import module_card

    return module_card(file)


def test_usage(cli_here, model, tmp_path):
    def refused(*words, code=2):
        return cli_here("modules", *words, code=code).err

    assert "modules lst: expected list or export or add or remove" in refused("lst", model)
    assert "takes DOMAIN behind the model, not nothing" in refused("remove", model, "-o", tmp_path / "x")
    assert "takes DOMAIN behind the model, not a b" in refused(
        "export", model, "a", "b", "-o", tmp_path / "x"
    )
    assert "takes FILE… behind the model, not nothing" in refused("add", model, "-o", tmp_path / "x")
    assert "modules remove needs --output" in refused("remove", model, "qa")
    assert "modules list writes nothing; leave --output out" in refused("list", model, "-o", tmp_path / "x")
    for output in (model, model.parent):
        assert "stands there, and is read" in refused("remove", model, "qa", "-o", output, "--force")
    assert "give --output a file name" in refused("export", model, "qa", "-o", tmp_path, code=3)
