"""A quantized weight: what it is stored as, without what it is for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from torch import Tensor

SchemeName = Literal["int8", "fp8", "nf4"]


@dataclass(frozen=True, slots=True)
class QuantWeight:
    """Codes and their scales; leading dimensions are a stack, such as the experts of a layer.

    int8: codes int8 [..., n, k], scale fp32 [..., n].  fp8: codes float8_e4m3fn [..., n, k],
    scale fp32 [..., n].  nf4: codes uint8 [..., n, k/2], the earlier element in the high half,
    scale fp32 or fp16 [..., n, k/64].  All contiguous.
    """

    scheme: SchemeName
    codes: Tensor
    scale: Tensor

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape [..., n, k] of the weight that it stands for."""
        *rest, k = self.codes.shape
        return (*rest, 2 * k if self.scheme == "nf4" else k)

    @property
    def nbytes(self) -> int:
        """Bytes of codes and scales."""
        return self.codes.nbytes + self.scale.nbytes

    def __getitem__(self, index: Any) -> QuantWeight:
        """A member of a stack, or some of its rows."""
        return QuantWeight(self.scheme, self.codes[index], self.scale[index])
