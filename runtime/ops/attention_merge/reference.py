"""The merge of two attentions in PyTorch."""

from __future__ import annotations

import torch
from torch import Tensor


def merge_(out: Tensor, lse: Tensor, other: Tensor, other_lse: Tensor) -> None:
    """Merges `other` into `out` by their log-sum-exps, in fp32; both `out` and `lse` change.

    out and other [l, h, p], lse and other_lse fp32 [h, l].
    """
    share = torch.sigmoid(other_lse - lse).t()[..., None]  # of the other in the whole softmax
    out.copy_(torch.lerp(out.float(), other.float(), share))
    torch.logaddexp(lse, other_lse, out=lse)
