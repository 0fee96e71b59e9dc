"""The causal convolution in PyTorch, tap by tap."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def causal_conv(x: Tensor, tail: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """SiLU of the convolution of x, continued from `tail`, which is updated in place.

    x [l, e], tail [w-1, e], weight [w, e] (oldest tap first), bias [e] -> [l, e].
    """
    l, w = x.shape[0], weight.shape[0]
    padded = torch.cat((tail, x))  # [w-1+l, e]
    y = padded[:l] * weight[0]
    for tap in range(1, w):
        y.addcmul_(padded[tap : tap + l], weight[tap])
    if bias is not None:
        y.add_(bias)
    tail.copy_(padded[l:])
    return functional.silu(y, inplace=True)
