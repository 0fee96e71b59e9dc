"""The kernels that read and write quantized values beside their references."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton")

from quant.ops.dequantize import kernel as dequantize_kernel
from quant.ops.dequantize import reference as dequantize_reference
from quant.ops.gemv import kernel as gemv_kernel
from quant.ops.gemv import reference as gemv_reference
from quant.ops.quantize_rows import kernel as rows_kernel
from quant.ops.quantize_rows import reference as rows_reference
from quant.schemes import SCHEMES
from quant.tensor import QuantRows, QuantWeight
from tests.helpers import assert_close

X = 5

SHAPES = [(20, 64), (37, 1600)]
"""n and k that fill no block, and k of less than a block and of several."""


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def weight(scheme: str, device: torch.device, *shape: int) -> QuantWeight:
    w = SCHEMES[scheme].quantize(draw(*shape, seed=1))
    return QuantWeight(w.scheme, w.codes.to(device), w.scale.to(device))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rows", [1, 3])
def test_gemv_is_the_reference(scheme, shape, rows, device, dtype):
    w = weight(scheme, device, *shape)
    x = draw(rows, 2 * shape[1]).to(device, dtype)[:, : shape[1]]  # slices of wider rows
    got = gemv_kernel.gemv(x, w)
    assert got.dtype == dtype
    assert_close(got.float(), gemv_reference.gemv(x.float(), w), dtype)


@pytest.mark.parametrize("scheme", [*SCHEMES, "none"])
@pytest.mark.parametrize("shape", SHAPES)
def test_expert_gemv_is_the_reference(scheme, shape, device, dtype):
    if scheme == "none":
        stack = draw(X, *shape).to(device, dtype)
        wide = stack.float()
    else:
        stack = wide = weight(scheme, device, X, *shape)
    x = draw(4, shape[1], seed=2).to(device, dtype)
    experts = torch.tensor([4, 0, 4, 2], device=device)
    got = gemv_kernel.expert_gemv(x, stack, experts)
    assert_close(got.float(), gemv_reference.expert_gemv(x.float(), wide, experts), dtype)


def test_gemv_reads_scales_in_fp16(device):
    """As the embedded model has them."""
    w = weight("nf4", device, 20, 128)
    w = QuantWeight("nf4", w.codes, w.scale.half())
    x = draw(1, 128).to(device)
    assert_close(gemv_kernel.gemv(x, w), gemv_reference.gemv(x, w))


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("shape", [(3, 64), (2, 5, 2112)])
def test_dequantize_is_the_reference(scheme, shape, device, dtype):
    w = weight(scheme, device, *shape)
    wanted = dequantize_reference.dequantize(w, dtype)
    got = dequantize_kernel.dequantize(w, dtype)
    if dtype == torch.float32 or device.type == "cuda":
        assert torch.equal(got, wanted)
    else:  # the interpreter cuts bf16 instead of rounding it
        assert_close(got.float(), wanted.float(), dtype)
    wide = torch.zeros(*shape[:-1], 2 * shape[-1], dtype=dtype, device=device)
    out = wide[..., : shape[-1]]
    assert dequantize_kernel.dequantize(w, dtype, out) is out
    assert torch.equal(out, got)
    assert not wide[..., shape[-1] :].any()


def assert_same_rows(got: QuantRows, wanted: QuantRows) -> None:
    """The same scales and codes, where kernels are compiled."""
    assert torch.equal(got.scale, wanted.scale)
    assert got.dtype == wanted.dtype
    codes, right = (rows.codes.view(torch.uint8).int() for rows in (got, wanted))
    if got.device.type == "cuda":
        assert torch.equal(codes, right)
        return
    # The interpreter has no fused multiply-add: a quotient at an edge may fall on its other side.
    assert (codes - right).abs().max() <= 1
    assert (codes != right).float().mean() < 1e-3


@pytest.mark.parametrize("rows", [1, 63])
@pytest.mark.parametrize("k", [48, 4200])
def test_quantize_rows_is_the_reference(rows, k, device, dtype, rounded_fp8):
    x = draw(rows, k).to(device, dtype)
    x[0] *= 1e4
    x[-1, 1:] = 0
    assert_same_rows(rows_kernel.quantize_rows(x), rows_reference.quantize_rows(x))


def test_a_row_of_zeros_is_quantized_to_zeros(device):
    rows = rows_kernel.quantize_rows(torch.zeros(2, 64, device=device))
    assert not rows.codes.float().any()
    assert torch.isfinite(rows.scale).all()
    assert (rows.scale > 0).all()
