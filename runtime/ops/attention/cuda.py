"""Attention on a GPU by PyTorch's flash kernel: no mask, no copies of the keys for their heads.

As on a CPU, what lies before the chunk is attended without a mask, the chunk itself causally, and
the two are merged by their log-sum-exps.  A single query needs no merge; the kernel itself then
makes rows of the heads that share keys, and cuts a long context into parts.
"""

from __future__ import annotations

import logging
from functools import cache

import torch
from torch import Tensor

from runtime.ops.attention import reference

logger = logging.getLogger(__name__)

MERGED_ROWS = 1024
"""Queries merged at once: in fp32, of which a whole chunk would take more than the rest."""


def attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """As in `reference`, which computes what the flash kernel can't."""
    l, h, p = q.shape
    if not _fits(q.dtype, p, q.device):
        return reference.attention(q, k, v)
    past = k.shape[1] - l
    queries = q.transpose(0, 1)  # [h, l, p]
    if l == 1:
        out, _ = flash(queries, k, v, causal=False)
        return out.reshape(1, h * p)
    out, own = flash(queries, k[:, past:], v[:, past:], causal=True)
    if past:
        before, prior = flash(queries, k[:, :past], v[:, :past], causal=False)
        share = torch.sigmoid(prior - own)[..., None]  # of the past in the whole softmax
        for parts in zip(*(x.split(MERGED_ROWS, 1) for x in (out, before, share)), strict=True):
            near, far, weight = parts
            near.copy_(torch.lerp(near.float(), far.float(), weight))
    return out.transpose(0, 1).reshape(l, h * p)


def flash(q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> tuple[Tensor, Tensor]:
    """q [h, l, p], k and v [k, t, p] -> the attention [h, l, p] and its log-sum-exp fp32 [h, l]."""
    out, lse, *_ = torch.ops.aten._scaled_dot_product_flash_attention(
        q[None], k[None], v[None], 0.0, causal
    )
    return out[0], lse[0]


@cache
def _fits(dtype: torch.dtype, p: int, device: torch.device) -> bool:
    """Whether the flash kernel takes it: 16 bits, heads in eights up to 256, Ampere or later."""
    if dtype not in (torch.bfloat16, torch.float16):
        why = f"it has none for {dtype}; bf16 activations have one"
    elif p % 8 or p > 256:
        why = f"it has none for heads of {p}"
    elif device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        why = "it needs compute capability 8.0 or later"
    else:
        return True
    logger.warning("attention runs without its flash kernel, slowly: %s", why)
    return False
