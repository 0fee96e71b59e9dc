"""The sum in PyTorch."""

from __future__ import annotations

from torch import Tensor


def combine(y: Tensor, weights: Tensor, places: Tensor | None = None) -> Tensor:
    """Each token's experts' results by their weights, in fp32 and in the order of the experts.

    y [l * top_k, d], weights [l, top_k] -> [l, d].  places [l, top_k] int64 are the rows of y
    that belong to each token; without them they lie in order.
    """
    l, top_k = weights.shape
    parts = (y if places is None else y[places.reshape(-1)]).view(l, top_k, -1).unbind(1)
    shares = weights.float()[..., None].unbind(1)
    first, *rest = zip(parts, shares, strict=True)
    out = first[0].float() * first[1]
    for part, share in rest:
        out += part * share
    return out.to(y.dtype)
