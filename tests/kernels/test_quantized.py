"""The kernels that read and write quantized values beside their references."""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("triton")

from quant.ops.dequantize import kernel as dequantize_kernel
from quant.ops.dequantize import reference as dequantize_reference
from quant.ops.gemv import kernel as gemv_kernel
from quant.ops.gemv import reference as gemv_reference
from quant.ops.gemv import tensor_cores
from quant.ops.quantize_rows import kernel as rows_kernel
from quant.ops.quantize_rows import reference as rows_reference
from quant.schemes import SCHEMES
from quant.tensor import QuantRows, QuantWeight
from tests.helpers import assert_close

X = 5

SHAPES = [(20, 64), (37, 1600), (37, 1280), (130, 2048)]
"""n and k that fill no block, and k of less than a block and of several; of the last two k goes by
tensor cores in every scheme, unevenly and evenly."""


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


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("shape", [(40, 64), (74, 1280)])
def test_a_gated_product_is_a_product_and_a_gate(scheme, shape, device, dtype):
    x = (draw(3, shape[1], seed=2) * shape[1] ** -0.5).to(device, dtype)
    w, stack = weight(scheme, device, *shape), weight(scheme, device, X, *shape)
    experts = torch.tensor([4, 0, 4], device=device)
    got = gemv_kernel.gemv_silu_gate(x, w)
    assert got.shape == (3, shape[0] // 2)
    wanted = gemv_reference.gemv_silu_gate(x.float(), w)
    assert_close(got.float(), wanted, dtype)
    got = gemv_kernel.expert_gemv_silu_gate(x, stack, experts)
    wanted = gemv_reference.expert_gemv_silu_gate(x.float(), stack, experts)
    assert_close(got.float(), wanted, dtype)


def test_gemv_reads_scales_in_fp16(device, dtype):
    """As the embedded model has them."""
    w = weight("nf4", device, 20, 1280)
    w = QuantWeight("nf4", w.codes, w.scale.half())
    x = draw(1, 1280).to(device, dtype)
    assert_close(gemv_kernel.gemv(x, w).float(), gemv_reference.gemv(x.float(), w), dtype)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("scheme", [*SCHEMES, "none"])
@pytest.mark.parametrize("few", [False, True])
def test_all_splits_of_the_tensor_cores_give_the_same(scheme, few, monkeypatch):
    """Many outputs and few: tiles go to one warp or to several, and to programs by turns."""
    device = torch.device("cuda")
    shape = (X, 96 if few else 9000, 2560)
    if scheme == "none":
        stack = draw(*shape, seed=1).to(device, torch.bfloat16)
    else:
        stack = weight(scheme, device, *shape)
    x, experts = draw(2, 2560).to(device, torch.bfloat16), torch.tensor([3, 1], device=device)
    wanted = gemv_reference.expert_gemv(x, stack, experts).float()
    gated = gemv_reference.expert_gemv_silu_gate(x, stack, experts).float()
    for split in (1, 2, 4, 8):
        for pdl in (False, True):
            monkeypatch.setattr(tensor_cores, "SETTINGS", {0: (8, split)})
            monkeypatch.setattr(tensor_cores, "overlap", lambda _, on=pdl: {"OVERLAP": on})
            assert tensor_cores.fits(x, stack if scheme == "none" else stack.codes, None)
            got = gemv_kernel.expert_gemv(x, stack, experts).float()
            assert_close(got, wanted, torch.bfloat16)
            got = gemv_kernel.expert_gemv_silu_gate(x, stack, experts).float()
            assert_close(got, gated, torch.bfloat16)


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
