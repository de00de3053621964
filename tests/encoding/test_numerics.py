from __future__ import annotations

import subprocess
import sys
import warnings

import pytest
import torch

from dretrieve.encoding import numerics
from dretrieve.errors import PreconditionError, SpokenWarning, UsageError
from dretrieve.training.device import training_precision
from dretrieve.types import Engine


def test_auto_is_bfloat16_only_where_the_processor_has_it(monkeypatch):
    monkeypatch.setattr(numerics, "cpu_flags", lambda: {"avx2", "avx512_bf16"})
    assert numerics.resolve_precision("auto", "cpu") == "bf16"
    monkeypatch.setattr(numerics, "cpu_flags", lambda: {"avx2", "avx512f"})
    assert numerics.resolve_precision("auto", "cpu") == "fp32"


def test_bfloat16_on_a_processor_without_it_is_said(monkeypatch):
    monkeypatch.setattr(numerics, "cpu_flags", lambda: {"avx2"})
    for resolve in (
        numerics.resolve_precision,
        lambda *words: training_precision(words[0], torch.device(words[1])),
    ):
        with pytest.warns(SpokenWarning, match="thirty times as long"):
            assert resolve("bf16", "cpu") == "bf16"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert numerics.resolve_precision("bf16", "cuda") == "bf16"
        assert numerics.resolve_precision("fp32", "cpu") == "fp32"
        monkeypatch.setattr(numerics, "cpu_flags", lambda: {"amx_bf16"})
        assert numerics.resolve_precision("bf16", "cpu") == "bf16"


def test_auto_on_a_gpu_of_another_machine_is_bfloat16():
    assert numerics.resolve_precision("auto", "cuda") == "bf16"
    assert numerics.resolve_precision("fp16", "cuda:3") == "fp16"


def test_half_precision_arithmetic_on_a_cpu_is_refused():
    with pytest.raises(UsageError, match="use bf16 or fp32"):
        numerics.resolve_precision("fp16", "cpu")


@pytest.mark.parametrize("word", ["half", "BF16", ""])
def test_unknown_precisions_list_the_known(word):
    with pytest.raises(UsageError, match="choose auto, fp32, bf16, fp16"):
        numerics.resolve_precision(word, "cpu")


@pytest.mark.parametrize("word", ["gpu", "cuda:x", "tpu:0"])
def test_unknown_devices_list_the_known(word):
    with pytest.raises(UsageError, match="choose auto, cpu, cuda or cuda:N"):
        numerics.resolve_device(word)


def test_no_gpu_is_one_sentence(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert numerics.resolve_device("auto") == "cpu"
    assert numerics.resolve_devices("all") == ["cpu"]
    assert numerics.resolve_devices("cpu, cpu") == ["cpu", "cpu"]
    with pytest.raises(PreconditionError, match="has no GPU that torch can use; use --device cpu"):
        numerics.resolve_device("cuda")


def test_all_devices_are_all_gpus(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    assert numerics.resolve_devices("all") == ["cuda:0", "cuda:1"]
    assert numerics.resolve_device("auto") == "cuda"
    with pytest.raises(PreconditionError, match="has 2 GPUs, counted from 0"):
        numerics.resolve_device("cuda:2")


ENGINE = Engine("packed", "bf16", "own")


def test_the_key_names_what_decides_bits():
    key = numerics.numerics_key("cpu", ENGINE)
    assert set(key) == {
        "torch",
        "transformers",
        "device",
        "precision",
        "engine",
        "engine_version",
        "attention",
    }
    assert (key["engine"], key["precision"], key["attention"]) == ENGINE


def test_another_version_of_our_engine_is_another_key(monkeypatch):
    from dretrieve.models import packed

    before = numerics.numerics_key("cpu", ENGINE)
    monkeypatch.setattr(packed, "ENGINE_VERSION", packed.ENGINE_VERSION + 1)
    after = numerics.numerics_key("cpu", ENGINE)
    assert {name for name in before if before[name] != after[name]} == {"engine_version"}


def test_resolving_for_a_cpu_loads_no_torch():
    code = (
        "import sys; from dretrieve.encoding.numerics import resolve_precision as r; r('auto', 'cpu'); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
