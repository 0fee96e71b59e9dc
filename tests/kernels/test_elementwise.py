"""The kernels that only move bytes beside their references."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton")

from runtime.ops.attention_merge import kernel as merge_kernel
from runtime.ops.attention_merge import reference as merge_reference
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
