"""NF4 by bitsandbytes, where it is installed: the same codes and scales, made by its kernels."""

from __future__ import annotations

from functools import cache
from importlib.util import find_spec

import torch
from torch import Tensor

from quant.ops.nf4 import BLOCK_SIZE
from quant.tensor import QuantWeight


@cache
def installed() -> bool:
    """Whether bitsandbytes can be imported; asked before it is, because that takes seconds."""
    return find_spec("bitsandbytes") is not None


def quantize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """weight [..., n, k], k a multiple of 64 -> codes [..., n, k/2], absmax fp32 [..., n, k/64]."""
    from bitsandbytes.functional import quantize_4bit

    codes, state = quantize_4bit(weight.contiguous(), blocksize=BLOCK_SIZE, quant_type="nf4")
    rows, k = weight.shape[:-1], weight.shape[-1]
    return codes.view(*rows, k // 2), state.absmax.view(*rows, k // BLOCK_SIZE)


def dequantize(w: QuantWeight, dtype: torch.dtype) -> Tensor:
    """The weight [..., n, k]; its scales are fp32."""
    from bitsandbytes.functional import QuantState, dequantize_4bit

    state = QuantState(
        absmax=w.scale.contiguous().view(-1),
        shape=torch.Size(w.shape),
        dtype=dtype,
        blocksize=BLOCK_SIZE,
        quant_type="nf4",
    )
    result: Tensor = dequantize_4bit(w.codes.contiguous().view(-1, 1), state)
    return result
