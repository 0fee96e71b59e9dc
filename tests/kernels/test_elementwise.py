"""The kernels that only move bytes beside their references."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton")

from quant.ops.quantize_rows import kernel as rows_kernel
from quant.tensor import QuantRows
from runtime.ops.attention_merge import kernel as merge_kernel
from runtime.ops.attention_merge import reference as merge_reference
from runtime.ops.combine import kernel as combine_kernel
from runtime.ops.combine import reference as combine_reference
from runtime.ops.norm import kernel as norm_kernel
from runtime.ops.norm import reference as norm_reference
from runtime.ops.silu_gate import kernel as gate_kernel
from runtime.ops.silu_gate import reference as gate_reference
from tests.helpers import assert_close


def draw(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(shape[0]))


@pytest.mark.parametrize("l", [1, 63, 500])
@pytest.mark.parametrize("d", [16, 20, 576])
def test_rms_norm_is_the_reference(l, d, device, dtype):
    x = draw(l, 2 * d).to(device, dtype)[:, :d]  # rows are slices, as those of dt, B and C
    weight = draw(d).to(device, dtype)
    got = norm_kernel.rms_norm(x, weight, 1e-6)
    assert got.dtype == dtype
    assert_close(got.float(), norm_reference.rms_norm(x, weight, 1e-6).float(), dtype)


@pytest.mark.parametrize("l", [1, 63, 500])
@pytest.mark.parametrize("s", [0, 1, 2, 3])
def test_norm_of_a_sum_leaves_the_sum_and_gives_its_norm(l, s, device, dtype):
    d = 100
    x = draw(l, 2 * d).to(device, dtype)[:, :d]
    add = draw(l + 1, max(s, 1) * d)[1:].view(l, *([s] if s else []), d).to(device, dtype)
    shares = draw(l + 2, s)[2:].abs().to(device, dtype) if s else None
    weight = draw(d).to(device, dtype)
    own = x.clone()
    got = norm_kernel.add_rms_norm(own, add, weight, 1e-6, shares)
    wanted = norm_reference.add_rms_norm(x, add, weight, 1e-6, shares)
    assert got.dtype == dtype
    assert_close(own.float(), x.float(), dtype)
    assert_close(got.float(), wanted.float(), dtype)


def test_rms_norm_of_a_row_of_zeros(device):
    x = torch.zeros(3, 16, device=device)
    assert not norm_kernel.rms_norm(x, draw(16).to(device), 1e-6).any()


@pytest.mark.parametrize("l", [1, 63, 500])
@pytest.mark.parametrize("f", [24, 1500])
def test_gate_is_the_reference(l, f, device, dtype):
    x = draw(l, 2 * f).to(device, dtype)
    got = gate_kernel.silu_gate(x)
    assert got.dtype == dtype
    assert_close(got.float(), gate_reference.silu_gate(x).float(), dtype)


def assert_is_the_quantized(got: QuantRows, wide: torch.Tensor, wanted: QuantRows) -> None:
    """The codes of the kernel's own wide result, to the bit; and near the reference's.

    Compiled and in fp32 a last bit may differ, where only one of the two has a fused operation:
    then a code at an edge is the next one.
    """
    alone = rows_kernel.quantize_rows(wide)
    codes, right = (rows.codes.view(torch.uint8).int() for rows in (got, alone))
    if wide.is_cuda and wide.dtype == torch.float32:
        torch.testing.assert_close(got.scale, alone.scale, rtol=1e-5, atol=0)
        apart = (codes - right).abs()
        assert apart.max() <= 1
        assert apart.sum() <= max(1, 0.01 * apart.numel())
    else:
        assert torch.equal(codes, right)
        assert torch.equal(got.scale, alone.scale)
    assert got.dtype == wanted.dtype == wide.dtype
    if wide.dtype == torch.float32:  # in 16 bits a last bit is often enough to change a code
        near, right = (rows.codes.float() * rows.scale[:, None] for rows in (got, wanted))
        assert_close(near, right, torch.bfloat16)


@pytest.mark.parametrize("l", [1, 63])
@pytest.mark.parametrize("d", [16, 20, 576])
def test_rows_of_a_norm_are_its_rows_quantized(l, d, device, dtype, rounded_fp8):
    x, weight = draw(l, d).to(device, dtype), draw(d).to(device, dtype)
    got = norm_kernel.rms_norm_rows(x, weight, 1e-6)
    wanted = norm_reference.rms_norm_rows(x, weight, 1e-6)
    assert_is_the_quantized(got, norm_kernel.rms_norm(x, weight, 1e-6), wanted)
    sums = [x.clone() for _ in range(3)]
    add = draw(l, d).to(device, dtype)
    got = norm_kernel.add_rms_norm_rows(sums[0], add, weight, 1e-6)
    wide = norm_kernel.add_rms_norm(sums[1], add, weight, 1e-6)
    wanted = norm_reference.add_rms_norm_rows(sums[2], add, weight, 1e-6)
    assert_is_the_quantized(got, wide, wanted)
    assert torch.equal(sums[0], sums[1])


@pytest.mark.parametrize("l", [1, 63])
@pytest.mark.parametrize("f", [24, 1500])
def test_rows_of_a_gate_are_its_rows_quantized(l, f, device, dtype, rounded_fp8):
    x = draw(l, 2 * f).to(device, dtype)
    got = gate_kernel.silu_gate_rows(x)
    assert_is_the_quantized(got, gate_kernel.silu_gate(x), gate_reference.silu_gate_rows(x))


def test_rows_that_no_program_holds_are_quantized_too(device, rounded_fp8):
    wide = draw(3, 2 * rows_kernel.LONGEST + 64).to(device)
    codes = rows_kernel.quantize_rows(wide).codes.float()
    assert_close(codes, rows_kernel.reference.quantize_rows(wide).codes.float())
    got, wanted = gate_kernel.silu_gate_rows(wide), gate_reference.silu_gate_rows(wide)
    assert_close(got.codes.float(), wanted.codes.float(), torch.bfloat16)


@pytest.mark.parametrize("l", [1, 63])
@pytest.mark.parametrize("d", [20, 1100])
@pytest.mark.parametrize("top_k", [1, 2, 3])
@pytest.mark.parametrize("placed", [False, True])
def test_combine_is_the_reference(l, d, top_k, placed, device, dtype):
    y = draw(l * top_k, d).to(device, dtype)
    weights = draw(l, top_k).softmax(-1).to(device, dtype)
    order = torch.randperm(l * top_k, generator=torch.Generator().manual_seed(l))
    places = order.view(l, top_k).to(device) if placed else None
    got = combine_kernel.combine(y, weights, places)
    assert got.dtype == dtype
    assert_close(got.float(), combine_reference.combine(y, weights, places).float(), dtype)


@pytest.mark.parametrize("l", [1, 63])
@pytest.mark.parametrize(("h", "p"), [(4, 16), (6, 24)])
def test_merge_is_the_reference(l, h, p, device, dtype):
    """One of the two holds its heads one after the other, as PyTorch's kernels may return them."""
    out, other = draw(l, h, p).to(device, dtype), draw(h, l, p).to(device, dtype).transpose(0, 1)
    lse, other_lse = (3 * draw(h + i, l)[:h].to(device) for i in (0, 1))
    wanted, wanted_lse = out.clone(), lse.clone()
    merge_reference.merge_(wanted, wanted_lse, other, other_lse)
    merge_kernel.merge_(out, lse, other, other_lse)
    assert_close(out.float(), wanted.float(), dtype)
    assert_close(lse, wanted_lse)
