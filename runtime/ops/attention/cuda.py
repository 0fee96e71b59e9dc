"""Attention on a GPU by PyTorch's cuDNN and flash kernels: no mask, no copies of keys for heads.

As on a CPU, what lies before the chunk is attended without a mask, the chunk itself causally, and
the parts are merged by their log-sum-exps.  On a Hopper GPU cuDNN is almost twice as fast as the
flash kernel, but plans every new pair of lengths at a cost; so it is given lengths that are powers
of two, from LEAST on, whose plans are soon all made, and flash takes the rest.  A single query
needs no merge; the flash kernel itself then makes rows of the heads that share keys, and cuts a
long context into parts.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from functools import cache

import torch
from torch import Tensor

from runtime.ops.attention import reference
from runtime.ops.attention_merge import merge_

logger = logging.getLogger(__name__)

LEAST, MOST = 1024, 1 << 18
"""Lengths for cuDNN: shorter ones are not worth a plan, longer ones are cut."""


def attention(q: Tensor, k: Tensor, v: Tensor, _products: torch.dtype | None = None) -> Tensor:
    """As in `reference`, which computes what the kernels can't."""
    l, h, p = q.shape
    if not _fits(q.dtype, p, q.device):
        return reference.attention(q, k, v)
    past = k.shape[1] - l
    if l == 1:
        out, _ = _flash(q.transpose(0, 1), k, v, causal=False)
        return out.reshape(1, h * p)
    parts = [
        _part(q[a:b], k[:, : past + b], v[:, : past + b]) for a, b in _pieces(l, _largest(q, k))
    ]
    return (parts[0] if len(parts) == 1 else torch.cat(parts)).reshape(l, h * p)


def _part(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """q [l, h, p], k and v [k, t, p] -> [l, h, p]: the last keys causally, the others in pieces."""
    l, past = q.shape[0], k.shape[1] - q.shape[0]
    queries = q.transpose(0, 1)
    largest = _largest(q, k)
    out, lse = _attend(queries, k[:, past:], v[:, past:], causal=True, largest=largest)
    for a, b in _pieces(past, largest if _planned(l) else 0):
        other, other_lse = _attend(queries, k[:, a:b], v[:, a:b], causal=False, largest=largest)
        merge_(out.transpose(0, 1), lse, other.transpose(0, 1), other_lse)
    return out.transpose(0, 1)


def _pieces(length: int, largest: int) -> Iterator[tuple[int, int]]:
    """Cuts 0..length into powers of two from `largest` down to LEAST and one rest."""
    start = 0
    while largest and length - start >= LEAST:
        end = start + min(largest, 1 << (length - start).bit_length() - 1)
        yield start, end
        start = end
    if start < length:
        yield start, length


def _planned(length: int) -> bool:
    """Whether a length is one of those that cuDNN is given."""
    return length >= LEAST and length & (length - 1) == 0


def _attend(
    q: Tensor, k: Tensor, v: Tensor, *, causal: bool, largest: int
) -> tuple[Tensor, Tensor]:
    """q [h, l, p], k and v [k, t, p] -> the attention [h, l, p] and its log-sum-exp fp32 [h, l]."""
    if largest and _planned(q.shape[1]) and _planned(k.shape[1]):
        return _cudnn(q, k, v, causal=causal)
    return _flash(q, k, v, causal=causal)


def _flash(q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> tuple[Tensor, Tensor]:
    out, lse, *_ = torch.ops.aten._scaled_dot_product_flash_attention(
        q[None], k[None], v[None], 0.0, causal
    )
    return out[0], lse[0]


def _cudnn(q: Tensor, k: Tensor, v: Tensor, *, causal: bool) -> tuple[Tensor, Tensor]:
    out, lse, *_ = torch.ops.aten._scaled_dot_product_cudnn_attention(
        q[None], k[None], v[None], None, True, 0.0, causal
    )
    return out[0], lse[0, ..., 0]


def _largest(q: Tensor, k: Tensor) -> int:
    """The longest piece for cuDNN; 0 where flash does all."""
    return MOST if _has_cudnn(q.dtype, q.shape[1], k.shape[0], q.shape[2], q.device) else 0


@cache
def _has_cudnn(dtype: torch.dtype, h: int, kv: int, p: int, device: torch.device) -> bool:
    """Whether cuDNN attends faster, which it does on Hopper, and takes heads that share keys."""
    if device.type != "cuda" or torch.cuda.get_device_capability(device)[0] < 9:
        return False
    q = torch.zeros(h, LEAST, p, dtype=dtype, device=device)
    k = torch.zeros(kv, LEAST, p, dtype=dtype, device=device)
    try:
        _, lse = _cudnn(q, k, k, causal=True)
    except RuntimeError as error:  # not in this build, or not for these heads
        logger.warning("attention runs by the flash kernel, at about half of cuDNN's speed: %s",
                       str(error).partition("\n")[0])  # fmt: skip
        return False
    return lse.shape == (h, LEAST)


@cache
def _fits(dtype: torch.dtype, p: int, device: torch.device) -> bool:
    """Whether the kernels take it: 16 bits, heads in eights up to 256, Ampere or later."""
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
