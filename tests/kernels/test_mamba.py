"""The kernels of a Mamba layer beside their references."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton")

from runtime.ops.causal_conv import kernel as conv_kernel
from runtime.ops.causal_conv import reference as conv_reference
from runtime.ops.selective_scan import kernel as scan_kernel
from runtime.ops.selective_scan import mamba_ssm
from runtime.ops.selective_scan import reference as scan_reference
from tests.helpers import assert_close
from tests.kernels.conftest import HERE

LENGTHS = [1, 63, 500]


def scan_inputs(l: int, device: torch.device, dtype: torch.dtype, e: int = 20, n: int = 16):
    """u and z, and B and C, are halves of wider rows, as the model's are; e fills no block."""
    g = torch.Generator().manual_seed(l)

    def draw(*shape: int, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        return torch.randn(*shape, generator=g).to(device, dtype)

    u, z = draw(l, 2 * e, dtype=dtype).chunk(2, -1)
    B, C = draw(l, 2 * n, dtype=dtype).chunk(2, -1)
    return {
        "u": u, "dt": 4 * draw(l, e, dtype=dtype), "A": -draw(n, e).exp(), "B": B, "C": C,
        "D": draw(e), "z": z, "dt_bias": draw(e), "state": draw(n, e),
    }  # fmt: skip


@pytest.mark.parametrize("l", LENGTHS)
@pytest.mark.parametrize("n", [16, 6])
def test_scan_is_the_reference(l, n, device, dtype):
    inputs = scan_inputs(l, device, dtype, n=n)
    own = inputs["state"].clone()
    wanted = scan_reference.selective_scan(**inputs)
    got = scan_kernel.selective_scan(**inputs | {"state": own})
    assert got.dtype == dtype
    assert_close(got.float(), wanted.float(), dtype)
    assert_close(own, inputs["state"])  # to fp32's tolerance, in bf16 too


def test_scan_of_rows_that_are_no_pairs_is_the_reference(device, dtype):
    """Odd numbers of channels and states: bf16 can't be read two at a time."""
    inputs = scan_inputs(63, device, dtype, e=21, n=5)
    own = inputs["state"].clone()
    wanted = scan_reference.selective_scan(**inputs)
    got = scan_kernel.selective_scan(**inputs | {"state": own})
    assert_close(got.float(), wanted.float(), dtype)
    assert_close(own, inputs["state"])


def test_scan_in_pieces_is_the_scan_of_the_whole(device):
    whole = scan_inputs(130, device, torch.float32)
    own = whole["state"].clone()
    wanted = scan_kernel.selective_scan(**whole)
    rows, start = [], 0
    for size in (1, 64, 3, 62):
        part = {n: whole[n][start : start + size] for n in ("u", "dt", "B", "C", "z")}
        rest = {n: whole[n] for n in ("A", "D", "dt_bias")}
        rows.append(scan_kernel.selective_scan(**part, **rest, state=own))
        start += size
    assert_close(torch.cat(rows), wanted)
    assert_close(own, whole["state"])


def test_scan_of_steps_that_are_almost_none(device):
    """softplus far below zero is exp, not 0: over a long text such steps add up."""
    inputs = scan_inputs(63, device, torch.float32)
    inputs["dt"] = inputs["dt"] - 25
    own = inputs["state"].zero_().clone()
    wanted = scan_reference.selective_scan(**inputs)
    assert_close(scan_kernel.selective_scan(**inputs | {"state": own}), wanted)
    assert own.abs().max() > 0
    assert_close(own, inputs["state"])


@pytest.mark.gpu
@pytest.mark.skipif(not HERE, reason="no CUDA device")
@pytest.mark.parametrize("l", [63, 500, 5000])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["fp32", "bf16"])
def test_scan_is_that_of_mamba_ssm(l, dtype):
    """An oracle that others wrote; then both go on from the state that it left."""
    pytest.importorskip("selective_scan_cuda")
    device = torch.device("cuda")
    inputs = scan_inputs(l, device, dtype, e=64)
    inputs["state"].zero_()
    own = inputs["state"].clone()
    for _ in range(2):
        wanted = mamba_ssm.selective_scan(**inputs)
        got = scan_kernel.selective_scan(**inputs | {"state": own})
        assert_close(got.float(), wanted.float(), dtype)
        assert_close(own, inputs["state"])


@pytest.mark.parametrize("l", [*LENGTHS, 2, 3])
@pytest.mark.parametrize("w", [2, 3, 4])
@pytest.mark.parametrize("biased", [True, False])
def test_conv_is_the_reference_and_carries_its_tail(l, w, biased, device, dtype):
    g = torch.Generator().manual_seed(l)
    e = 20
    x, tail, weight, bias = (
        torch.randn(*shape, generator=g).to(device, dtype)
        for shape in ((l, 2 * e), (w - 1, e), (w, e), (e,))
    )
    x, own = x[:, :e], tail.clone()
    optional = bias if biased else None
    wanted = conv_reference.causal_conv(x, tail, weight, optional)
    got = conv_kernel.causal_conv(x, own, weight, optional)
    assert got.dtype == dtype
    assert_close(got.float(), wanted.float(), dtype)
    assert torch.equal(own, tail)
