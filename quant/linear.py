"""A linear layer whose weight is quantized, and what turns the layers of a module into it."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from quant.experts import QuantExperts
from quant.ops.gemv import gemv
from quant.ops.matmul import matmul, quantizes, w8a8
from quant.schemes import Scheme
from quant.tensor import QuantWeight, Rows, SchemeName

FEW_ROWS = 4
"""Up to this many rows a product is bound by reading the weight, above it by arithmetic."""


def takes_few(w: object, m: int, *, few: bool | None = None) -> bool:
    """Whether a product of m rows with w goes the way of few rows, which w8a8 does not have.

    `few` as in `product`.
    """
    return (m <= FEW_ROWS if few is None else few) and not w8a8.takes(w)


def takes_codes(w: object, m: int, *, few: bool | None = None) -> bool:
    """Whether a product of m rows with w quantizes them: then it may be given `QuantRows`.

    `few` as in `product`.
    """
    return not takes_few(w, m, few=few) and isinstance(w, QuantWeight) and quantizes(w)


def product(
    x: Rows, w: QuantWeight, bias: Tensor | None = None, *, few: bool | None = None
) -> Tensor:
    """x [m, k] @ w [n, k].T (+ bias [n]) -> [m, n] in x's dtype.

    `few` says which of the two ways it goes, where that is not to depend on m: fp8 rounds x in
    the products of many rows only, w8a8 in all.
    """
    y = gemv(x, w) if isinstance(x, Tensor) and takes_few(w, x.shape[0], few=few) else matmul(x, w)
    return y if bias is None else y.add_(bias)


class QuantLinear(nn.Module):
    """x [m, k] -> [m, n] by a quantized weight [n, k]."""

    def __init__(self, weight: QuantWeight, bias: Tensor | None = None) -> None:
        super().__init__()
        self.scheme: SchemeName = weight.scheme
        self.codes = nn.Parameter(weight.codes, requires_grad=False)
        self.scale = nn.Parameter(weight.scale, requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)

    @property
    def weight(self) -> QuantWeight:
        """Codes and scales together."""
        return QuantWeight(self.scheme, self.codes, self.scale)

    def forward(self, x: Rows) -> Tensor:
        """The product, in x's dtype."""
        return product(x, self.weight, self.bias)


def quantize_(module: nn.Module, scheme: Scheme, select: Callable[[str], bool]) -> list[str]:
    """Replaces the selected layers inside of a module by quantized ones; returns their names.

    A layer is a module with a `weight` [n, k], or with stacks `gate_up` and `down`.  On the meta
    device only the structure changes: there are no values yet.  A selected layer whose shape the
    scheme can't hold is left as it is, and is not among the names.
    """
    done = []
    for path, layer in list(module.named_modules()):
        weights = [getattr(layer, name, None) for name in ("weight", "gate_up", "down")]
        present = [weight for weight in weights if isinstance(weight, Tensor)]
        if not select(path) or not all(scheme.fits(weight.shape) for weight in present):
            continue
        parent, _, name = path.rpartition(".")
        setattr(module.get_submodule(parent), name, _quantized(layer, scheme))
        done.append(path)
    return done


def _quantized(layer: nn.Module, scheme: Scheme) -> nn.Module:
    if hasattr(layer, "gate_up"):
        return QuantExperts(_convert(layer.gate_up, scheme), _convert(layer.down, scheme))
    return QuantLinear(_convert(layer.weight, scheme), getattr(layer, "bias", None))


def _convert(weight: object, scheme: Scheme) -> QuantWeight:
    assert isinstance(weight, Tensor)
    if weight.is_meta:
        return scheme.empty(weight.shape, weight.device)
    return scheme.quantize(weight.data)
