"""The step as the attention of a chunk of one; the position is brought to the host."""

from __future__ import annotations

from torch import Tensor

from runtime.ops.attention import attention


def attention_step(heads: Tensor, k: Tensor, v: Tensor, position: Tensor) -> Tensor:
    """Writes the token's key and value into the cache and attends to all up to them.

    heads [h + 2k, p]: queries, then keys, then values of one token; k, v [k, max_tokens, p], the
    cache of one layer; position [1] int64: how many tokens it holds -> [1, h * p].
    """
    last = int(position)
    count = k.shape[0]
    q, own_k, own_v = heads.split([heads.shape[0] - 2 * count, count, count])
    k[:, last], v[:, last] = own_k, own_v
    return attention(q[None], k[:, : last + 1], v[:, : last + 1])
