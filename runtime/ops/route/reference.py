"""The choice in PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor


def likeliest_experts(logits: Tensor, top_k: int) -> tuple[Tensor, Tensor]:
    """logits [l, x] -> weights [l, top_k] in their dtype, and expert ids [l, top_k].

    The softmax runs in fp32 over ALL experts; the weights that are left after top-k are not made
    to sum to one.
    """
    weights, experts = torch.softmax(logits.float(), -1).topk(top_k, -1)
    return weights.to(logits.dtype), experts
