"""int8: symmetric, one scale an output row."""

from __future__ import annotations

import torch
from torch import Tensor


def quantize(weight: Tensor) -> tuple[Tensor, Tensor]:
    """weight [..., n, k] float -> int8 [..., n, k] and scale fp32 [..., n]."""
    rows = weight.float()
    scale = rows.abs().amax(-1).clamp_min(torch.finfo(torch.float32).tiny) / 127
    return (rows / scale[..., None]).round_().clamp_(-127, 127).to(torch.int8), scale


def dequantize(codes: Tensor, scale: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """The inverse of `quantize`: codes int8 [..., n, k], scale [..., n] -> [..., n, k]."""
    return codes.float().mul_(scale[..., None]).to(dtype)
