"""Whole models through the kernels, by the interpreter, and which implementation is picked."""

from __future__ import annotations

import importlib.util
import logging

import pytest
import torch

pytest.importorskip("triton")

from quant.ops import dispatch
from runtime.devices import EXACT
from runtime.engine import Engine
from runtime.ops.norm import reference as norm_reference
from tests.conftest import forget_dispatch
from tests.helpers import GOLDEN, assert_close, golden
from tests.kernels.conftest import NOT_INTERPRETED


def used(package: str, device_type: str) -> str:
    forget_dispatch()
    return dispatch.choice(package, device_type)


@pytest.mark.skipif(bool(NOT_INTERPRETED), reason=NOT_INTERPRETED)
@pytest.mark.parametrize(
    ("name", "scheme"),
    [("default", "none"), ("odd", "none"), ("default", "int8"), ("default", "fp8"),
     ("default", "nf4")],
)  # fmt: skip
def test_logits_are_those_without_kernels(fresh_dispatch, rounded_fp8, name, scheme):
    """A chunk of 20 goes the way of many rows, the last of two that of few."""
    ids, _ = golden(name)
    ids = ids[: 20 + 2]
    engine = Engine.load(GOLDEN / name, device="cpu", precision=EXACT, scheme=scheme)
    wanted = engine.score(ids, chunk_tokens=20)
    fresh_dispatch.setenv("JAMBA_KERNELS", "triton")
    assert used("runtime.ops.selective_scan", "cpu") == "kernel"
    got = engine.score(ids, chunk_tokens=20)
    if scheme == "fp8":  # a last bit may push an activation over an edge of e4m3
        assert (got - wanted).abs().mean() < 0.05 * wanted.std()
    else:
        assert_close(got, wanted)
    assert not torch.equal(got, wanted), "the kernels were not used"


def test_each_device_gets_its_own(fresh_dispatch):
    assert used("runtime.ops.selective_scan", "cuda") == "kernel"
    assert used("runtime.ops.selective_scan", "cpu") == "cpu"
    assert used("runtime.ops.selective_scan", "mps") == "reference"
    assert used("runtime.ops.attention", "cuda") == "cuda"
    assert used("runtime.ops.causal_conv", "cpu") == "reference"


def test_reference_turns_the_kernels_off(fresh_dispatch):
    fresh_dispatch.setenv("JAMBA_KERNELS", "reference")
    assert used("runtime.ops.selective_scan", "cuda") == "reference"
    assert used("runtime.ops.attention", "cuda") == "reference"
    assert used("runtime.ops.selective_scan", "cpu") == "cpu"


def test_mamba_ssm_scans_where_it_is_installed(fresh_dispatch, monkeypatch, caplog):
    fresh_dispatch.setenv("JAMBA_KERNELS", "mamba-ssm")
    found = importlib.util.find_spec
    for present in (object(), None):
        monkeypatch.setattr(
            importlib.util,
            "find_spec",
            lambda name, present=present: present if name == "selective_scan_cuda" else found(name),
        )
        assert used("runtime.ops.norm", "cuda") == "kernel"
        assert used("runtime.ops.selective_scan", "cpu") == "cpu"
        assert used("runtime.ops.selective_scan", "cuda") == ("mamba_ssm" if present else "kernel")
    assert caplog.messages == [
        "JAMBA_KERNELS=mamba-ssm is ignored: pip install 'jamba-cli[cuda]' has it"
    ]


def test_an_unknown_setting_is_told_and_ignored(fresh_dispatch, caplog):
    fresh_dispatch.setenv("JAMBA_KERNELS", "cuda")
    with caplog.at_level(logging.WARNING):
        assert used("runtime.ops.norm", "cuda") == "kernel"
    assert "JAMBA_KERNELS=cuda is ignored: it may be reference, triton or mamba-ssm" in caplog.text


def test_a_gpu_without_triton_is_told_once_an_operation(fresh_dispatch, caplog):
    real = importlib.util.find_spec
    fresh_dispatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "triton" else real(name)
    )
    device = torch.device("cuda")
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert dispatch.implementation("runtime.ops.norm", device) is norm_reference
    messages = [record.getMessage() for record in caplog.records]
    assert messages == ["runtime.ops.norm runs without its kernel, slowly: pip install triton"]
