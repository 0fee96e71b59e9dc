"""NF4: 4-bit codes for normally distributed weights, in blocks of 64 that share a scale.

The format is bitsandbytes': 16 quantiles of a standard normal scaled to [-1, 1], two codes a
byte with the earlier element in the high half.  Source: Dettmers et al., QLoRA,
arXiv 2305.14314, appendix E.
"""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK_SIZE = 64

LEVELS = (
    -1.0,
    -0.6961928009986877,
    -0.5250730514526367,
    -0.39491748809814453,
    -0.28444138169288635,
    -0.18477343022823334,
    -0.09105003625154495,
    0.0,
    0.07958029955625534,
    0.16093020141124725,
    0.24611230194568634,
    0.33791524171829224,
    0.44070982933044434,
    0.5626170039176941,
    0.7229568362236023,
    1.0,
)


def _levels(device: torch.device) -> Tensor:
    return torch.tensor(LEVELS, dtype=torch.float32, device=device)


def quantize(weight: Tensor, absmax: torch.dtype = torch.float16) -> tuple[Tensor, Tensor]:
    """Rounds each weight to the nearest level of its block.

    weight [..., n, k] float, k a multiple of 64 -> codes uint8 [..., n, k/2],
    absmax [..., n, k/64] in fp16 (the embedded model's way) or fp32 (bitsandbytes').
    """
    levels = _levels(weight.device)
    blocks = weight.float().unflatten(-1, (-1, BLOCK_SIZE))  # [..., n, k/64, 64]
    largest = blocks.abs().amax(-1).to(absmax)  # rounded first, so that both sides use one scale
    scale = largest.float().clamp_min(torch.finfo(absmax).tiny)
    unit = (blocks / scale[..., None]).flatten(-2)  # [..., n, k] in about [-1, 1]
    codes = torch.bucketize(unit, (levels[1:] + levels[:-1]) / 2).to(torch.uint8)
    pairs = codes.unflatten(-1, (-1, 2))
    return (pairs[..., 0] << 4) | pairs[..., 1], largest


def dequantize(codes: Tensor, absmax: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """The inverse of `quantize`: codes [..., n, k/2], absmax [..., n, k/64] -> [..., n, k]."""
    levels = _levels(codes.device)
    # One look-up a byte gives two weights: half the gathers of a look-up a code.
    table = torch.stack((levels.repeat_interleave(16), levels.repeat(16)), -1)  # [256, 2]
    unit = table[codes.int()].flatten(-2)  # [..., n, k]
    blocks = unit.unflatten(-1, (-1, BLOCK_SIZE)).mul_(absmax.float()[..., None])
    result: Tensor = blocks.flatten(-2).to(dtype)
    return result
