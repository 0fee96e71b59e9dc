"""Quantizers: formats, exactness on what they can hold, and floors on the error of what not."""

from __future__ import annotations

import pytest
import torch

from quant.ops import int8, nf4


def sqnr_db(weight: torch.Tensor, restored: torch.Tensor) -> float:
    """Signal to quantization noise in dB."""
    noise = (weight - restored).double().square().sum()
    return float(10 * torch.log10(weight.double().square().sum() / noise))


def gaussian() -> torch.Tensor:
    return torch.randn(256, 1536, generator=torch.Generator().manual_seed(0))


def heavy_tailed() -> torch.Tensor:
    """Student's t with 4 degrees of freedom: outliers of 20 deviations."""
    g = torch.Generator().manual_seed(1)
    chi = torch.randn(4, 256, 1536, generator=g).square().sum(0)
    return torch.randn(256, 1536, generator=g) / (chi / 4).sqrt()


@pytest.mark.parametrize(
    ("scheme", "weight", "floor"),
    [
        (nf4, gaussian, 20.0),
        (nf4, heavy_tailed, 18.0),
        (int8, gaussian, 39.0),
        (int8, heavy_tailed, 29.0),
    ],
)
def test_error_floors(scheme, weight, floor):
    exact = weight()
    assert sqnr_db(exact, scheme.dequantize(*scheme.quantize(exact))) >= floor


def test_nf4_packs_the_earlier_element_high_and_hits_its_levels():
    levels = torch.tensor(nf4.LEVELS)
    weight = (levels.repeat(4) * 3.0)[None]  # one block of 64
    codes, absmax = nf4.quantize(weight)
    assert codes.dtype == torch.uint8
    assert codes[0, :8].tolist() == [0x01, 0x23, 0x45, 0x67, 0x89, 0xAB, 0xCD, 0xEF]
    assert absmax.tolist() == [[3.0]]
    assert torch.allclose(nf4.dequantize(codes, absmax), weight, atol=1e-6)


def test_nf4_takes_the_nearest_level():
    weight = torch.rand(4, 128, generator=torch.Generator().manual_seed(2)) * 2 - 1
    weight[:, ::64] = 1.0
    restored = nf4.dequantize(*nf4.quantize(weight))
    distance = (weight[..., None] - torch.tensor(nf4.LEVELS)).abs().min(-1).values
    assert torch.allclose((weight - restored).abs(), distance, atol=1e-6)


@pytest.mark.parametrize("scheme", [nf4, int8])
def test_stacked_experts_are_quantized_one_by_one(scheme):
    stack = torch.randn(3, 8, 128, generator=torch.Generator().manual_seed(3))
    whole = scheme.dequantize(*scheme.quantize(stack))
    for expert in range(3):
        assert torch.equal(whole[expert], scheme.dequantize(*scheme.quantize(stack[expert])))


@pytest.mark.parametrize("scheme", [nf4, int8])
def test_zeros_and_tiny_weights_stay_finite(scheme):
    weight = torch.zeros(2, 128)
    assert torch.equal(scheme.dequantize(*scheme.quantize(weight)), weight)
    weight[0, 0] = 1e-30
    assert torch.isfinite(scheme.dequantize(*scheme.quantize(weight))).all()


def test_int8_is_symmetric_by_row():
    weight = torch.tensor([[1.0, -127.0, 63.4], [0.0, 0.5, -0.25]])
    codes, scale = int8.quantize(weight)
    assert codes.tolist() == [[1, -127, 63], [0, 127, -64]]
    assert scale.tolist() == pytest.approx([1.0, 0.5 / 127])
