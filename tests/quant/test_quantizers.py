"""Quantizers: formats, exactness on what they can hold, and floors on the error of what not."""

from __future__ import annotations

import importlib

import pytest
import torch

from quant.ops import bnb, fp8, int8, nf4
from quant.ops.dequantize import dequantize
from quant.schemes import SCHEMES, Int8, Nf4, from_json
from tests.helpers import gaussian, heavy_tailed, sqnr_db


@pytest.mark.parametrize(
    ("name", "weight", "floor"),
    [
        ("int8", gaussian, 41.0),
        ("int8", heavy_tailed, 33.5),
        ("fp8", gaussian, 31.0),
        ("fp8", heavy_tailed, 31.0),
        ("nf4", gaussian, 20.0),
        ("nf4", heavy_tailed, 18.5),
    ],
)
def test_error_floors(name, weight, floor):
    exact = weight()
    restored = dequantize(SCHEMES[name].quantize(exact), torch.float32)
    assert sqnr_db(exact, restored) >= floor


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


@pytest.mark.parametrize("scheme", [nf4, int8, fp8])
def test_stacked_experts_are_quantized_one_by_one(scheme):
    stack = torch.randn(3, 8, 128, generator=torch.Generator().manual_seed(3))
    whole = scheme.dequantize(*scheme.quantize(stack))
    for expert in range(3):
        assert torch.equal(whole[expert], scheme.dequantize(*scheme.quantize(stack[expert])))


@pytest.mark.parametrize("scheme", [nf4, int8, fp8])
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


def test_fp8_spends_its_range_on_each_row_and_never_overflows():
    weight = torch.tensor([[1.0, -448.0, 3.0], [1e-3, 2e-3, -4e-3], [3e38, 1.0, -3e38]])
    codes, scale = fp8.quantize(weight)
    assert codes.dtype == torch.float8_e4m3fn
    assert codes.float().abs().amax(1).tolist() == [448.0, 448.0, 448.0]
    assert torch.isfinite(codes.float()).all()
    # Three bits of mantissa: an error of at most 1/16 of the number.
    restored = fp8.dequantize(codes, scale)[:2]
    assert ((restored - weight[:2]).abs() <= weight[:2].abs() / 16).all()


# Made by bitsandbytes 0.50.2: quantize_4bit(blocksize=64, quant_type="nf4") of these by 64.
SIXTYFOURTHS = [
    -76, -38, -33, -80, -5, -30, -49, -80, -36, 15, -39, -13, -11, 84, 11, 23,
    -35, -58, 35, 10, 43, 12, -33, 40, 55, -9, -112, -72, 3, -31, -40, -7,
    94, -4, 8, -39, 10, 2, 8, -24, -6, 15, -8, -1, 118, -52, 79, -31,
    -46, 27, 3, -22, 38, 22, 58, 101, 7, 47, -9, -32, 77, -43, -167, -37,
]  # fmt: skip
CODES = [
    53, 82, 117, 66, 88, 86, 109, 137, 83, 168, 168, 90, 182, 19, 117, 71,
    215, 133, 135, 133, 120, 103, 228, 197, 73, 118, 169, 189, 138, 101, 196, 5,
]  # fmt: skip


def test_nf4_gives_the_bytes_that_bitsandbytes_gives():
    weight = torch.tensor(SIXTYFOURTHS)[None] / 64
    quantized = Nf4().quantize(weight)
    assert quantized.codes[0].tolist() == CODES
    assert quantized.scale.tolist() == [[2.609375]]


def test_nf4_agrees_with_bitsandbytes_both_ways():
    if not bnb.installed():
        pytest.skip("bitsandbytes is not installed")
    importlib.import_module("bitsandbytes")
    weight = torch.randn(3, 32, 256, generator=torch.Generator().manual_seed(4))
    own = Nf4().quantize(weight)
    codes, absmax = bnb.quantize(weight)
    assert torch.equal(codes, own.codes)
    assert torch.equal(absmax, own.scale)
    for dtype in (torch.float32, torch.bfloat16):
        assert torch.equal(bnb.dequantize(own, dtype), dequantize(own, dtype))


@pytest.mark.parametrize("scheme", [*SCHEMES.values(), Nf4("float16")])
def test_a_scheme_knows_its_bytes_and_survives_json(scheme):
    weight = torch.randn(3, 8, 128, generator=torch.Generator().manual_seed(5))
    quantized = scheme.quantize(weight)
    empty = scheme.empty(weight.shape, weight.device)
    assert quantized.nbytes == scheme.nbytes(weight.shape) == empty.nbytes
    assert quantized.shape == empty.shape == tuple(weight.shape)
    assert (quantized.codes.dtype, quantized.scale.dtype) == (empty.codes.dtype, empty.scale.dtype)
    assert from_json(scheme.as_json()) == scheme


@pytest.mark.parametrize(
    "values",
    [{}, {"scheme": "int3"}, {"scheme": "int8", "x": 1}, {"scheme": "nf4", "absmax": "int8"}],
)
def test_what_no_scheme_wrote_is_refused(values):
    with pytest.raises(ValueError, match=r"scheme|absmax"):
        from_json(values)


def test_a_width_that_is_no_multiple_of_the_block_does_not_fit():
    assert not Nf4().fits((4, 96))
    assert Nf4().fits((2, 4, 128))
    assert Int8().fits((4, 3))
    assert not Int8().fits((4,))
